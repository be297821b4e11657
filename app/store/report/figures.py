"""The report's figures, counted."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.issues.codes import IssueCode, Severity
from app.errors import NotFound
from app.store.database.pool import Database
from app.store.database.transaction import Connection, Record
from app.store.report.doubts import OF_DATES, Doubt, accounts_holding, doubts_of
from app.store.schema.history import Histories

_HOLDING = 20
_OVERALL = (
    "total_accounts",
    "reconciled",
    "needs_reconciliation",
    "has_failures",
    "has_issues",
    "reconciliation_percentage",
    "last_activity",
    "oldest_unreconciled",
)
_ISSUES = ("issue_type", "severity", "account_count", "sample_accounts")


@dataclass(frozen=True, slots=True)
class ReportFigures:
    """The report's figures.

    `activity` has the past week's days with entries. `doubts` begin with undated ones and respect
    `history_from`, the first date compared. `open_trades` is the newest audit's. `holding` are the
    first accounts that hold the reconciled date back. `undetailed` accounts disagree without an
    issue; `with_trades` have any.
    """

    overall: Mapping[str, Any]
    issues: Sequence[Mapping[str, Any]]
    activity: Sequence[Mapping[str, Any]]
    doubts: Sequence[Doubt]
    statuses: Mapping[str, int]
    open_trades: Mapping[str, Any] | None
    history_from: dt.date | None = None
    accepted: Mapping[str, Any] | None = None
    holding: Sequence[Mapping[str, Any]] = ()
    undetailed: int = 0
    with_trades: int = 0
    money: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Horizon:
    """Acceptances count `today`; dates from `moving_from` are unsettled."""

    today: dt.date
    moving_from: dt.date


class Figures:
    """Counts the figures in the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._sql = database.queries("report/figures")
        self._histories = Histories(database)

    async def open_days(self, connection: Connection) -> Record:
        """The last seven days, and the first that may not be over."""
        row = await connection.fetch_row(self._sql["get_open_days"])
        if row is None:
            raise NotFound("The report has no place for its figures; run `trade-recon migrate`.")
        return row

    async def count(
        self,
        connection: Connection,
        horizon: Horizon,
        open_from: dt.date,
        over: Sequence[Mapping[str, Any]],
    ) -> ReportFigures:
        """The figures; days `over` are known, those from `open_from` counted."""
        states = await self._states(connection, horizon.today)
        rows = await connection.fetch(
            self._sql["count_issues"],
            horizon.today,
            horizon.moving_from,
            _HOLDING,
            sorted(OF_DATES),
        )
        issues = [row for row in rows if row["account_id"] is None]
        holding = [row for row in rows if row["account_id"] is not None]
        few_hours = await connection.fetch_row(self._sql["count_few_hours"])
        beside = await connection.fetch(self._sql["get_doubts"], horizon.today)
        open_trades = await connection.fetch_row(self._sql["get_open_trades"])
        history_from = await self._histories.window(connection)
        activity = await connection.fetch(self._sql["get_activity"], open_from)
        accepted = await connection.fetch_row(self._sql["count_accepted"], horizon.today)
        money = await connection.fetch(self._sql["get_money_relations"])
        return ReportFigures(
            overall={name: states[name] for name in _OVERALL},
            issues=_issues(issues, few_hours),
            activity=[*over, *map(dict, activity)],
            doubts=doubts_of(states["undated"], issues, beside, history_from or dt.date.min),
            statuses=states["statuses"],
            open_trades=_open_trades(open_trades),
            history_from=history_from,
            accepted=dict(accepted) if accepted else None,
            holding=accounts_holding(states, holding, _HOLDING),
            undetailed=states["undated"],
            with_trades=states["with_trades"],
            money=[*map(dict, money)],
        )

    async def _states(self, connection: Connection, today: dt.date) -> Record:
        row = await connection.fetch_row(self._sql["count_accounts_by_state"], today)
        if row is None:
            raise NotFound("The report's accounts could not be counted; run `trade-recon migrate`.")
        return row


def _issues(rows: Sequence[Record], few_hours: Record | None) -> list[Mapping[str, Any]]:
    """Open issues, then dates with suspiciously few hours."""
    issues: list[Mapping[str, Any]] = [{name: row[name] for name in _ISSUES} for row in rows]
    if few_hours and few_hours["account_count"]:
        code, severity = IssueCode.SUSPICIOUSLY_FEW_HOURS, Severity.INFO
        issues.append({"issue_type": str(code), "severity": int(severity), **few_hours})
    return issues


def _open_trades(row: Record | None) -> Mapping[str, Any] | None:
    if row is None:
        return None
    return {"run_id": row["run_id"], "compared_at": row["compared_at"], **row["open_trades"]}
