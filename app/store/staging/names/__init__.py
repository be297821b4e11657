"""Accounts of staged rows: ids and logins as asked for, and rows sent without an id."""
