"""Starts and serves runs."""

import asyncio
import contextlib
from uuid import UUID

from rich.console import Console

from app.cli.progress import progress_shown
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.report.models.runs import RunState
from app.engine.service import ReconService
from app.errors import Conflict, DatabaseUnavailable, ReconError

_LOOK_SECONDS = 0.2


async def start_or_join(
    service: ReconService, request: RunRequest, reason: str | None = None
) -> tuple[UUID, bool]:
    """A run for the request, and whether it is new, as an active full run is joined."""
    try:
        return await service.start_run(request, reason=reason), True
    except Conflict as error:
        # Its process may have been killed.
        Console(stderr=True).print(
            f"A full run is active already: this command helps with {error.run_id}, and starts"
            " none.",
            markup=False,
            soft_wrap=True,
        )
        return error.run_id, False


async def serve_run(service: ReconService, run_id: UUID, *, is_ours: bool = True) -> RunState:
    """Serve the run until its end or pause; its state then.

    Cancellation also cancels the run, unless it is not ours.
    """
    working = asyncio.create_task(service.pool.run_until_finished(run_id))
    try:
        with progress_shown() as show:
            while not working.done():
                await asyncio.wait({working}, timeout=_LOOK_SECONDS)
                # The workers tell that the database is away, and go on when it is back.
                with contextlib.suppress(DatabaseUnavailable):
                    show(await service.readings.run_state(run_id))
        await working
    except asyncio.CancelledError:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        if is_ours:
            # Without PostgreSQL the run stays open, and the next process that serves takes it up.
            with contextlib.suppress(ReconError):
                reason = (
                    "The run was interrupted where it was started; what was healed until then stays"
                    " healed."
                )
                await service.store.control.cancel(run_id, reason)
        raise
    return await service.readings.run_state(run_id)


async def finish_left_runs(service: ReconService, kind: RunKind | None = None) -> None:
    """Finish runs of killed processes, as none else may."""
    for run in await service.readings.left_runs():
        if kind is not None and run.kind != kind:
            continue
        Console(stderr=True).print(
            f"The {run.kind} run {run.run_id} of {run.created_at:%Y-%m-%d %H:%M} UTC was"
            " left by a process that is gone: this command finishes it.",
            markup=False,
            soft_wrap=True,
        )
        await serve_run(service, run.run_id, is_ours=False)
