"""What is known of an account, and what a run learns of it."""
