"""The sandbox's accounts and trades, and the rows that follow."""
