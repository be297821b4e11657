"""The report, counted now or as a snapshot."""

import datetime as dt
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import DatabaseUnavailable, WriteConflict
from app.store.database.errors import TAKES_NO_WRITES
from app.store.database.pool import Database
from app.store.database.transaction import SWEEP_SECONDS, Connection, Purpose, Record
from app.store.report.figures import Figures, Horizon, ReportFigures

_READY_SECONDS = 1.3

Shown = Callable[[ReportFigures, Connection], Awaitable[Mapping[str, object]]]
"""Turns figures into JSON in the connection's transaction."""


@dataclass(frozen=True, slots=True)
class KeptFigures:
    """A snapshot; times are the database's."""

    figures: Mapping[str, Any]
    computed_at: dt.datetime
    read_at: dt.datetime


class Reports:
    """Counts and stores the report; `today` None is the server's date."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.queries("report/report")
        self._figures = Figures(database)

    async def counted(self, shown: Shown, horizon: Horizon) -> KeptFigures:
        """The report counted now."""
        async with self._database.transaction(
            "repeatable_read", statement_seconds=SWEEP_SECONDS, purpose=Purpose.READ_BATCH
        ) as connection:
            days = await self._figures.open_days(connection)
            figures = await shown(
                await self._figures.count(connection, horizon, days["first_day"], ()), connection
            )
            return KeptFigures(figures, days["read_at"], days["read_at"])

    async def kept(self) -> KeptFigures | None:
        """The last snapshot, or None."""
        row = await self._database.fetch_row(self._sql["get_kept_figures"])
        return (
            None
            if row is None or row["figures"] is None
            else KeptFigures(row["figures"], row["computed_at"], row["read_at"])
        )

    async def keep(
        self, shown: Shown, horizon: Horizon, least_seconds: float, share: float
    ) -> bool:
        """Count and store a snapshot; whether that was done.

        Not while another process does, nor within `least_seconds`, or `share` of its duration, of
        the last one.
        """
        begun = time.monotonic()
        try:
            async with self._database.transaction(
                "repeatable_read", statement_seconds=SWEEP_SECONDS, purpose=Purpose.READ_BATCH
            ) as connection:
                row = await connection.fetch_row(
                    self._sql["lock_kept_figures"], least_seconds, share
                )
                if row is None:
                    return False
                days = await self._figures.open_days(connection)
                over = [
                    day
                    for day in row["activity"] or ()
                    if f"{days['first_day']}" <= day["day"] < f"{days['open_from']}"
                ]
                figures = await shown(
                    await self._figures.count(connection, horizon, days["open_from"], over),
                    connection,
                )
                await connection.execute(
                    self._sql["keep_figures"], figures, time.monotonic() - begun
                )
                return True
        except WriteConflict:
            # Another process stored a snapshot after this transaction began.
            return False

    async def last_run(self, today: dt.date | None = None) -> Record | None:
        """The newest ended run, with its holds on a date."""
        return await self._database.fetch_row(self._sql["get_last_run"], today)

    async def holding_run(self, today: dt.date | None = None) -> Record | None:
        """The newest ended run that still holds accounts on a date."""
        return await self._database.fetch_row(self._sql["get_holding_run"], today)

    async def newest_runs(
        self, today: dt.date | None = None
    ) -> tuple[Record | None, Record | None, Record | None]:
        """The newest: ended, holding accounts, full audit."""
        audit = await self._database.fetch_row(self._sql["get_last_audit"])
        return await self.last_run(today), await self.holding_run(today), audit

    async def is_ready(self) -> bool:
        """Whether the schema answers; DatabaseUnavailable if not, or read-only."""
        (row,) = await self._database.ask(self._sql["is_ready"], seconds=_READY_SECONDS)
        if row["is_read_only"]:
            raise DatabaseUnavailable(TAKES_NO_WRITES)
        return bool(row["migrations"])
