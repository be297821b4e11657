"""A risk-analytics API of our own, damage for a warehouse, and an independent
comparison of both.
"""
