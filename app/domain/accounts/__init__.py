"""Facts of an account, and a run's findings."""
