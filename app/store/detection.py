"""Detection: what the warehouse's tables say about accounts, always by sets."""

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from app.domain.expectation import Upstream
from app.domain.models import AccountView, DayCounts, Drift, IdentityFinding, Totals
from app.errors import DatabaseError
from app.store.pool import SWEEP_SECONDS, Connection, Database, Record
from app.store.queries import fill

NOTHING = Totals(has_alltime=False, alltime=0, has_daily=False, daily=0, has_hourly=False, hourly=0, has_closed=False, closed=0)


class Detection:
    """The account list, the totals, and the view of a batch that the domain judges."""

    def __init__(self, database: Database) -> None:
        """Read the statements; a missing one fails here."""
        sql = database.queries("detection")
        self._database = database
        self._refresh_list = sql["refresh_account_list"]
        self._refresh_list_plainly = sql["refresh_account_list_plainly"]
        self._add_listed = sql["add_listed_accounts"]
        self._forget_placeholders = sql["forget_placeholders"]
        self._add = sql["add_accounts"]
        # Over all accounts, those that someone holds have their turn when they are looked at; a look itself needs what is true now.
        self._refresh_all = fill(sql["refresh_stats"], accounts="true", locked="SKIP LOCKED")
        self._refresh_some = fill(sql["refresh_stats"], accounts="account_id = ANY($1::text[])", locked="")
        self._totals = sql["get_totals"]
        self._days = sql["get_days"]
        self._spans = sql["get_spans"]
        self._size = sql["get_size"]
        self._coverage = sql["get_coverage"]
        self._logins = sql["get_logins"]
        self._findings = sql["get_findings"]
        self._drift = sql["get_drift"]
        self._mismatched = sql["get_mismatched_accounts"]
        self._unknown = sql["get_unknown_accounts"]
        self._descents = sql["get_descents"]

    async def refresh_account_list(self) -> int:
        """Bring the list of all account ids up to date; the number of accounts that are new."""
        try:
            await self._database.execute(self._refresh_list, seconds=SWEEP_SECONDS)
        except DatabaseError:
            # Refused where the view has never been filled; any other reason shows again in the plain form.
            await self._database.execute(self._refresh_list_plainly, seconds=SWEEP_SECONDS)
        await self._database.execute(self._forget_placeholders, seconds=SWEEP_SECONDS)
        return await self._database.execute(self._add_listed, seconds=SWEEP_SECONDS)

    async def add_accounts(self, account_ids: Sequence[str]) -> None:
        """Make accounts known that only upstream has so far."""
        await self._database.execute(self._add, list(account_ids))

    async def refresh_stats(self, account_ids: Sequence[str] | None = None) -> int:
        """Recompute totals and checksum of all accounts, or of these; the number that changed."""
        if account_ids is None:
            return await self._database.execute(self._refresh_all, seconds=SWEEP_SECONDS)
        return await self._refresh(list(account_ids))

    async def _refresh(self, ids: list[str]) -> int:
        return await self._database.give_way(lambda connection: connection.execute(self._refresh_some, ids))

    async def look(self, account_ids: Sequence[str], run_id: UUID | None = None) -> dict[str, AccountView]:
        """The accounts as they stand now, totals recomputed first; `run_id` adds what that run's audit found."""
        ids = list(account_ids)
        await self._refresh(ids)
        async with self._database.connection() as connection:
            stored = {row["account_id"]: row for row in await connection.fetch(self._totals, ids)}
            days = await self._days_of(connection, ids)
            spans = {row["account_id"]: row for row in await connection.fetch(self._spans, ids)}
            logins = {row["account_id"]: tuple(row["logins"]) for row in await connection.fetch(self._logins, ids)}
            findings = _by_account(await connection.fetch(self._findings, ids))
            drift = await self._drift_of(connection, ids, run_id)
            descents = {row["account_id"]: frozenset(row["dates"]) for row in await connection.fetch(self._descents, ids)}
        return {
            account_id: AccountView(
                account_id,
                _totals(stored[account_id]) if account_id in stored else NOTHING,
                days=tuple(days.get(account_id, ())),
                known_days=spans[account_id]["known_days"] if account_id in spans else 0,
                first_day=spans[account_id]["first_day"] if account_id in spans else None,
                last_day=spans[account_id]["last_day"] if account_id in spans else None,
                findings=tuple(findings.get(account_id, ())),
                drift=drift.get(account_id),
                logins=logins.get(account_id, ()),
                open_issues=tuple(stored[account_id]["issues"]) if account_id in stored else (),
                descents=descents.get(account_id, frozenset()),
                explained_as=stored[account_id]["explained_as"] if account_id in stored else None,
                status=stored[account_id]["reconciliation_status"] if account_id in stored else "pending",
            )
            for account_id in ids
        }

    async def size(self) -> Upstream:
        """How large the warehouse is, by which upstream's size can be judged."""
        row = await self._database.fetch_row(self._size)
        if row is None:
            raise DatabaseError("The accounts could not be counted.")
        return Upstream(row["accounts"], row["trades"])

    async def coverage(self, account_ids: Sequence[str]) -> dict[dt.date, int]:
        """How many of the accounts have a row on a date; dates without any are not in it."""
        return {row["date"]: row["accounts"] for row in await self._database.fetch(self._coverage, list(account_ids))}

    async def look_at_identity(self, account_ids: Sequence[str]) -> dict[str, AccountView]:
        """The accounts as far as identity goes: their findings, and no counts."""
        findings = _by_account(await self._database.fetch(self._findings, list(account_ids)))
        return {account_id: AccountView(account_id, NOTHING, findings=tuple(findings.get(account_id, ()))) for account_id in account_ids}

    async def mismatched_accounts(self) -> list[str]:
        """Accounts whose tables disagree, or that have open issues."""
        return [row["account_id"] for row in await self._database.fetch(self._mismatched, seconds=SWEEP_SECONDS)]

    async def unknown_accounts(self, account_ids: Sequence[str]) -> list[str]:
        """Those of the ids that no account has."""
        return [row["account_id"] for row in await self._database.fetch(self._unknown, list(account_ids))]

    async def _days_of(self, connection: Connection, ids: list[str]) -> dict[str, list[DayCounts]]:
        days: dict[str, list[DayCounts]] = defaultdict(list)
        for row in await connection.fetch(self._days, ids):
            days[row["account_id"]].append(
                DayCounts(row["date"], row["daily"], row["hourly"], row["closed"], row["daily_rows"], row["hourly_rows"])
            )
        return days

    async def _drift_of(self, connection: Connection, ids: list[str], run_id: UUID | None) -> dict[str, Drift]:
        if run_id is None:
            return {}
        rows = await connection.fetch(self._drift, run_id, ids)
        return {row["account_id"]: Drift(row["absent"], row["evidence"], daily_agrees="daily_agrees" in row["evidence"]) for row in rows}


def _totals(row: Record) -> Totals:
    return Totals(
        row["has_alltime"],
        row["num_trades_alltime"],
        row["has_daily"],
        row["num_trades_daily"],
        row["has_hourly"],
        row["num_trades_hourly"],
        row["has_raw_closed"],
        row["num_trades_raw_closed"],
    )


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
