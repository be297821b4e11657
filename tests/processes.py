"""Processes that tests start: all are ended with their test, whether it passes, fails or is interrupted.

What is left when pytest itself is killed, `tests.reaper` ends.
"""

import asyncio
import contextlib
from typing import Any

_started: list[asyncio.subprocess.Process] = []


async def start(*words: str, **options: Any) -> asyncio.subprocess.Process:  # noqa: ANN401 - options of asyncio
    """Start a process that ends with the test at the latest; like asyncio.create_subprocess_exec."""
    process = await asyncio.create_subprocess_exec(*words, **options)
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
