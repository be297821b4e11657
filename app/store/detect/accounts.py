"""Detection: what the warehouse's tables say about accounts, always by sets."""

import asyncio
import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from uuid import UUID

from app.domain.accounts.counts import DayCounts, Drift, IdentityFinding, OddRows, Totals
from app.domain.accounts.view import AccountView, History
from app.domain.issues.codes import COUNTED_TABLES, FEW_HOURS_TRADES
from app.domain.planning.estimates import Upstream
from app.errors import DatabaseError
from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import SWEEP_SECONDS, Connection, Purpose, Record
from app.store.database.window import ALL_DATES, Window
from app.store.detect.money import NO_LOOK, MoneyStatements, MoneyTerms
from app.store.detect.money_views import dates_of, money_of
from app.store.schema.state_entries import Entries
from app.telemetry import get_logger

_STATS = (
    "has_alltime",
    "alltime",
    "has_daily",
    "daily",
    "has_hourly",
    "hourly",
    "has_closed",
    "closed",
)
_SHOWN, _LONGEST_SHOWN = 5, 60
_KEPT = 8
_log = get_logger(__name__)
NOTHING = Totals(
    has_alltime=False,
    alltime=0,
    has_daily=False,
    daily=0,
    has_hourly=False,
    hourly=0,
    has_closed=False,
    closed=0,
)


@dataclass(frozen=True, slots=True)
class WellAccount:
    """An account that agrees, its logins, the last date on which it traded, and the one of fewest
    trades.
    """

    account_id: str
    logins: tuple[str, ...]
    day: dt.date
    quietest: dt.date


class Detection:
    """The view of a batch that the domain judges, and the totals that it writes down while it
    looks.
    """

    def __init__(self, database: Database, money: MoneyTerms, window: Window = ALL_DATES) -> None:
        """Read the statements; a missing one fails here. Only the dates of the window are seen."""
        self._window = window
        self._money, self._reads_money = (
            MoneyStatements(database.queries("money", window), money.columns, window),
            not money.mode.is_off,
        )
        sql = database.queries("detection", window)
        self._database = database
        self._entries = Entries(database)
        days = fill(sql["days_of_accounts"], accounts="account_id = ANY($1::text[])")
        self._look_at = partial(
            fill, sql["look_at_accounts"], few_hours_trades=str(FEW_HOURS_TRADES)
        )
        self._look = self._look_at(days=days, **NO_LOOK)
        self._look_with_money = lru_cache(_KEPT)(self._composed)
        self._write_few_hours = sql["write_few_hours"]
        self._write_stats = fill(sql["write_stats"], issues="r.issues")
        self._write_first_stats = fill(sql["write_stats"], issues=sql["issues_if_emptied"])
        self._logins = sql["get_logins"]
        self._logins_of_placeholders = sql["get_logins_of_placeholders"]
        self._size, self._locked_accounts = sql["get_size"], sql["get_locked_accounts"]
        self._coverage = fill(sql["get_coverage"], days=days)
        self._findings = sql["get_findings"]
        self._drift = sql["get_drift"]
        self._all, self._mismatched = sql["get_all_accounts"], sql["get_mismatched_accounts"]
        self._well, self._traded_days = sql["get_well_accounts"], sql["get_traded_days"]
        self._unknown = sql["get_unknown_accounts"]
        self._descents = sql["get_descents"]
        rows_of_some = fill(sql["placeable_rows"], accounts="account_id = ANY($2::text[])")
        self._doubts = fill(sql["get_doubts"], placeable=rows_of_some)
        self._placeable = fill(
            sql["get_placeable_accounts"], placeable=fill(sql["placeable_rows"], accounts="true")
        )
        self._known = sql["get_known_accounts"]
        self._pins = sql["get_pins"]
        self._ask_again = sql["ask_again"]
        self._refuted = sql["get_refuted_accounts"]
        self._odd_rows = fill(sql["get_odd_rows"], accounts="account_id = ANY($1::text[])")
        self._all_odd_rows = fill(sql["get_odd_rows"], accounts="true")

    async def add_accounts(self, account_ids: Sequence[str]) -> Mapping[str, str]:
        """Make accounts known that only upstream has so far; those that trade_recon does not let
        in, with the reasons.
        """
        async with self._database.transaction(statement_seconds=COMMAND_SECONDS) as connection:
            return (
                await self._entries.add(
                    connection, "SELECT unnest($1::text[]) AS account_id", list(account_ids)
                )
            ).refused

    async def refresh_stats(self, account_ids: Sequence[str], *, is_first: bool = False) -> None:
        """Recompute totals and checksum of these accounts; `is_first` as for `look`."""
        await self._read(list(account_ids), is_first=is_first)

    async def look(
        self,
        account_ids: Sequence[str],
        run_id: UUID | None = None,
        *,
        is_first: bool = False,
        all_logins: bool = False,
    ) -> dict[str, AccountView]:
        """The accounts as they stand now, their totals written down; `run_id` adds what that run's
        audit found, and reads again.

        With `all_logins` the logins of accounts that agree are read, too, since they are asked for
        as well. With `is_first` the caller has written nothing of them yet: where nothing is stored
        any more, somebody else took it, and upstream is to be asked.
        """
        ids = list(account_ids)
        looked, used = await self._read(ids, is_first=is_first)
        async with self._database.transaction(statement_seconds=COMMAND_SECONDS) as connection:
            findings = _by_account(await connection.fetch(self._findings, ids))
            emptied = {
                row["account_id"]: _lost(row) for row in looked if is_first and _is_emptied(row)
            }
            drift = {**emptied, **await self._drift_of(connection, ids, run_id)}
            descents = {
                row["account_id"]: frozenset(row["dates"])
                for row in await connection.fetch(self._descents, ids)
            }
            doubts = {} if run_id is None else await self._doubts_of(connection, ids, run_id)
            odd_rows = _odd_rows(await connection.fetch(self._odd_rows, ids))
            pins = _pins(await connection.fetch(self._pins, ids))
            # Only who needs something is asked for under its logins; to know them all trades are
            # read.
            doubtful = [row["account_id"] for row in looked if all_logins or _disagrees(row)]
            asked = sorted(
                {*doubtful, *findings.keys() & set(ids), *drift, *descents, *doubts, *pins}
            )
            logins = (
                {row["account_id"]: row for row in await connection.fetch(self._logins, asked)}
                if asked
                else {}
            )
        # In a thread, as below: thousands of accounts would keep the event loop from whatever else
        # waits.
        beside = _Beside(
            findings, drift, descents, logins, odd_rows, doubts, pins, self._window.first, used
        )
        return await asyncio.to_thread(_views, looked, beside)

    async def _read(self, ids: list[str], *, is_first: bool) -> tuple[list[Record], frozenset[str]]:
        """Read the raw tables once for these accounts, and write down the totals that changed; also
        the relations that were looked at.
        """
        async with self._database.transaction(
            purpose=Purpose.READ_BATCH, statement_seconds=COMMAND_SECONDS
        ) as connection:
            known = await connection.fetch(self._money.get) if self._reads_money else []
            used = frozenset(row["relation"] for row in known if row["is_used"])
            looked = await connection.fetch(
                self._look_with_money(used) if used else self._look, ids
            )
        few_hours = _changed_few_hours(looked)
        if few_hours:
            await self._database.give_way(
                lambda connection: connection.execute(self._write_few_hours, few_hours)
            )
        changed = await asyncio.to_thread(_changed, looked)
        if changed:
            statement = self._write_first_stats if is_first else self._write_stats
            await self._database.give_way(lambda connection: connection.execute(statement, changed))
        return looked, used

    def _composed(self, used: frozenset[str]) -> str:
        """The look that also compares amounts."""
        return self._look_at(
            days=self._money.days("account_id = ANY($1::text[])"), **self._money.look(sorted(used))
        )

    async def locked_accounts(self, account_ids: Sequence[str]) -> list[str]:
        """Those of the accounts whose rows in trade_recon somebody holds now."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._locked_accounts, list(account_ids))
        ]

    async def logins_of_placeholders(
        self, account_ids: Sequence[str]
    ) -> dict[str, tuple[str, ...]]:
        """The logins of those of the accounts that upstream knows by no id: they are asked for by
        login.
        """
        rows = await self._database.fetch(
            self._logins_of_placeholders, list(account_ids), seconds=SWEEP_SECONDS
        )
        return {row["account_id"]: tuple(row["logins"]) for row in rows}

    async def size(self) -> Upstream:
        """How large the warehouse is, by which upstream's size can be judged."""
        row = await self._database.fetch_row(self._size)
        if row is None:
            raise DatabaseError("The accounts could not be counted.")
        return Upstream(row["accounts"], row["trades"])

    async def coverage(self, account_ids: Sequence[str]) -> dict[dt.date, int]:
        """How many of the accounts have a row on a date; dates without any are not in it."""
        return {
            row["date"]: row["accounts"]
            for row in await self._database.fetch(self._coverage, list(account_ids))
        }

    async def look_at_identity(self, account_ids: Sequence[str]) -> dict[str, AccountView]:
        """The accounts as far as their rows by themselves go: findings about ids, rows of
        impossible dates, and no counts.
        """
        findings = _by_account(await self._database.fetch(self._findings, list(account_ids)))
        odd_rows = _odd_rows(await self._database.fetch(self._odd_rows, list(account_ids)))
        return {
            account_id: AccountView(
                account_id,
                NOTHING,
                findings=tuple(findings.get(account_id, ())),
                odd_rows=odd_rows.get(account_id, ()),
            )
            for account_id in account_ids
        }

    async def accounts_of_odd_rows(self) -> list[str]:
        """The accounts under which rows stand whose date no calendar holds; ids that are no
        account's are logged.
        """
        found = _odd_rows(await self._database.fetch(self._all_odd_rows, seconds=SWEEP_SECONDS))
        known = await self.known_accounts(list(found))
        others = sorted(found.keys() - known)
        if others:
            _log.warning(
                "Rows of impossible dates stand under ids that are no account's; they are left as"
                " they are.",
                action="detection.odd_rows",
                ids=len(others),
                sample=[each[:_LONGEST_SHOWN] for each in others[:_SHOWN]],
            )
        return known

    async def known_accounts(self, account_ids: Sequence[str]) -> list[str]:
        """Those of the ids that trade_recon knows."""
        return [
            row["account_id"] for row in await self._database.fetch(self._known, list(account_ids))
        ]

    async def ask_again(
        self, account_ids: Sequence[str], days: Sequence[tuple[str, dt.date]]
    ) -> None:
        """Let the next run ask upstream about these accounts without any wait, and read the finer
        tables of `days`.
        """
        await self._database.execute(
            self._ask_again, list(account_ids), [day[0] for day in days], [day[1] for day in days]
        )

    async def pins(
        self, account_ids: Sequence[str]
    ) -> dict[str, dict[tuple[str, dt.date | None], int]]:
        """How many rows of accounts are pinned, by table and date; accounts without one are left
        out.
        """
        return _pins(await self._database.fetch(self._pins, list(account_ids)))

    async def refuted_accounts(self, codes: Sequence[str]) -> list[str]:
        """Accounts that no full run takes for now, with open issues of these codes, which are seen
        in counts alone, whose tables agree.
        """
        return [
            row["account_id"]
            for row in await self._database.fetch(self._refuted, list(codes), seconds=SWEEP_SECONDS)
        ]

    async def all_accounts(self) -> list[str]:
        """All accounts that are known."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._all, seconds=SWEEP_SECONDS)
        ]

    async def mismatched_accounts(self) -> list[str]:
        """Accounts whose tables disagree, or that have open issues."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._mismatched, seconds=SWEEP_SECONDS)
        ]

    async def well_accounts(self, beside: Sequence[str]) -> list[WellAccount]:
        """Two accounts that agree and are not among `beside`; fewer if there are no such."""
        well = [
            row["account_id"]
            for row in await self._database.fetch(self._well, list(beside), seconds=SWEEP_SECONDS)
        ]
        if not well:
            return []
        logins = {
            row["account_id"]: tuple(row["logins"])
            for row in await self._database.fetch(self._logins, well)
        }
        days = await self._database.fetch(self._traded_days, well)
        return [
            WellAccount(
                row["account_id"], logins.get(row["account_id"], ()), row["last"], row["quietest"]
            )
            for row in days
        ]

    async def last_days(self, account_ids: Sequence[str]) -> dict[str, dt.date]:
        """The last date on which each of the accounts traded; those of which none is known are left
        out.
        """
        return {
            row["account_id"]: row["last"]
            for row in await self._database.fetch(self._traded_days, list(account_ids))
        }

    async def unknown_accounts(self, account_ids: Sequence[str]) -> list[str]:
        """Those of the ids that no account has."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._unknown, list(account_ids))
        ]

    async def placeable_accounts(self) -> list[str]:
        """Accounts of rows without trades that had no partition when they were read, and have one
        now: no count tells of them.
        """
        return [
            row["account_id"]
            for row in await self._database.fetch(self._placeable, seconds=SWEEP_SECONDS)
        ]

    async def _doubts_of(
        self, connection: Connection, ids: list[str], run_id: UUID
    ) -> dict[str, frozenset[dt.date]]:
        return {
            row["account_id"]: frozenset(row["dates"])
            for row in await connection.fetch(self._doubts, run_id, ids)
        }

    async def _drift_of(
        self, connection: Connection, ids: list[str], run_id: UUID | None
    ) -> dict[str, Drift]:
        if run_id is None:
            return {}
        rows = await connection.fetch(self._drift, run_id, ids)
        return {
            row["account_id"]: Drift(
                row["absent"], row["evidence"], daily_agrees="daily_agrees" in row["evidence"]
            )
            for row in rows
        }


@dataclass(frozen=True, slots=True)
class _Beside:
    """What is known of accounts beside their rows in the raw tables."""

    findings: Mapping[str, list[IdentityFinding]]
    drift: Mapping[str, Drift]
    descents: Mapping[str, frozenset[dt.date]]
    logins: Mapping[str, Record]
    odd_rows: Mapping[str, tuple[OddRows, ...]]
    doubts: Mapping[str, frozenset[dt.date]]
    pins: Mapping[str, Mapping[tuple[str, dt.date | None], int]]
    history_from: dt.date | None
    used: frozenset[str]


def _views(looked: Sequence[Record], beside: _Beside) -> dict[str, AccountView]:
    return {
        row["account_id"]: AccountView(
            row["account_id"],
            _totals(row),
            days=_days(row),
            known_days=row["known_days"],
            first_day=row["first_day"],
            last_day=row["last_day"],
            findings=tuple(beside.findings.get(row["account_id"], ())),
            drift=beside.drift.get(row["account_id"]),
            logins=(
                tuple(known["logins"]) if (known := beside.logins.get(row["account_id"])) else ()
            ),
            by_login=known is not None and known["by_login"],
            open_issues=_entries(row["issues"]),
            descents=beside.descents.get(row["account_id"], frozenset()),
            explained_as=row["explained_as"],
            explained_times=row["explained_times"] or 0,
            ask_again_at=row["ask_again_at"],
            status=row["reconciliation_status"] or "pending",
            odd_rows=beside.odd_rows.get(row["account_id"], ()),
            doubts=beside.doubts.get(row["account_id"], frozenset()),
            history=_history(row, beside.history_from),
            pins=beside.pins.get(row["account_id"], {}),
            money=money_of(row, beside.used) if _agrees(row) else None,
        )
        for row in looked
    }


def _changed(looked: Sequence[Record]) -> list[dict[str, object]]:
    """The totals of those accounts for which others are stored."""
    return [fresh for row in looked if row["is_known"] and (fresh := _fresh(row)) is not None]


def _changed_few_hours(looked: Sequence[Record]) -> list[dict[str, object]]:
    """The dates with suspiciously few hours of those accounts for which others are noted."""
    return [
        {"account_id": row["account_id"], "dates": [day.isoformat() for day in found]}
        for row in looked
        if (row["few_hours"] or row["stored_few_hours"])
        and row["is_known"]
        and (found := sorted(row["few_hours"] or ())) != (row["stored_few_hours"] or [])
    ]


def _history(row: Record, first: dt.date | None) -> History | None:
    """What is known of the account before the first date that is compared."""
    if first is None:
        return None
    return History(
        first, row["is_history_known"], row["counted_from"], row["counted"] or 0, row["first_trade"]
    )


def _totals(row: Record) -> Totals:
    return Totals(
        row["has_alltime"],
        # What alltime counts inside the history is not known before upstream told what it counts
        # before: until then it blames nobody.
        row["alltime"] if row["is_history_known"] else row["daily"],
        row["has_daily"],
        row["daily"],
        row["has_hourly"],
        row["hourly"],
        row["has_closed"],
        row["closed"],
    )


def _days(row: Record) -> tuple[DayCounts, ...]:
    """The dates that disagree, in order."""
    return tuple(
        DayCounts(dt.date.fromordinal(number), *counts)
        for number, *counts in sorted(row["days"] or ())
    )


def _fresh(row: Record) -> dict[str, object] | None:
    """The totals as they are to be stored, None where that is how they are stored."""
    fresh: dict[str, object] = {name: row[name] for name in _STATS}
    fresh["mismatched_days"] = len(row["days"] or ())
    fresh["mismatched_money"] = dates_of(row) if _agrees(row) else 0
    fresh["checksum"] = (
        row["is_history_known"]
        and row["alltime"] >= 0
        and row["alltime"] == row["daily"] == row["hourly"] == row["closed"]
    )
    return (
        None
        if all(value == row[f"stored_{name}"] for name, value in fresh.items())
        else {"account_id": row["account_id"], **fresh}
    )


def _agrees(row: Record) -> bool:
    """Whether the tables count the same: only then their amounts are compared."""
    return bool(
        not row["days"]
        and row["is_history_known"]
        and row["alltime"] == row["daily"] == row["hourly"] == row["closed"]
    )


def _is_emptied(row: Record) -> bool:
    """Whether nothing is stored of the account any more, though metrics were when it was last
    counted.
    """
    is_stored = row["has_alltime"] or row["has_daily"] or row["has_hourly"] or row["has_closed"]
    return not is_stored and (row["stored_has_alltime"] or row["stored_has_daily"])


def _lost(row: Record) -> Drift:
    """What was counted of an account of which nothing is stored any more, as write_stats notes
    it.
    """
    tables = zip(COUNTED_TABLES, ("alltime", "daily", "hourly", "closed"), strict=True)
    return Drift(
        absent=False, evidence={"emptied": {table: row[f"stored_{name}"] for table, name in tables}}
    )


def _disagrees(row: Record) -> bool:
    """Whether the tables disagree about the account, or did when it was last looked at."""
    return bool(row["issues"] or row["broken_relations"] or not _agrees(row))


def _entries(issues: object) -> tuple[Mapping[str, object], ...]:
    """The entries of an account's issues; what an earlier system left there and is no entry says
    nothing, and is replaced.
    """
    entries = issues if isinstance(issues, list) else ()
    return tuple(
        entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("type"), str)
    )


def _odd_rows(rows: Sequence[Record]) -> dict[str, tuple[OddRows, ...]]:
    by_account: dict[str, tuple[OddRows, ...]] = {}
    for row in sorted(rows, key=lambda row: (row["account_id"], row["table_name"])):
        found = OddRows(row["table_name"], row["rows"], tuple(row["samples"]))
        by_account[row["account_id"]] = (*by_account.get(row["account_id"], ()), found)
    return by_account


def _pins(rows: Sequence[Record]) -> dict[str, dict[tuple[str, dt.date | None], int]]:
    pins: dict[str, dict[tuple[str, dt.date | None], int]] = {}
    for row in rows:
        pins.setdefault(row["account_id"], {})[row["table_name"], row["date"]] = row["rows"]
    return pins


def _by_account(rows: Sequence[Record]) -> dict[str, list[IdentityFinding]]:
    """A finding is shown at the accounts that fit it and at the one that holds the rows."""
    findings: dict[str, list[IdentityFinding]] = defaultdict(list)
    for row in rows:
        finding = IdentityFinding(
            row["table_name"],
            row["login"],
            row["platform"],
            row["broker"],
            row["holder"],
            tuple(row["candidates"]),
            row["rows"],
            tuple(sorted(row["dates"])),
        )
        for account_id in {*finding.candidates, *([finding.holder] if finding.holder else [])}:
            findings[account_id].append(finding)
    return findings
