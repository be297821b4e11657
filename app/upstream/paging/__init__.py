"""Pages of one read, proven to be all of its rows."""
