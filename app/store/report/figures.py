"""The figures of the report, counted."""

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
    """The figures of the report.

    `activity` has an entry for each of the last seven days and of today on which something was
    recorded. `doubts` are the reasons for which dates are in doubt, those of which no date is known
    first, then in the order of their first dates; none lies before `history_from`, the first date
    that is compared (None: all are). `open_trades` is what the newest audit found of them; None:
    none compared them. `accepted` tells at how many accounts issues are accepted, and until when;
    `holding` are the first accounts that hold back the date through which all is reconciled, each
    with their number. `undetailed` are accounts that disagree and of which no issue is recorded,
    `with_trades` those that have a trade in any table. `money` tells which sums of amounts are
    equal between tables.
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
    """Dates of the count: acceptances count `today`, dates from `moving_from` are unsettled."""

    today: dt.date
    moving_from: dt.date


class Figures:
    """Counts what the report shows, in a transaction of the caller's."""

    def __init__(self, database: Database) -> None:
        """Read the statements."""
        self._sql = database.queries("report/figures")
        self._histories = Histories(database)

    async def open_days(self, connection: Connection) -> Record:
        """The last seven days, and the first of them that may not be over."""
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
        """Count the figures; days that are `over` are known, those from `open_from` on counted."""
        states = await connection.fetch_row(self._sql["count_accounts_by_state"], horizon.today)
        if states is None:
            raise NotFound("The report's accounts could not be counted; run `trade-recon migrate`.")
        issues = await connection.fetch(
            self._sql["count_issues"],
            horizon.today,
            horizon.moving_from,
            _HOLDING,
            sorted(OF_DATES),
        )
        holding, issues = (
            [row for row in issues if row["account_id"] is not None],
            [row for row in issues if row["account_id"] is None],
        )
        few_hours = await connection.fetch_row(self._sql["count_few_hours"])
        shown = [{name: row[name] for name in _ISSUES} for row in issues]
        if few_hours and few_hours["account_count"]:
            shown.append(
                {
                    "issue_type": str(IssueCode.SUSPICIOUSLY_FEW_HOURS),
                    "severity": int(Severity.INFO),
                    **few_hours,
                }
            )
        beside = await connection.fetch(self._sql["get_doubts"], horizon.today)
        opened = await connection.fetch_row(self._sql["get_open_trades"])
        history_from: dt.date | None = await self._histories.window(connection)
        return ReportFigures(
            {name: states[name] for name in _OVERALL},
            shown,
            [
                *over,
                *(
                    dict(row)
                    for row in await connection.fetch(self._sql["get_activity"], open_from)
                ),
            ],
            doubts_of(states["undated"], issues, beside, history_from or dt.date.min),
            states["statuses"],
            (
                None
                if opened is None
                else {
                    "run_id": opened["run_id"],
                    "compared_at": opened["compared_at"],
                    **opened["open_trades"],
                }
            ),
            history_from,
            (
                dict(row)
                if (row := await connection.fetch_row(self._sql["count_accepted"], horizon.today))
                else None
            ),
            accounts_holding(states, holding, _HOLDING),
            states["undated"],
            states["with_trades"],
            [dict(row) for row in await connection.fetch(self._sql["get_money_relations"])],
        )
