"""Verdicts: issues left, and outcomes."""
