"""Verdicts: the issues left after a repair, and the account's outcome."""
