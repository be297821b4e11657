"""An independent comparison with upstream."""
