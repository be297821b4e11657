"""What people and dashboards read: the report, one account, one run."""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from app.errors import NotFound
from app.store.pool import SWEEP_SECONDS, Database, Record

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
    """The figures of the report; `through` is the date up to which everything is reconciled, None while that cannot be said."""

    overall: Record
    issues: list[Record]
    activity: list[Record]
    through: dt.date | None
    last_run: Record | None
    statuses: Mapping[str, int]


class Reports:
    """Reads what was recorded."""

    def __init__(self, database: Database) -> None:
        """Read the statements."""
        self._database = database
        self._sql = database.queries("report")

    async def figures(self, moving_from: dt.date) -> ReportFigures:
        """The report's figures; dates from `moving_from` on still move and are not counted as reconciled."""
        async with self._database.transaction("repeatable_read") as connection:
            overall = await connection.fetch_row(self._sql["get_progress"])
            through = await connection.fetch_row(self._sql["get_reconciled_through"], moving_from)
            statuses = await connection.fetch(self._sql["count_unresolved"])
            if overall is None or through is None:
                raise NotFound("The report's views gave no row; run `trade-recon migrate`.")
            return ReportFigures(
                overall,
                await connection.fetch(self._sql["get_issue_types"]),
                await connection.fetch(self._sql["get_activity"]),
                None if through["undated"] or not overall["total_accounts"] else through["through"],
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
