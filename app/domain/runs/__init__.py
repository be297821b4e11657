"""Runs: requests, waits, results."""
