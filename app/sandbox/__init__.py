"""A risk-analytics API, damage for a warehouse, and an independent comparison."""
