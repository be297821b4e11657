"""Logs a run's end."""

import datetime as dt

from app.domain.ids import RunId
from app.engine.records import RunRow, read
from app.engine.repositories import Repositories
from app.telemetry import get_logger

_log = get_logger(__name__)
_OUTCOMES = (
    "unchanged",
    "healed",
    "explained",
    "partial",
    "failed",
    "flapping",
    "needs_confirmation",
    "gone",
    "found",
    "skipped",
)
_ROWS = (
    "rows_inserted",
    "rows_updated",
    "rows_moved",
    "rows_removed",
    "rows_set_aside",
    "values_nulled",
)


async def log_end(store: Repositories, run_id: RunId, today: dt.date | None = None) -> None:
    """Log how a run ended; zeros are left out.

    Acceptances count until `today` (None: the server's).
    """
    row = read(RunRow, await store.run_reader.get(run_id))
    if row.left_over is None and row.finished_at is not None:
        await store.leftovers.note(run_id, today)
        row = read(RunRow, await store.run_reader.get(run_id))
    _log.info("A run is finished.", action="run.finished", **_figures(row))


def _figures(row: RunRow) -> dict[str, object]:
    began, ended = row.started_at or row.created_at, row.finished_at
    return {
        "run_id": str(row.run_id),
        "kind": row.kind,
        "status": row.status,
        "seconds": None if ended is None else round((ended - began).total_seconds(), 3),
        "accounts": row.total,
        "requests": row.requests,
        **{name: count for name in (*_OUTCOMES, *_ROWS) if (count := getattr(row, name))},
        **({"accounts_left": row.waiting} if row.waiting else {}),
        **({"left": left} if (left := _left(row)) else {}),
        **({"reason": row.error} if row.error else {}),
    }


def _left(row: RunRow) -> dict[str, int]:
    return {name: number for name, number in (row.left_over or {}).items() if number}
