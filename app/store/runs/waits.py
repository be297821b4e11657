"""What delays a run: processes, accounts, foreign locks."""

import datetime as dt
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from app.domain.runs.waits import Blocker, Process
from app.store.database.pool import Database

_FIRST_WAITING = 1000


@dataclass(frozen=True, slots=True)
class Idle:
    """The first waiting accounts: free, postponed (until), claimed."""

    due: int
    postponed: int
    postponed_until: dt.datetime | None
    claimed: int


class RunWaits:
    """Reads what a run may wait for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        sql = database.queries("runs/waits")
        self._processes, self._held = sql["get_processes"], sql["get_held_accounts"]
        self._idle, self._blockers = sql["get_idle_accounts"], sql["get_blockers"]
        self._under_way = sql["get_runs_under_way"]

    async def processes(self, run_id: uuid.UUID) -> tuple[Mapping[uuid.UUID, Process], dt.datetime]:
        """The run's processes within a day, and the database's time."""
        rows = await self._database.fetch(self._processes, run_id)
        found = {
            row["worker_id"]: Process(
                f"{row['host']}, process {row['pid']}",
                row["heartbeat_at"],
                row["waits_for"],
                row["waits_detail"] or "",
                row["waits_since"],
                row["next_try_at"],
                row["given_up_at"],
            )
            for row in rows
            if row["worker_id"] is not None
        }
        return found, rows[-1]["now"]

    async def held(
        self, run_id: uuid.UUID, workers: Collection[uuid.UUID]
    ) -> Mapping[uuid.UUID, tuple[int, dt.datetime]]:
        """Waiting accounts by process, and its last claim."""
        if not workers:
            return {}
        rows = await self._database.fetch(self._held, run_id, list(workers))
        return {row["claimed_by"]: (row["accounts"], row["claimed_at"]) for row in rows}

    async def idle(self, run_id: uuid.UUID) -> Idle:
        """State of the run's first waiting accounts."""
        row = await self._database.fetch_row(self._idle, run_id, _FIRST_WAITING)
        return (
            Idle(0, 0, None, 0)
            if row is None
            else Idle(row["due"], row["postponed"], row["postponed_until"], row["claimed"])
        )

    async def under_way(self, run_id: uuid.UUID) -> tuple[int, uuid.UUID | None]:
        """The number of other active runs, and the oldest."""
        row = await self._database.fetch_row(self._under_way, run_id)
        return (0, None) if row is None else (row["runs"], row["first"])

    async def blocker(self) -> Blocker | None:
        """The oldest foreign session with possible locks."""
        row = await self._database.fetch_row(self._blockers)
        return (
            None
            if row is None
            else Blocker(row["pid"], row["role"] or "another role", row["program"], row["since"])
        )
