"""The rules of reconciliation. Every module is pure: no I/O, and time is a parameter."""
