"""The sandbox's API over HTTP."""
