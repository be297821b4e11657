"""Damage to a warehouse, by kind."""
