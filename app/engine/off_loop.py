"""Long work, off the event loop."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


async def off_loop(
    work: Callable[_Parameters, _Result], *args: _Parameters.args, **kwargs: _Parameters.kwargs
) -> _Result:
    """Call `work` in a thread: heartbeats and HTTP go on."""
    return await asyncio.to_thread(work, *args, **kwargs)
