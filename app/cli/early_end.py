"""A reader that ends early, as in `trade-recon report | head -1`, changes nothing of what a command
does, nor of how it ends.

Without this, Python's own handling of the broken pipe would end the command with 1, which says that
action is needed, and a run might stop at a line of its progress.
"""

import io
import sys
from typing import Any


class Outlet(io.FileIO):
    """A stream's file, whose remaining output is dropped once its reader has gone."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - whatever has bytes
        """Write; where no reader is left, say that all was written."""
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def outlive_readers() -> None:
    """From now on stdout and stderr drop what no reader takes."""
    # A stream is None where the process was started with it closed.
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, outlet(stream, by_line=name == "stderr"))


def outlet(stream: io.TextIOWrapper, *, by_line: bool = False) -> io.TextIOWrapper:
    """The same stream, which outlives its reader; with `by_line` each line is written at once."""
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(Outlet(stream.fileno(), "wb", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        newline=None,
        # A stream that wrote through had no buffer, where PYTHONUNBUFFERED is set.
        line_buffering=by_line or stream.line_buffering or stream.write_through,
    )
