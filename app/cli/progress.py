"""Progress: a bar on a terminal, else log lines."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from app.domain.states import RunStatus
from app.domain.wording.counts import counted
from app.engine.report.models.runs import RunState
from app.telemetry import get_logger

_LOGGED_SECONDS = 10.0
_LOGGED_EVERY = 100
_log = get_logger(__name__)


class _Effort(NamedTuple):
    """What a run did so far, batches under way included."""

    requests: int
    rows: int


@contextlib.contextmanager
def progress_shown() -> Iterator[Callable[[RunState], None]]:
    """A function that shows a run's state."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _ProgressLog().show
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("preparing", total=None)

        def show(state: RunState) -> None:
            total, waits = state.accounts.total, state.waiting_for
            described = f"accounts ({_spent(state)})" if total else "preparing"
            progress.update(
                task,
                description=escape(waits[0].message if waits else described),
                total=total or None,
                completed=_accounts_done(state) if total else None,
            )

        yield show


def _accounts_done(state: RunState) -> int:
    return state.accounts.done + (state.under_way.done if state.under_way else 0)


def _effort(state: RunState) -> _Effort:
    sent, written = state.requests, state.rows.written
    if state.under_way:
        sent, written = sent + state.under_way.requests, written + state.under_way.rows_written
    return _Effort(sent, written)


def _spent(state: RunState) -> str:
    effort = _effort(state)
    return f"{counted(effort.requests, 'request')}, {counted(effort.rows, 'row')} written"


class _ProgressLog:
    """Logs progress every hundred accounts, every ten seconds of work, and at the end."""

    def __init__(self) -> None:
        self._logged = 0
        self._effort: _Effort | None = None
        self._logged_at = -math.inf
        self._is_over = False

    def show(self, state: RunState) -> None:
        done, total, effort = _accounts_done(state), state.accounts.total, _effort(state)
        is_end = RunStatus(state.status).is_end and not self._is_over
        is_due = effort != self._effort and time.monotonic() - self._logged_at >= _LOGGED_SECONDS
        if done // _LOGGED_EVERY > self._logged // _LOGGED_EVERY or is_due or is_end:
            _log.info(
                "This is how far the run is.",
                action="run.progress",
                run_id=str(state.run_id),
                done=done,
                total=total,
                requests=effort.requests,
                rows=effort.rows,
            )
            self._logged, self._is_over = done, is_end
            self._effort, self._logged_at = effort, time.monotonic()
