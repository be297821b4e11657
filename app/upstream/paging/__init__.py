"""Pages of one read."""
