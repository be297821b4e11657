"""Limits to changes without confirmation."""
