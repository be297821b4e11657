"""Counts, similar names and errors in words."""
