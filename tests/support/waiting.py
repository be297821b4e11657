"""How long tests wait for what must come.

They go on as soon as it came: the limit is only met where it never does.
"""

PATIENCE = 240.0
"""Seconds: what takes the longest on a busy machine, and four times that."""
