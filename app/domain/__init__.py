"""The rules of reconciliation. Pure: no I/O, and time is a parameter."""
