"""The independent comparison of a warehouse with upstream."""
