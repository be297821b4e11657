"""Safety limits and holds: changes not written without confirmation."""
