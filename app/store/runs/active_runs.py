"""Runs to work on, and runs of dead processes."""

import datetime as dt
from dataclasses import dataclass

import msgspec

from app.domain.ids import RunId, WorkerId
from app.domain.runs.request import RunRequest
from app.store.database.pool import Database
from app.store.database.transaction import Record
from app.telemetry import get_logger

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """A run to work on; `prepared` once its accounts are known.

    `recorded` of `total` accounts are done or equal, after `rows_compared` stored rows. Holds
    before `confirmed_at` are confirmed. A search for failing accounts cost `searched` requests,
    `searched_known` of them repeated.
    """

    run_id: RunId
    request: RunRequest
    prepared: bool
    confirmed_at: dt.datetime | None = None
    suspicion: str | None = None
    total: int = 0
    recorded: int = 0
    rows_compared: int = 0
    searched: int = 0
    searched_known: int = 0
    history_from: dt.date | None = None

    @property
    def confirmed(self) -> bool:
        """Whether its holds were confirmed."""
        return self.confirmed_at is not None


class ActiveRuns:
    """Finds runs to work on."""

    def __init__(self, database: Database) -> None:
        self._database = database
        sql = database.queries("runs/active_runs")
        self._find_active, self._get_left = sql["find_active_run"], sql["get_left_runs"]
        self._unreadable = set[RunId]()

    async def active(
        self, run_id: RunId | None = None, *, named: bool = False, local: bool = False
    ) -> list[ActiveRun]:
        """Active runs (or this one), those of few accounts first.

        `named`: these only; `local`: only without requests to upstream.
        """
        runs = [
            self._readable(row)
            for row in await self._database.fetch(self._find_active, run_id, named, local)
        ]
        return [run for run in runs if run is not None]

    async def left(self, worker_id: WorkerId, lease_seconds: float) -> list[Record]:
        """Dead processes' runs (`run_id`, `kind`, `created_at`), oldest first; none while another
        lives.
        """
        return await self._database.fetch(self._get_left, worker_id, lease_seconds)

    def _readable(self, row: Record) -> ActiveRun | None:
        """The run; None if only another version can read it."""
        try:
            request = msgspec.convert({**row["request"], "kind": row["kind"]}, RunRequest)
        except (msgspec.ValidationError, TypeError) as error:
            if row["run_id"] not in self._unreadable:
                self._unreadable.add(row["run_id"])
                _log.warning(
                    "A run asks for what this version of trade-recon does not know; it is left to"
                    " processes that do, all others go on. Cancel it if there are none.",
                    action="run.unreadable",
                    run_id=str(row["run_id"]),
                    reason=str(error),
                )
            return None
        return ActiveRun(
            row["run_id"],
            request,
            row["prepared"],
            row["confirmed_at"],
            row["suspicion"],
            row["total"],
            row["recorded"],
            row["rows_compared"],
            row["search_requests"],
            row["known_search_requests"],
            row["history_from"],
        )
