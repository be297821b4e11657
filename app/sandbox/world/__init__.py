"""The sandbox's accounts, trades and rows."""
