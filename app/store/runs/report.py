"""What people and dashboards read: the report, one account, one run."""

import datetime as dt
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.issues.codes import IssueCode, Severity, few_hours_issue
from app.domain.runs.grounds import LastLook
from app.domain.wording.counts import choose, counted
from app.errors import DatabaseUnavailable, NotFound, WriteConflict
from app.store.database.errors import TAKES_NO_WRITES
from app.store.database.pool import Database
from app.store.database.transaction import SWEEP_SECONDS, Connection, Purpose, Record

_ATTEMPTS = 10
_HISTORY = 50
_SET_ASIDE = 20
_PINS = 100
_HOLDING = 20
_READY_SECONDS = 1.3
"""For the answer of a connection that stands, and once more for that of a new one: together less
than a probe waits.
"""
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
_OF_DATES = frozenset(
    {
        IssueCode.MISSING_METRICS_TABLES,
        IssueCode.MISSING_TRADE_RECORDS,
        IssueCode.TRADE_COUNT_MISMATCH,
        IssueCode.UPSTREAM_DRIFT,
        IssueCode.VALUE_DRIFT,
        IssueCode.MONEY_MISMATCH,
    }
)
"""Issues about dates that may not be known yet: while one names none, nothing can be said of any
date.
"""
_BESIDE = {
    "unmatched": (
        "{} stored row has a natural key that fits no account or several",
        "{} stored rows have a natural key that fits no account or several",
    ),
    "shared": (
        (
            "{} natural key is held by several accounts at the same time, and not all of them have"
            " the trades that they count"
        ),
        (
            "{} natural keys are held by several accounts at the same time, and not all of them"
            " have the trades that they count"
        ),
    ),
    "set_aside": (
        "{} row of upstream cannot be stored (recon_set_aside_rows)",
        "{} rows of upstream cannot be stored (recon_set_aside_rows)",
    ),
    "held": (
        "{} account is held (needs_confirmation) by a difference that names no date",
        "{} accounts are held (needs_confirmation) by differences that name no date",
    ),
}


@dataclass(frozen=True, slots=True)
class AccountReport:
    """One account: its row of trade_recon, last attempts, issues' history, rows set aside; pinned
    rows and accepted issues.
    """

    state: Record
    attempts: list[Record]
    history: list[Record]
    set_aside: list[Record]
    pins: list[Record]
    accepted: list[Record]

    @property
    def issues(self) -> list[object]:
        """Its open issues as they are shown: those that runs look at, and what is for information
        alone.
        """
        issues, few_hours = self.state["issues"], self.state["few_hours"]
        shown = list(issues) if isinstance(issues, list) else []
        return [*shown, few_hours_issue(few_hours).as_json()] if few_hours else shown

    @property
    def rests_on(self) -> str:
        """When and how it was last compared, as a sentence."""
        differs = self.state["mismatched_days"] or self.state["mismatched_money"]
        agrees = bool(self.state["trades_recon_checksum"]) and not differs and not self.issues
        if not self.attempts:
            return LastLook(self.state["last_checked"], agrees).sentence
        last = self.attempts[0]
        rows = (
            None
            if last["compared"] is None
            else sum(figures["rows"] for figures in last["compared"].values())
        )
        return LastLook(
            self.state["last_checked"],
            agrees,
            last["run_id"],
            last["kind"],
            last["outcome"],
            last["finished_at"],
            rows,
        ).sentence


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why dates are in doubt, and from which on; None: it is not known, so that none is sure."""

    first_date: dt.date | None
    reason: str


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
    """By which dates the figures are counted: what is accepted `today`, and what lies before the
    dates that move (`moving_from`).
    """

    today: dt.date
    moving_from: dt.date


Shown = Callable[[ReportFigures, Connection], Awaitable[Mapping[str, object]]]
"""What becomes of the figures, as JSON values; whatever else it reads, it reads over the
connection, in the same transaction.
"""


@dataclass(frozen=True, slots=True)
class KeptFigures:
    """What was kept of the report, as JSON, from when it is and when it was read, by the database's
    clock.
    """

    figures: Mapping[str, Any]
    computed_at: dt.datetime
    read_at: dt.datetime


class Reports:
    """Reads what was recorded."""

    def __init__(self, database: Database) -> None:
        """Read the statements."""
        self._database = database
        self._sql = database.queries("report")
        self._list_pins = database.queries("pins")["list_pins"]
        accepted = database.queries("accepted")
        self._list_accepted, self._count_accepted = (
            accepted["list_accepted"],
            accepted["count_accepted"],
        )
        self._window = database.queries("history")["get_window"]

    async def counted(self, shown: Shown, horizon: Horizon) -> KeptFigures:
        """What `shown` makes of the figures, counted now."""
        async with self._database.transaction(
            "repeatable_read", statement_seconds=SWEEP_SECONDS, purpose=Purpose.READ_BATCH
        ) as connection:
            days = await self._open_days(connection)
            figures = await shown(
                await self._figures(connection, horizon, days["first_day"], ()), connection
            )
            return KeptFigures(figures, days["read_at"], days["read_at"])

    async def kept(self) -> KeptFigures | None:
        """The figures as they were last kept; None if they never were."""
        row = await self._database.fetch_row(self._sql["get_kept_figures"])
        return (
            None
            if row is None or row["figures"] is None
            else KeptFigures(row["figures"], row["computed_at"], row["read_at"])
        )

    async def last_run(self, today: dt.date | None = None) -> Record | None:
        """The newest run that ended, with why it ended so, what it holds on a date (None: the
        server's), and its API statistics.
        """
        return await self._database.fetch_row(self._sql["get_last_run"], today)

    async def holding_run(self, today: dt.date | None = None) -> Record | None:
        """The newest run that ended and left accounts that wait for confirmation on a date (None:
        the server's).
        """
        return await self._database.fetch_row(self._sql["get_holding_run"], today)

    async def newest_runs(
        self, today: dt.date | None = None
    ) -> tuple[Record | None, Record | None, Record | None]:
        """The newest run that ended, the newest that left accounts held on a date, and the newest
        audit that compared all accounts.
        """
        audit = await self._database.fetch_row(self._sql["get_last_audit"])
        return await self.last_run(today), await self.holding_run(today), audit

    async def keep(
        self, shown: Shown, horizon: Horizon, least_seconds: float, share: float
    ) -> bool:
        """Count the figures and keep what `shown` makes of them.

        False if somebody else is at it, or was less than `least_seconds`, or `share` times as long
        as that took, ago.
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
                days = await self._open_days(connection)
                over = [
                    day
                    for day in row["activity"] or ()
                    if f"{days['first_day']}" <= day["day"] < f"{days['open_from']}"
                ]
                figures = await shown(
                    await self._figures(connection, horizon, days["open_from"], over), connection
                )
                await connection.execute(
                    self._sql["keep_figures"], figures, time.monotonic() - begun
                )
                return True
        except WriteConflict:
            # Somebody else kept theirs between the beginning of this transaction and its lock.
            return False

    async def _open_days(self, connection: Connection) -> Record:
        row = await connection.fetch_row(self._sql["get_open_days"])
        if row is None:
            raise NotFound("The report has no place for its figures; run `trade-recon migrate`.")
        return row

    async def _figures(
        self,
        connection: Connection,
        horizon: Horizon,
        open_from: dt.date,
        over: Sequence[Mapping[str, Any]],
    ) -> ReportFigures:
        """The figures; what was recorded on the days that are `over` is known, only days from
        `open_from` on are counted.
        """
        states = await connection.fetch_row(self._sql["count_accounts_by_state"], horizon.today)
        if states is None:
            raise NotFound("The report's accounts could not be counted; run `trade-recon migrate`.")
        issues = await connection.fetch(
            self._sql["count_issues"],
            horizon.today,
            horizon.moving_from,
            _HOLDING,
            sorted(_OF_DATES),
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
        history_from: dt.date | None = await connection.fetch_value(self._window)
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
            _doubts(states["undated"], issues, beside, history_from or dt.date.min),
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
                if (row := await connection.fetch_row(self._count_accepted, horizon.today))
                else None
            ),
            _holding(states, holding),
            states["undated"],
            states["with_trades"],
            [dict(row) for row in await connection.fetch(self._sql["get_money_relations"])],
        )

    async def account(self, account_id: str, today: dt.date | None = None) -> AccountReport:
        """One account, with what of it is accepted on a date (None: the server's); NotFound if it
        is unknown.
        """
        state = await self._database.fetch_row(self._sql["get_account"], account_id, today)
        if state is None:
            raise NotFound(f"There is no account {account_id!r}.")
        return AccountReport(
            state,
            await self._database.fetch(self._sql["get_attempts"], account_id, _ATTEMPTS),
            await self._database.fetch(self._sql["get_history"], account_id, _HISTORY),
            await self._database.fetch(self._sql["get_set_aside"], account_id, _SET_ASIDE),
            await self._database.fetch(self._list_pins, account_id, _PINS),
            await self._database.fetch(self._list_accepted, today, account_id, _HISTORY),
        )

    async def accounts(
        self,
        statuses: Sequence[str] | None,
        issue: str | None,
        after: str | None,
        limit: int,
        today: dt.date | None = None,
    ) -> list[Record]:
        """Accounts in the order of their ids, at most `limit`: of these states and with this open
        issue (None: any), behind `after`.

        The states are those of a date (None: the server's), on which acceptances may have ended.
        """
        return await self._database.fetch(
            self._sql["list_accounts"], statuses, issue, after, limit, today, seconds=SWEEP_SECONDS
        )

    async def attempt(self, run_id: uuid.UUID, account_id: str) -> Record | None:
        """What a run did to an account; None if the account is not part of it."""
        return await self._database.fetch_row(self._sql["get_attempt"], run_id, account_id)

    async def run_attempts(self, run_id: uuid.UUID) -> list[Record]:
        """What a run did to each account that it is done with, in the run's order."""
        return await self._database.fetch(
            self._sql["get_run_attempts"], run_id, seconds=SWEEP_SECONDS
        )

    async def checked_by_date(self) -> list[Record]:
        """Accounts last checked on each date of the last seven days, newest first: of these those
        `resolved` by checksum, and `failed`.
        """
        return await self._database.fetch(self._sql["count_checked_by_date"], seconds=SWEEP_SECONDS)

    async def is_ready(self) -> bool:
        """Whether the schema answers; DatabaseUnavailable if not, or if PostgreSQL takes no writes;
        DatabaseError if it is not there.
        """
        (row,) = await self._database.ask(self._sql["is_ready"], seconds=_READY_SECONDS)
        if row["is_read_only"]:
            raise DatabaseUnavailable(TAKES_NO_WRITES)
        return bool(row["migrations"])


def _doubts(
    undated: int, issues: Sequence[Record], beside: Sequence[Record], since: dt.date
) -> list[Doubt]:
    """What leaves dates from `since` on in doubt, the worst first: accounts that disagree, issues,
    rows without owner or place, holds.
    """
    doubts = (
        [
            Doubt(
                None,
                f"{counted(undated, 'account')} {choose(undated, 'disagrees', 'disagree')}, and it"
                " is not known yet on which dates.",
            )
        ]
        if undated
        else []
    )
    for row in issues:
        # What is for information counts no date, but those that are settled of what was not when a
        # run met it (count_issues).
        unknown = _undated(row)
        if unknown:
            doubts.append(
                Doubt(
                    None,
                    f"{row['issue_type']} is open at {counted(unknown, 'account')}, and it is not"
                    " known yet on which dates.",
                )
            )
        if row["first_date"] is not None:
            first = max(row["first_date"], since)
            doubts.append(
                Doubt(
                    first,
                    f"{row['issue_type']} is open at {counted(row['counting'], 'account')}, from"
                    f" {first} on.",
                )
            )
    for row in beside:
        told = choose(row["rows"], *_BESIDE[row["kind"]]).format(row["rows"])
        if row["dateless"]:
            doubts.append(Doubt(None, f"{told}, and it is not known of which dates."))
        if row["first_date"] is not None:
            first = max(row["first_date"], since)
            doubts.append(Doubt(first, f"{told}, from {first} on."))
    return sorted(doubts, key=lambda doubt: doubt.first_date or dt.date.min)


def _holding(states: Record, rows: Sequence[Record]) -> list[Mapping[str, Any]]:
    """The first accounts that hold the date back, with their number: those that disagree without an
    issue lead.
    """
    number = states["undated"] + (rows[0]["account_count"] if rows else 0)
    undated = [
        {"account_id": account_id, "issue": None, "first_date": None}
        for account_id in states["undated_accounts"]
    ]
    others = [
        {
            "account_id": row["account_id"],
            "issue": row["issue_type"],
            "first_date": row["first_date"],
        }
        for row in rows
    ]
    return [{**each, "accounts": number} for each in [*undated, *others][:_HOLDING]]


def _undated(issue: Record) -> int:
    """Of how many accounts an issue leaves open which dates disagree; of all, where the first date
    of an earlier system is none.
    """
    if issue["is_unreadable"]:
        return int(issue["counting"])
    return int(issue["dateless"]) if issue["issue_type"] in _OF_DATES else 0
