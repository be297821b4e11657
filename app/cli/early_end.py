"""A reader that ends early, as `head -1`, changes no command.

Python would end it with 1, which means that action is needed.
"""

import io
import sys
from typing import Any


class Outlet(io.FileIO):
    """A file that outlives its reader."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - whatever has bytes
        """Write; once the reader is gone, all counts as written."""
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def outlive_readers() -> None:
    """Let stdout and stderr outlive their readers."""
    # A stream is None where the process was started with it closed.
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, outlet(stream, by_line=name == "stderr"))


def outlet(stream: io.TextIOWrapper, *, by_line: bool = False) -> io.TextIOWrapper:
    """A stream that outlives its reader."""
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(Outlet(stream.fileno(), "wb", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        newline=None,
        # A stream that wrote through had no buffer, where PYTHONUNBUFFERED is set.
        line_buffering=by_line or stream.line_buffering or stream.write_through,
    )
