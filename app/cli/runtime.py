"""Exit codes, signals, and errors as sentences."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import TYPE_CHECKING

import typer

from app.domain.runs.fail_on import ACTION, FailOn
from app.domain.runs.leftovers import Left, Leftovers
from app.domain.states import RunStatus
from app.errors import (
    ConfigurationError,
    InvalidRequest,
    MissingRight,
    NotFound,
    NotOpen,
    ReconError,
)
from app.interruption import INTERRUPTED, end_in_order

if TYPE_CHECKING:
    from app.engine.report.models.runs import RunState

_WRONG_USE = (ConfigurationError, InvalidRequest, MissingRight, NotFound, NotOpen)


class ExitCode(IntEnum):
    """Exit codes."""

    SUCCESS = 0
    ISSUES_LEFT = 1
    WRONG_USE = 2
    FAILURE = 3
    INTERRUPTED = INTERRUPTED
    TERMINATED = 143


def exit_code_of(state: "RunState", fail_on: FailOn = ACTION) -> ExitCode:
    """The exit code of a run."""
    match state.status:
        case RunStatus.SUCCEEDED | RunStatus.COMPLETED_WITH_ISSUES:
            return ExitCode.SUCCESS if failure_of(state, fail_on) is None else ExitCode.ISSUES_LEFT
        case RunStatus.NEEDS_CONFIRMATION | RunStatus.PAUSED:
            return ExitCode.ISSUES_LEFT
        case _:
            return ExitCode.FAILURE


def failure_of(state: "RunState", fail_on: FailOn) -> str | None:
    """Why an ended run fails, if so."""
    # A run that an earlier version ended left no figures: its status tells whether anything is to
    # be done.
    known = Leftovers.from_json(state.left)
    left = known or Leftovers({Left.HEALABLE: int(state.status == RunStatus.COMPLETED_WITH_ISSUES)})
    return fail_on.reason(left, done=state.total_processed, failed=state.failed)


def perform(work: Callable[[], Awaitable[ExitCode]], *, quiet: bool = False) -> None:
    """Run work in an event loop that signals end in order, and exit."""

    async def until_signal() -> ExitCode:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if task is not None:
            cancel = task.cancel
            # Not the loop's own handler: `serve` puts another one in its place for a while, which
            # that would not notice.
            signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(cancel))
        return await work()

    finish(lambda: asyncio.run(until_signal()), quiet=quiet)


def finish(work: Callable[[], ExitCode], *, quiet: bool = False) -> None:
    """Run work and exit; our errors become a sentence."""
    from app.telemetry import configure_logging, redacted

    configure_logging(level="WARNING" if quiet else "INFO")
    try:
        end_in_order()
        code = work()
    except ReconError as error:
        sys.stderr.write(f"trade-recon: {redacted(str(error))}\n")
        code = ExitCode.WRONG_USE if isinstance(error, _WRONG_USE) else ExitCode.FAILURE
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except asyncio.CancelledError:
        code = ExitCode.TERMINATED
    raise typer.Exit(code)
