"""What people and dashboards read: the report, one account, one run."""

import datetime as dt
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import NotFound
from app.store.pool import SWEEP_SECONDS, Connection, Database, Record

_ATTEMPTS = 10
_HISTORY = 50


@dataclass(frozen=True, slots=True)
class AccountReport:
    """One account: its row of trade_recon, its last attempts and the history of its issues, newest first."""

    state: Record
    attempts: list[Record]
    history: list[Record]


@dataclass(frozen=True, slots=True)
class ReportFigures:
    """The figures of the report.

    `first_date` is the first that an open issue names (None: none does), `undated` how many accounts disagree on dates that are not
    known yet.
    """

    overall: Record
    issues: list[Record]
    activity: list[Record]
    first_date: dt.date | None
    undated: int
    last_run: Record | None
    statuses: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class KeptFigures:
    """What was kept of the report, as JSON, and from when it is (aware)."""

    figures: Mapping[str, Any]
    computed_at: dt.datetime


class Reports:
    """Reads what was recorded."""

    def __init__(self, database: Database) -> None:
        """Read the statements."""
        self._database = database
        self._sql = database.queries("report")

    async def figures(self) -> ReportFigures:
        """The report's figures, counted now."""
        async with self._database.transaction("repeatable_read") as connection:
            return await self._figures(connection)

    async def kept(self) -> KeptFigures | None:
        """The figures as they were last kept; None if they never were."""
        row = await self._database.fetch_row(self._sql["get_kept_figures"])
        return None if row is None or row["figures"] is None else KeptFigures(row["figures"], row["computed_at"])

    async def keep(self, shown: Callable[[ReportFigures], Awaitable[Mapping[str, object]]]) -> bool:
        """Count the figures and keep what `shown` makes of them; False if somebody else is at it."""
        begun = time.monotonic()
        async with self._database.transaction("repeatable_read", statement_seconds=SWEEP_SECONDS) as connection:
            if await connection.fetch_row(self._sql["lock_kept_figures"]) is None:
                return False
            figures = await shown(await self._figures(connection))
            await connection.execute(self._sql["keep_figures"], figures, time.monotonic() - begun)
            return True

    async def _figures(self, connection: Connection) -> ReportFigures:
        overall = await connection.fetch_row(self._sql["get_progress"])
        through = await connection.fetch_row(self._sql["get_reconciled_through"])
        statuses = await connection.fetch(self._sql["count_unresolved"])
        if overall is None or through is None:
            raise NotFound("The report's views gave no row; run `trade-recon migrate`.")
        return ReportFigures(
            overall,
            await connection.fetch(self._sql["get_issue_types"]),
            await connection.fetch(self._sql["get_activity"]),
            through["first_date"],
            through["undated"],
            await connection.fetch_row(self._sql["get_last_run"]),
            {row["status"]: row["accounts"] for row in statuses},
        )

    async def account(self, account_id: str) -> AccountReport:
        """One account; NotFound if it is unknown."""
        state = await self._database.fetch_row(self._sql["get_account"], account_id)
        if state is None:
            raise NotFound(f"There is no account {account_id!r}.")
        return AccountReport(
            state,
            await self._database.fetch(self._sql["get_attempts"], account_id, _ATTEMPTS),
            await self._database.fetch(self._sql["get_history"], account_id, _HISTORY),
        )

    async def attempt(self, run_id: uuid.UUID, account_id: str) -> Record | None:
        """What a run did to an account; None if the account is not part of it."""
        return await self._database.fetch_row(self._sql["get_attempt"], run_id, account_id)

    async def run_attempts(self, run_id: uuid.UUID) -> list[Record]:
        """What a run did to each account that it is done with, in the run's order."""
        return await self._database.fetch(self._sql["get_run_attempts"], run_id, seconds=SWEEP_SECONDS)

    async def is_ready(self) -> bool:
        """Whether the schema answers; DatabaseUnavailable or DatabaseError if not."""
        return bool(await self._database.fetch_value(self._sql["is_ready"], seconds=5))
