"""A risk-analytics API of our own, damage for a warehouse, and an independent witness that
compares both.
"""
