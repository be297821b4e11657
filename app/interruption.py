"""Ctrl-C while modules are imported: the process ends without a traceback."""

import os
import signal
from types import FrameType

INTERRUPTED = 130


def end_quietly() -> None:
    """From now on SIGINT ends the process at once, unless ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def end_in_order() -> None:
    """From now on SIGINT raises KeyboardInterrupt."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_number: int, _frame: FrameType | None) -> None:
    # No exception: within an import, some modules would swallow it or report it as their own.
    os._exit(INTERRUPTED)
