"""Runs: requests, waits, what they leave and rest on."""
