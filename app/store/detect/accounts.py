"""Detection: what the tables say about sets of accounts."""

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from uuid import UUID

from app.domain.accounts.counts import Drift, Totals
from app.domain.accounts.view import AccountView
from app.domain.ids import AccountId
from app.domain.issues.codes import FEW_HOURS_TRADES
from app.domain.planning.estimates import Upstream
from app.errors import DatabaseError
from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import SWEEP_SECONDS, Connection, Purpose, Record
from app.store.database.window import ALL_DATES, Window
from app.store.detect.account_lists import AccountLists
from app.store.detect.account_views import (
    Beside,
    changed_few_hours,
    changed_totals,
    disagrees,
    emptied_accounts,
    findings_by_account,
    odd_rows_of,
    pins_elsewhere_of,
    pins_of,
    views_of,
)
from app.store.detect.money.statements import NO_LOOK, MoneyStatements
from app.store.detect.money.terms import MoneyTerms
from app.telemetry import get_logger

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


def day_matrix(database: Database, window: Window, accounts: str) -> str:
    """Query of trades by table and date."""
    sql = database.queries("detect/accounts", window)
    return fill(sql["days_of_accounts"], accounts=accounts)


def issues_if_emptied(database: Database, window: Window) -> str:
    """Expression that adds an issue to emptied accounts."""
    return database.queries("detect/accounts", window)["issues_if_emptied"]


class Detection:
    """Reads accounts and stores their totals."""

    def __init__(self, database: Database, money: MoneyTerms, window: Window = ALL_DATES) -> None:
        self._window = window
        self._database = database
        self._lists = AccountLists(database, window)
        self._money = MoneyStatements(database, money.columns, window)
        self._reads_money = not money.mode.is_off
        sql = database.queries("detect/accounts", window)
        some = "account_id = ANY($1::text[])"
        days = day_matrix(database, window, some)
        self._look_at = partial(
            fill, sql["look_at_accounts"], few_hours_trades=str(FEW_HOURS_TRADES)
        )
        self._look = self._look_at(days=days, **NO_LOOK)
        self._look_with_money = lru_cache(_KEPT)(self._composed)
        self._write_few_hours = sql["write_few_hours"]
        self._write_stats = fill(sql["write_stats"], issues="r.issues")
        self._write_first_stats = fill(
            sql["write_stats"], issues=issues_if_emptied(database, window)
        )
        self._size, self._coverage = sql["get_size"], fill(sql["get_coverage"], days=days)
        self._findings, self._drift = sql["get_findings"], sql["get_drift"]
        self._descents, self._pins = sql["get_descents"], sql["get_pins"]
        placeable = sql["placeable_rows"]
        self._doubts = fill(
            sql["get_doubts"], placeable=fill(placeable, accounts="account_id = ANY($2::text[])")
        )
        self._placeable = fill(
            sql["get_placeable_accounts"], placeable=fill(placeable, accounts="true")
        )
        self._odd_rows = fill(sql["get_odd_rows"], accounts=some)
        self._all_odd_rows = fill(sql["get_odd_rows"], accounts="true")

    async def refresh_stats(self, account_ids: Sequence[str], *, is_first: bool = False) -> None:
        """Recompute stored totals and checksums."""
        looked, _ = await self._read(list(account_ids))
        await self._keep(looked, is_first=is_first)

    async def look(
        self,
        account_ids: Sequence[str],
        run_id: UUID | None = None,
        *,
        is_first: bool = False,
        all_logins: bool = False,
        keeps: bool = True,
    ) -> dict[AccountId, AccountView]:
        """Detect accounts and store totals, if it `keeps` them; `run_id` adds its audit's findings.

        `is_first`: this run wrote nothing of them yet, so that an emptied account was emptied by
        others. `all_logins` also reads the logins of accounts that agree.
        """
        ids = list(account_ids)
        looked, used = await self._read(ids)
        if keeps:
            await self._keep(looked, is_first=is_first)
        async with self._database.transaction(statement_seconds=COMMAND_SECONDS) as connection:
            findings = findings_by_account(await connection.fetch(self._findings, ids))
            drift = emptied_accounts(looked) if is_first else {}
            drift |= await self._drift_of(connection, ids, run_id)
            descents = await self._descents_of(connection, ids)
            doubts = {} if run_id is None else await self._doubts_of(connection, ids, run_id)
            odd_rows = odd_rows_of(await connection.fetch(self._odd_rows, ids))
            pinned = await connection.fetch(self._pins, ids)
            pins, elsewhere = pins_of(pinned), pins_elsewhere_of(pinned)
            # Only for accounts that may be fetched: finding logins reads all trades.
            asked = {row["account_id"] for row in looked if all_logins or disagrees(row)}
            asked |= {*findings.keys() & set(ids), *drift, *descents, *doubts, *pins}
            logins = await self._lists.logins(connection, sorted(asked)) if asked else {}
        first = self._window.first
        beside = Beside(
            findings, drift, descents, logins, odd_rows, doubts, pins, elsewhere, first, used
        )
        # In a thread: thousands of accounts would block the event loop.
        return await asyncio.to_thread(views_of, looked, beside)

    async def _read(self, ids: list[str]) -> tuple[list[Record], frozenset[str]]:
        """Rows of the accounts, and the money relations compared."""
        async with self._database.transaction(
            purpose=Purpose.READ_BATCH, statement_seconds=COMMAND_SECONDS
        ) as connection:
            known = await connection.fetch(self._money.get) if self._reads_money else []
            used = frozenset(row["relation"] for row in known if row["is_used"])
            looked = await connection.fetch(
                self._look_with_money(used) if used else self._look, ids
            )
        return looked, used

    async def _keep(self, looked: Sequence[Record], *, is_first: bool) -> None:
        """Store totals that changed."""
        few_hours = changed_few_hours(looked)
        if few_hours:
            await self._database.give_way(
                lambda connection: connection.execute(self._write_few_hours, few_hours)
            )
        changed = await asyncio.to_thread(changed_totals, looked)
        if changed:
            statement = self._write_first_stats if is_first else self._write_stats
            await self._database.give_way(lambda connection: connection.execute(statement, changed))

    def _composed(self, used: frozenset[str]) -> str:
        return self._look_at(
            days=self._money.days("account_id = ANY($1::text[])"), **self._money.look(sorted(used))
        )

    async def size(self) -> Upstream:
        """Estimates upstream's size."""
        row = await self._database.fetch_row(self._size)
        if row is None:
            raise DatabaseError("The accounts could not be counted.")
        return Upstream(row["accounts"], row["trades"])

    async def coverage(self, account_ids: Sequence[str]) -> dict[dt.date, int]:
        """Number of accounts with a row, by date."""
        return {
            row["date"]: row["accounts"]
            for row in await self._database.fetch(self._coverage, list(account_ids))
        }

    async def look_at_identity(
        self, account_ids: Sequence[AccountId]
    ) -> dict[AccountId, AccountView]:
        """Accounts without counts."""
        findings = findings_by_account(
            await self._database.fetch(self._findings, list(account_ids))
        )
        odd_rows = odd_rows_of(await self._database.fetch(self._odd_rows, list(account_ids)))
        return {
            account_id: AccountView(
                account_id,
                NOTHING,
                findings=tuple(findings.get(account_id, ())),
                odd_rows=odd_rows.get(account_id, ()),
            )
            for account_id in account_ids
        }

    async def accounts_of_odd_rows(self) -> list[AccountId]:
        """Accounts with impossible dates; unknown ids are logged."""
        found = odd_rows_of(await self._database.fetch(self._all_odd_rows, seconds=SWEEP_SECONDS))
        known = await self._lists.known_accounts(list(found))
        others = sorted(found.keys() - known)
        if others:
            _log.warning(
                "Rows with impossible dates are stored under ids of no account; they stay as they"
                " are.",
                action="detection.odd_rows",
                ids=len(others),
                sample=[each[:_LONGEST_SHOWN] for each in others[:_SHOWN]],
            )
        return known

    async def pins(
        self, account_ids: Sequence[str]
    ) -> tuple[dict[str, dict[tuple[str, dt.date | None], int]], Mapping[str, int]]:
        """Pinned rows by table and date, and those elsewhere."""
        rows = await self._database.fetch(self._pins, list(account_ids))
        return pins_of(rows), pins_elsewhere_of(rows)

    async def placeable_accounts(self) -> list[str]:
        """Accounts whose missing partition exists now."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._placeable, seconds=SWEEP_SECONDS)
        ]

    async def _descents_of(
        self, connection: Connection, ids: list[str]
    ) -> dict[str, frozenset[dt.date]]:
        return {
            row["account_id"]: frozenset(row["dates"])
            for row in await connection.fetch(self._descents, ids)
        }

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
