"""Ctrl-C before a command has begun its work, while modules are imported: the process ends, and
shows no traceback.
"""

import os
import signal
from types import FrameType

INTERRUPTED = 130


def end_quietly() -> None:
    """From now on SIGINT ends the process at once: nothing was begun that would have to be ended in
    order.

    A process that ignores SIGINT, as a shell starts it in the background, goes on ignoring it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def end_in_order() -> None:
    """From now on SIGINT raises KeyboardInterrupt again: there is work that ends in order."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_number: int, _frame: FrameType | None) -> None:
    # No exception: raised within an import, some modules would show it as their own failure, or
    # swallow it.
    os._exit(INTERRUPTED)
