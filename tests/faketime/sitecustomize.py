"""Python's sleep below faketime, whose own fails: it reckons the absolute monotonic time that Python hands it from the moved clock.

Python imports this module at its start where `tests.dates` has put its folder on the path.
"""

import select
import time
from typing import SupportsIndex


def _sleep(seconds: float | SupportsIndex, /) -> None:
    wait = seconds if isinstance(seconds, float) else seconds.__index__()
    if wait < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], wait)


time.sleep = _sleep
