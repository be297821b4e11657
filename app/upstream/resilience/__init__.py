"""Admission, retries and blame of single requests."""
