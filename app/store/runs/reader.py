"""Stored runs: rows, holds, results. `today` None is the server's date."""

import datetime as dt
import uuid
from collections.abc import Sequence

from app.domain.runs.leftovers import ACTING_BESIDE_HELD
from app.errors import NotFound
from app.store.database.pool import Database
from app.store.database.transaction import SWEEP_SECONDS, Record


class RunReader:
    """Reads stored runs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.queries("runs/reader")

    async def find(self, run_id: uuid.UUID) -> Record | None:
        """The run, or None."""
        return await self._database.fetch_row(self._sql["get_run"], run_id)

    async def get(self, run_id: uuid.UUID) -> Record:
        """The run, or NotFound."""
        if (row := await self.find(run_id)) is None:
            raise NotFound(f"There is no run {run_id}.")
        return row

    async def find_sole(self) -> Record | None:
        """The active full run (`run_id`, `status`), at most one."""
        return await self._database.fetch_row(self._sql["get_sole_run"])

    async def listed(
        self,
        statuses: Sequence[str] | None,
        kinds: Sequence[str] | None,
        before: uuid.UUID | None,
        limit: int,
        today: dt.date | None = None,
    ) -> list[Record]:
        """Runs older than `before` (or NotFound), newest first, of these statuses and kinds (None:
        any).
        """
        if before is not None:
            await self.get(before)
        return await self._database.fetch(
            self._sql["list_runs"], statuses, kinds, before, limit, ACTING_BESIDE_HELD, today
        )

    async def held_accounts(
        self, run_id: uuid.UUID, limit: int, today: dt.date | None = None
    ) -> list[Record]:
        """The first accounts held on a date, with reasons."""
        return await self._database.fetch(self._sql["get_run_held"], run_id, limit, today)

    async def pinned_rows(self, run_id: uuid.UUID) -> int:
        """Rows of the run's accounts pinned before its end, and still."""
        return int(await self._database.fetch_value(self._sql["count_pinned_rows"], run_id))

    async def still_held(self, run_id: uuid.UUID, today: dt.date | None = None) -> int:
        """The number of accounts still held on a date."""
        return int(await self._database.fetch_value(self._sql["count_still_held"], run_id, today))

    async def gone_accounts(self, run_id: uuid.UUID, limit: int) -> list[str]:
        """The first waiting accounts deleted from trade_recon."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._sql["get_gone_accounts"], run_id, limit)
        ]

    async def result(self, run_id: uuid.UUID) -> tuple[list[Record], list[Record]]:
        """Rows written, by table, date and broker, and their issues; or NotFound."""
        await self.get(run_id)
        rows = await self._database.fetch(
            self._sql["get_run_result"], run_id, seconds=SWEEP_SECONDS
        )
        return rows, await self._database.fetch(
            self._sql["get_run_issues"], run_id, seconds=SWEEP_SECONDS
        )
