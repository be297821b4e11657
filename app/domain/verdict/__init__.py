"""Verdicts: what is left after a repair, why, and how the account leaves the run."""
