"""Safety limits and holds: what is not written without confirmation."""
