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
            setattr(sys, name, outlet(stream))


def outlet(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """The same stream, which outlives its reader."""
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(Outlet(stream.fileno(), "wb", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        newline=None,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
