"""Full scan of the raw tables, from which facts about all accounts derive.

One transaction sums them up in temporary tables. Reading is linear in rows, memory in accounts.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.accounts.money import Figure
from app.domain.contract.tables import Endpoint
from app.domain.issues.codes import FEW_HOURS_TRADES
from app.errors import DatabaseError, ReconError, RowRefused
from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.database.transaction import SWEEP_SECONDS, Connection, Purpose
from app.store.database.window import ALL_DATES, Window
from app.store.detect.accounts import day_matrix, issues_if_emptied
from app.store.detect.money.statements import before_history
from app.store.detect.money.sweep import MoneySweep
from app.store.detect.money.terms import MoneyTerms
from app.store.identity.identity import Identity
from app.store.identity.natural_keys import first_trade
from app.store.schema.raw.catalogue import Catalogue
from app.store.schema.state_entries import Entries, piecewise
from app.telemetry import get_logger

_log = get_logger(__name__)
_MANY = 4
"""Above 1/4 suspects, reading all accounts is cheaper."""

_SUMMED = {"profit": "net_profit", "lots": "total_lots"}
"""Figures compared by audits."""
_DIFFERS = "account_id = ANY(ARRAY(SELECT account_id FROM recon_swept_accounts WHERE differs))"


@dataclass(frozen=True, slots=True)
class Swept:
    """Results of a sweep.

    `locked` accounts have unwritable rows and keep old totals; trade_recon rejects `kept_out` ones;
    `money_dropped` relations hold no more.
    """

    accounts_added: int
    totals_changed: int
    placeholders: list[str]
    locked: list[str] = field(default_factory=list)
    kept_out: Mapping[str, str] = field(default_factory=dict)
    money_dropped: list[str] = field(default_factory=list)


class Sweep:
    """Reads and derives."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        identity: Identity,
        money: MoneyTerms,
        window: Window = ALL_DATES,
    ) -> None:
        self._database = database
        self._identity = identity
        self._first = window.first
        self._entries = Entries(database)
        self._money = MoneySweep(database, money, window)
        sql = database.queries("detect/sweep", window)
        tables = _raw_tables(catalogue)
        self._read = _reading(sql, catalogue, self._money.statements.swept)
        self._sum_up = (sql["create_swept_accounts"], sql["analyze_swept_accounts"])
        self._count_differing = sql["count_differing"]
        self._lacks_history = sql["lacks_history"]
        self._take_history, self._bound_accounts = _of_history(sql, catalogue)
        self._count_before = fill(sql["count_rows_before"], **tables)
        self._differing_days, self._all_days = (
            fill(sql["create_swept_days"], days=day_matrix(database, window, accounts))
            for accounts in (_DIFFERS, "true")
        )
        self._differing = sql["differing_accounts"]
        issues = issues_if_emptied(database, window)
        self._refresh_stats = fill(sql["refresh_stats"], issues=issues, differing=self._differing)
        self._note_few_hours = (
            fill(sql["create_swept_few_hours"], few_hours_trades=str(FEW_HOURS_TRADES), **tables),
            sql["note_few_hours"],
        )
        self._create_list, self._is_list_stale = sql["create_swept_list"], sql["is_list_stale"]
        self._stand_ins, self._new = sql["list_stand_ins"], sql["new_accounts"]
        self._stale = sql["stale_accounts"]
        self._follow_state = fill(sql["follow_state"], stale=self._stale)
        self._refresh_list = sql["refresh_account_list"]
        self._refresh_list_plainly = sql["refresh_account_list_plainly"]

    async def run(self, today: dt.date) -> Swept:
        """Refresh identity, findings, account list and totals."""
        async with self._database.transaction(
            statement_seconds=SWEEP_SECONDS, purpose=Purpose.READ_EVERYTHING
        ) as connection:
            await _each(connection, self._read)
            # Before the list: natural keys reveal ids of trades that are logins.
            placeholders = await self._identity.derive(connection, today)
            await connection.execute(self._create_list, seconds=SWEEP_SECONDS)
            is_stale = await connection.fetch_value(self._is_list_stale, seconds=SWEEP_SECONDS)
            await self._forget_placeholders(connection)
            added = await self._entries.add(connection, self._new)
            await _each(connection, self._note_few_hours)
            changed, locked, dropped = await self._count(connection)
        if is_stale:
            await self._refresh_account_list()
        return Swept(added.rows, changed, placeholders, locked, added.refused, dropped)

    async def _forget_placeholders(self, connection: Connection) -> None:
        """Drop entries that are no accounts, unless referenced or protected by triggers."""
        statement = fill(self._stand_ins, may_go=await self._entries.may_go(connection))
        dropped = await self._entries.drop(
            connection,
            [row["account_id"] for row in await connection.fetch(statement, seconds=SWEEP_SECONDS)],
        )
        if dropped.refused:
            _log.warning(
                "Entries of trade_recon that are no accounts stay: PostgreSQL rejects their"
                " deletion.",
                action="sweep.kept",
                entries=len(dropped.refused),
                reason=next(iter(dropped.refused.values())),
            )

    async def rows_before(self) -> dict[str, int]:
        """Rows before the window, by table."""
        if self._first is None:
            return {}
        rows = await self._database.fetch(self._count_before, self._first, seconds=SWEEP_SECONDS)
        return {row["table_name"]: row["rows"] for row in rows if row["rows"]}

    async def follow_state(self, account_ids: Sequence[str] | None = None) -> int:
        """Update statuses from known facts (None: all); returns their number."""
        ids = None if account_ids is None else list(account_ids)
        try:
            return await self._database.execute(self._follow_state, ids, seconds=SWEEP_SECONDS)
        except (RowRefused, DatabaseError) as error:
            _warn_of_parts(error)
            stale = [
                row["account_id"]
                for row in await self._database.fetch(self._stale, ids, seconds=SWEEP_SECONDS)
            ]
            async with self._database.transaction(statement_seconds=SWEEP_SECONDS) as connection:
                return (await piecewise(connection, self._follow_state, stale)).rows

    async def _count(self, connection: Connection) -> tuple[int, list[str], list[str]]:
        """Count all accounts; the last step, since changed rows stay locked until the commit."""
        await _each(connection, self._sum_up)
        if self._first is not None:
            if await connection.fetch_value(
                self._lacks_history, self._first, seconds=SWEEP_SECONDS
            ):
                await connection.execute(self._take_history, self._first, seconds=SWEEP_SECONDS)
            await connection.execute(self._bound_accounts, self._first, seconds=SWEEP_SECONDS)
        row = await connection.fetch_row(self._count_differing)
        if row is None:
            raise DatabaseError("The accounts could not be counted.")
        is_many = row["differing"] * _MANY > row["accounts"]
        await connection.execute(
            self._all_days if is_many else self._differing_days, seconds=SWEEP_SECONDS
        )
        dropped = await self._money.find(connection)
        try:
            async with connection.savepoint():
                written = await connection.fetch_row(self._refresh_stats, seconds=SWEEP_SECONDS)
        except (RowRefused, DatabaseError) as error:
            # Some rows are rejected: write in parts after the commit.
            _warn_of_parts(error)
            locked = sorted(
                row["account_id"]
                for row in await connection.fetch(self._differing, seconds=SWEEP_SECONDS)
            )
            return 0, locked, dropped
        if written is None:
            raise DatabaseError("The totals could not be written.")
        return int(written["changed"]), list(written["locked"]), dropped

    async def _refresh_account_list(self) -> None:
        try:
            await self._database.execute(self._refresh_list, seconds=SWEEP_SECONDS)
        except DatabaseError:
            # CONCURRENTLY fails on a view never filled; other errors recur in the plain form.
            await self._database.execute(self._refresh_list_plainly, seconds=SWEEP_SECONDS)


def _raw_tables(catalogue: Catalogue) -> dict[str, str]:
    return {endpoint.name.lower(): catalogue[endpoint].raw for endpoint in Endpoint}


def _reading(
    sql: Mapping[str, str], catalogue: Catalogue, amounts: Mapping[str, str]
) -> tuple[str, ...]:
    tables = _raw_tables(catalogue)
    numbers = {f"number_of_{column}": _number_of(column) for column in ("date", "trade_date")}
    first = first_trade(catalogue[Endpoint.ALLTIME])
    return (
        fill(sql["create_swept"], first_trade=first, **tables, **numbers, **amounts),
        fill(sql["judge_swept_hourly"], **tables),
        sql["analyze_swept"],
    )


def _of_history(sql: Mapping[str, str], catalogue: Catalogue) -> tuple[str, str]:
    """Statements that take the totals before the window from stored rows, and subtract them."""
    daily = catalogue[Endpoint.DAILY].names
    sums = {
        f"daily_{short}": f"d.{name}::numeric" if name in daily else "NULL::numeric"
        for short, name in _SUMMED.items()
    }
    history = {
        f"history_{short}": before_history(figure)
        for short, figure in (("profit", Figure.PROFIT), ("lots", Figure.LOTS))
    }
    return (
        fill(sql["take_history_from_stored"], **_raw_tables(catalogue), **sums),
        fill(sql["bound_swept_accounts"], **history),
    )


def _warn_of_parts(error: ReconError) -> None:
    _log.warning(
        "Rows of trade_recon cannot be written at once; they are written in parts.",
        action="sweep.in_parts",
        reason=str(error),
    )


async def _each(connection: Connection, statements: tuple[str, ...]) -> None:
    for statement in statements:
        await connection.execute(statement, seconds=SWEEP_SECONDS)


def _number_of(column: str) -> str:
    """Hash of a date, below 2^43 so that products with 2^20 trades fit."""
    return f"(hashint8extended(({column}::date - date '2000-01-01')::bigint, 0) & 8796093022207)"
