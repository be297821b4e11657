"""Processes that tests start: all are ended with their test, whether it passes, fails or is
interrupted.

What is left when pytest itself is killed, `tests.support.reaper` ends.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tests.support.nursery import Forked, fork

Process: TypeAlias = "asyncio.subprocess.Process | Forked"
_started: list[Process] = []


async def start(*words: str, **options: Any) -> asyncio.subprocess.Process:  # noqa: ANN401 - options of asyncio
    """Start a process that ends with the test at the latest; like
    asyncio.create_subprocess_exec.
    """
    process = await asyncio.create_subprocess_exec(*words, **options)
    _started.append(process)
    return process


async def start_command(
    words: Sequence[str], folder: Path, variables: Mapping[str, str], *, stdout: int, stderr: int
) -> Forked:
    """Start `trade-recon` in a folder, on the day of the tests; it ends with the test at the
    latest.
    """
    process = await fork(words, folder, variables, stdout, stderr)
    _started.append(process)
    return process


async def end_all() -> None:
    """Kill what still runs, stopped processes too."""
    while _started:
        process = _started.pop()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()
