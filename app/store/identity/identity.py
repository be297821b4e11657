"""Identity: which account a natural key meant on a date, and rows that carry no id or a wrong one.

Everything derives from daily rows (ranges) and alltime (who holds the key now). Rows are mended
only where exactly one account fits; findings that remain are kept by natural key and shown.
"""

import asyncio
import datetime as dt
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.accounts.counts import IdentityFinding
from app.domain.contract.tables import TABLES, Endpoint, Table
from app.domain.sequences import pieces
from app.errors import ResourcesExhausted, RowRefused, StatementTooSlow, WriteConflict
from app.store.change_feed import ChangeFeed
from app.store.claims.fence import Fence
from app.store.database.pool import Database
from app.store.database.queries import fill, quote
from app.store.database.transaction import LOCK_SECONDS, SWEEP_SECONDS, Connection, Record
from app.store.database.window import ALL_DATES, Window
from app.store.identity.given_back import GivenBack
from app.store.identity.natural_keys import NaturalKeys, first_trade
from app.store.pins import unit_of
from app.store.schema.raw.catalogue import Catalogue
from app.store.write_pace import WritePace
from app.telemetry import get_logger

CHUNK_ROWS = 5_000
"""Rows that one mending transaction writes at most, so that ingestion never waits long."""
_TRIES = 5
_PAUSE_SECONDS = 0.2
_MOST_REFUSED = 100
"""Rows of one table that may refuse their account id before the others are left for the next time:
each costs a search.
"""
_log = get_logger(__name__)

_TRADES = (TABLES[Endpoint.CLOSED], TABLES[Endpoint.OPEN])
_DAILY = TABLES[Endpoint.DAILY]
_METRICS = (TABLES[Endpoint.ALLTIME], _DAILY, TABLES[Endpoint.HOURLY])
_RUN = "nullif(current_setting('trade_recon.run', true), '')::uuid"
"""The run to which copies belong, as a setting of the transaction; maintenance by itself belongs to
none.
"""
_COPY_OF_PLACEHOLDER = f"{_RUN}, owner, $1, CASE WHEN {{{{is_dated}}}} THEN day END, 'placeholder'"
_OF_METRICS = ("held_before", "refresh_foreign_metrics")
_COPY_OF_UNSENT = (
    "$4::uuid, holder, $1, day, CASE WHEN is_removed THEN 'removed' ELSE 'overwritten' END"
)
"""What a copy of a row says of it, up to the row itself."""


@dataclass(slots=True)
class Mended:
    """Rows that got their account id, by table, and how many of them carried an MD5 placeholder."""

    rows: Counter[str] = field(default_factory=Counter)
    md5_rows: int = 0
    account_ids: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Reach:
    """How far the statements reach: conditions, and the queries that they read from; parameters are
    numbered as `Identity` passes them.
    """

    held: str
    groups: str
    accounts: str
    of_accounts: str
    into: str
    validity_keys: str
    metrics_holders: str
    replaced: str | None
    validity_today: str
    metrics_today: str
    logins: str
    keys: str
    found_keys: str
    cleared_keys: str
    contested_keys: str
    alien_keys: str


def _among(columns: str, first: int) -> str:
    """The condition that a natural key is among three array parameters, the first of which is
    numbered `first`.
    """
    return (
        f"{columns} IN (SELECT * FROM unnest(${first}::text[], ${first + 1}::text[],"
        f" ${first + 2}::text[]))"
    )


_RANK = (
    "account_id <> md5(login || '|' || platform || '|' || broker), account_id = login, account_id"
)
"""Which of the placeholders of a natural key is its account: the MD5 as it is written here, then
any other spelling, then the login.
"""
_EVERYWHERE = _Reach(
    held="held_as_swept",
    groups="groups_as_swept",
    accounts="true",
    of_accounts="true",
    into="INSERT INTO recon_swept_keys ",
    validity_keys="recon_swept_keys",
    metrics_holders="t.account_id = ANY($2::text[])",
    replaced=None,
    validity_today="$1::date",
    metrics_today="$3::date",
    logins="true",
    keys="true",
    found_keys="true",
    cleared_keys="true",
    contested_keys="true",
    alien_keys="true",
)
_SOMEWHERE = _Reach(
    held="held_by_accounts",
    groups="groups_of_holders",
    accounts="account_id = ANY($1::text[])",
    of_accounts="i.account_id = ANY($1::text[])",
    into="",
    validity_keys="unnest($1::text[], $2::text[], $3::text[])",
    metrics_holders="t.account_id = ANY($5::text[])",
    replaced="replaced_placeholders",
    validity_today="$4::date",
    metrics_today="$6::date",
    logins="login::text = ANY($2::text[])",
    keys=_among("(login, platform, broker)", 2),
    found_keys=_among("(f.login, f.platform, f.broker)", 4),
    cleared_keys=_among("(login, platform, broker)", 1),
    contested_keys=_among("(h.login, h.platform, h.broker)", 1),
    alien_keys=_among("(login, platform, broker)", 3),
)


@dataclass(frozen=True, slots=True)
class _Statements:
    """The statements for one reach: the whole warehouse, or some natural keys."""

    refresh: str
    validity: str
    clear: str
    foreign: str
    find_shared: str
    find_alien: str
    find_null: Mapping[str, str]
    find_foreign: Mapping[str, str]
    find_metrics: Mapping[str, str]
    mend_null: Mapping[str, str]
    mend_foreign: Mapping[str, str]


class Identity:
    """Who held a natural key when, and the mending of rows whose account id is missing or wrong."""

    def __init__(
        self,
        database: Database,
        tables: Catalogue,
        feed: ChangeFeed,
        pace: WritePace,
        window: Window = ALL_DATES,
    ) -> None:
        """Read and fill the statements for the raw tables as they stand; a missing statement fails
        here.

        Closed trades and metrics rows of before the window keep the ids that they have. What they
        tell of who held a key goes on to count.
        """
        self._window = window
        self._database = database
        self._tables = tables
        self._feed = feed
        self._pace = pace
        sql = database.queries("identity")
        # Of all others it depends on the table which rows are left alone.
        sql = {**sql, **database.queries("identity", window, only=_OF_METRICS)}
        self._unpinned = sql["unpinned"]
        self._everywhere = self._fill(sql, _EVERYWHERE)
        self._somewhere = self._fill(sql, _SOMEWHERE)
        self._create_placeholders = (
            fill(sql["create_swept_placeholders"], rank=_RANK),
            sql["forget_upstream_holders"],
        )
        self._create_keys = sql["create_swept_keys"]
        self._placeholders, self._stand_ins = sql["get_placeholders"], sql["get_stand_ins"]
        self._mend_metrics = {
            table.name: self._fill_mending(sql, "judge_placeholders", table, _COPY_OF_PLACEHOLDER)
            for table in _METRICS
        }
        self._mend_unsent = {
            table.endpoint: (table, self._fill_mending(sql, "judge_unsent", table, _COPY_OF_UNSENT))
            for table in _METRICS
            if table.date_column
        }
        self._fence = Fence(database)
        self._natural_keys = sql["get_natural_keys"]
        self._summary = sql["get_findings_summary"]
        self._count = sql["count_findings"]
        self._affected = sql["get_affected_accounts"]

    def _fill(self, sql: Mapping[str, str], reach: _Reach) -> _Statements:
        def each(name: str, tables: Sequence[Table], **conditions: str) -> dict[str, str]:
            return {
                table.name: fill(sql[name], **self._tokens(table), **conditions) for table in tables
            }

        def groups(table: Table) -> str:
            return fill(
                sql[reach.groups],
                raw=self._tables[table.endpoint].raw,
                first_day=self._window_of(table).first_day,
            )

        # Of the whole warehouse all holders are known: a placeholder is not among them if another
        # has its key.
        replaced = {"replaced": "", "and_replaced": ""}
        if reach.replaced is not None:
            replaced = {
                "replaced": f"replaced AS (\n{sql[reach.replaced]}\n), ",
                "and_replaced": " UNION ALL SELECT * FROM replaced",
            }
        before = (
            ""
            if self._window.first is None
            else "\n"
            + fill(sql["held_before"], accounts=reach.accounts, of_accounts=reach.of_accounts)
        )
        held = fill(
            sql[reach.held],
            first_trade=first_trade(self._tables[Endpoint.ALLTIME]),
            rank=_RANK,
            held_before=before,
        )
        return _Statements(
            refresh=fill(
                sql["refresh_identity"],
                held=held,
                accounts=reach.accounts,
                into=reach.into,
                **replaced,
            ),
            validity=fill(
                sql["refresh_validity"], keys=reach.validity_keys, today=reach.validity_today
            ),
            clear=fill(sql["clear_findings"], keys=reach.cleared_keys),
            foreign=fill(
                sql["refresh_foreign_metrics"], keys=reach.contested_keys, into=reach.into
            ),
            find_shared=fill(sql["find_shared_keys"], keys=reach.keys),
            find_alien=fill(sql["find_foreign_metrics"], keys=reach.alien_keys),
            find_null=each("find_null_ids", _TRADES, logins=reach.logins, keys=reach.keys),
            find_foreign={
                table.name: fill(
                    sql["find_foreign_ids"],
                    **self._tokens(table),
                    groups=groups(table),
                    keys=reach.keys,
                )
                for table in _TRADES
            },
            find_metrics=each(
                "find_placeholder_metrics",
                _METRICS,
                accounts=reach.metrics_holders,
                keys=reach.keys,
                today=reach.metrics_today,
            ),
            mend_null=each("mend_null_ids", _TRADES, keys=reach.found_keys, run=_RUN),
            mend_foreign=each("mend_foreign_ids", _TRADES, keys=reach.found_keys, run=_RUN),
        )

    def _fill_mending(self, sql: Mapping[str, str], judged: str, table: Table, copied: str) -> str:
        tokens = {**self._tokens(table), "today": "$5::date"}
        return fill(
            sql["mend_metrics"],
            judged=fill(sql[judged].rstrip(), **tokens),
            copied=fill(copied, **tokens),
            stands_in="true" if copied is _COPY_OF_PLACEHOLDER else "false",
            **tokens,
        )

    def _tokens(self, table: Table) -> dict[str, str]:
        there = self._tables[table.endpoint]
        others = [column for column in table.key if column != "account_id"]
        return {
            "raw": there.raw,
            "key": ", ".join(f"t.{quote(column)}" for column in table.key),
            "place": there.place,
            "same_row": there.same_row,
            "locked": f"{locked} SKIP LOCKED" if (locked := there.locked("NO KEY UPDATE")) else "",
            "locked_to_go": f"{locked} SKIP LOCKED" if (locked := there.locked("UPDATE")) else "",
            "owner_key": " AND ".join(
                [
                    "t.account_id = m.owner",
                    *(f"t.{quote(column)} = m.{quote(column)}" for column in others),
                ]
            ),
            "target": ", ".join(
                ["fitting.candidates[1]", *(f"p.{quote(column)}" for column in others)]
            ),
            "unsent_target": ", ".join(["b.owner", *(f"l.{quote(column)}" for column in others)]),
            "day": f"t.{quote(table.date_column)}" if table.date_column else "NULL::date",
            "is_dated": "true" if table.date_column else "false",
            "first_day": self._window_of(table).first_day,
            "since": self._window_of(table).since(table.date_column),
            "unpinned": (
                "\n"
                + fill(
                    self._unpinned,
                    unit=", ".join(f"t.{quote(column)}::text" for column in unit_of(table)),
                )
            ),
            "t_since": self._window_of(table).since(table.date_column, "t."),
        }

    def _window_of(self, table: Table) -> Window:
        """The dates of the table on which ids are repaired: open trades are no history."""
        return ALL_DATES if table.endpoint is Endpoint.OPEN else self._window

    async def refresh(self, account_ids: Sequence[str], today: dt.date) -> NaturalKeys:
        """Rebuild which natural keys accounts held; the keys that may be judged again."""
        changed = await self._database.fetch(self._somewhere.refresh, list(account_ids))
        held = await self._database.fetch(self._natural_keys, list(account_ids))
        keys = NaturalKeys.of({tuple(row) for row in (*changed, *held)})
        alien = await self._database.fetch(
            self._somewhere.foreign, keys.logins, keys.platforms, keys.brokers
        )
        moved = NaturalKeys.of({tuple(row) for row in (*changed, *alien)})
        await self._database.execute(
            self._somewhere.validity, moved.logins, moved.platforms, moved.brokers, today
        )
        return keys

    async def find(self, keys: NaturalKeys, account_ids: Sequence[str], today: dt.date) -> None:
        """Look for rows of some keys with a missing or wrong account id.

        Rows are found that `account_ids`, a placeholder or no one holds, or that were found before.
        """
        async with self._database.transaction() as connection:
            arrays = (keys.logins, keys.platforms, keys.brokers)
            held = await connection.fetch(self._somewhere.clear + " RETURNING holder", *arrays)
            known = {row["holder"] for row in held if row["holder"]}
            # In a thread: sorting the ids of thousands of accounts would keep whatever else waits.
            named = await asyncio.to_thread(lambda: sorted({*known, *keys.placeholders()}))
            holders = await asyncio.to_thread(lambda: sorted({*named, *account_ids}))
            stand_ins = [
                row["account_id"] for row in await connection.fetch(self._stand_ins, named)
            ]
            await connection.execute(self._somewhere.find_shared, _METRICS[0].name, *arrays)
            await connection.execute(
                self._somewhere.find_alien, _DAILY.name, _METRICS[0].name, *arrays
            )
            for table in _TRADES:
                await connection.execute(self._somewhere.find_null[table.name], table.name, *arrays)
                await connection.execute(
                    self._somewhere.find_foreign[table.name], table.name, *arrays, holders
                )
            for table in _METRICS:
                await connection.execute(
                    self._somewhere.find_metrics[table.name], table.name, *arrays, stand_ins, today
                )

    async def derive(self, connection: Connection, today: dt.date) -> list[str]:
        """Refresh and find in the whole warehouse, from what a sweep read in the transaction of
        `connection`.

        The ids in metrics tables that stand for unknown ones.
        """
        statements = self._everywhere
        for statement in self._create_placeholders:
            await connection.execute(statement, seconds=SWEEP_SECONDS)
        await connection.execute(self._create_keys)
        await connection.execute(statements.refresh, seconds=SWEEP_SECONDS)
        await connection.execute(statements.foreign, seconds=SWEEP_SECONDS)
        await connection.execute(statements.validity, today, seconds=SWEEP_SECONDS)
        await connection.execute(statements.clear)
        await connection.execute(statements.find_shared, _METRICS[0].name, seconds=SWEEP_SECONDS)
        await connection.execute(
            statements.find_alien, _DAILY.name, _METRICS[0].name, seconds=SWEEP_SECONDS
        )
        for table in _TRADES:
            await connection.execute(
                statements.find_null[table.name], table.name, seconds=SWEEP_SECONDS
            )
            await connection.execute(
                statements.find_foreign[table.name], table.name, seconds=SWEEP_SECONDS
            )
        placeholders = [
            row["account_id"]
            for row in await connection.fetch(self._placeholders, seconds=SWEEP_SECONDS)
        ]
        if placeholders:
            for table in _METRICS:
                await connection.execute(
                    statements.find_metrics[table.name],
                    table.name,
                    placeholders,
                    today,
                    seconds=SWEEP_SECONDS,
                )
        return placeholders

    async def mend(
        self, keys: NaturalKeys, today: dt.date, run_id: uuid.UUID | None = None
    ) -> Mended:
        """Give each row of some keys that exactly one account fits to that account, in short
        transactions.

        Findings are not read again. The copies belong to the run, if it was one that told whose the
        rows are.
        """
        named = await asyncio.to_thread(keys.placeholders)
        stand_ins = [
            row["account_id"] for row in await self._database.fetch(self._stand_ins, named)
        ]
        return await self._mend(
            self._somewhere, (keys.logins, keys.platforms, keys.brokers), stand_ins, today, run_id
        )

    async def mend_all(
        self, placeholders: Sequence[str], today: dt.date, run_id: uuid.UUID | None = None
    ) -> Mended:
        """The same of the whole warehouse, where `placeholders` are the ids that stand for unknown
        ones in metrics tables.
        """
        return await self._mend(self._everywhere, (), list(placeholders), today, run_id)

    async def give_back(
        self,
        endpoint: Endpoint,
        unsent: Sequence[tuple[str, dt.date]],
        run_id: uuid.UUID,
        claim_id: uuid.UUID,
        lease_seconds: float,
    ) -> list[GivenBack]:
        """Give metrics rows of claimed accounts that upstream does not send for them to the
        accounts whose natural key they have.

        `unsent` are the accounts and dates. Only rows are touched whose key another account holds
        by alltime, with rows of that date.
        """
        table, statement = self._mend_unsent[endpoint]
        given: list[GivenBack] = []
        for part in pieces(unsent, CHUNK_ROWS):
            async with self._database.transaction(lock_seconds=LOCK_SECONDS) as connection:
                ours = await self._fence.lock_claims(
                    connection,
                    sorted({account_id for account_id, _ in part}),
                    claim_id,
                    lease_seconds,
                )
                listed = [(account_id, day) for account_id, day in part if account_id in ours]
                rows = await connection.fetch(
                    statement,
                    table.name,
                    [each[0] for each in listed],
                    [each[1] for each in listed],
                    run_id,
                    seconds=SWEEP_SECONDS,
                )
                found = [
                    GivenBack(
                        row["holder"],
                        row["account_id"],
                        tuple(row["days"]),
                        row["rows"],
                        row["removed"],
                    )
                    for row in rows
                    if row["holder"] is not None
                ]
                changed: dict[str, set[dt.date | None]] = defaultdict(set)
                for each in found:
                    changed[each.holder].update(each.days)
                    changed[each.owner].update(each.days)
                await self._feed.note(connection, run_id, table.name, changed)
            given += found
        return given

    async def _mend(
        self,
        statements: _Statements,
        arrays: tuple[list[str], ...],
        placeholders: list[str],
        today: dt.date,
        run_id: uuid.UUID | None = None,
    ) -> Mended:
        mended = Mended()
        for table in _TRADES:
            await self._repeat(statements.mend_null[table.name], table, arrays, mended, run_id)
            await self._repeat(statements.mend_foreign[table.name], table, arrays, mended, run_id)
        if placeholders:
            for table in _METRICS:
                await self._repeat(
                    self._mend_metrics[table.name], table, (placeholders, today), mended, run_id
                )
        return mended

    async def _repeat(
        self,
        statement: str,
        table: Table,
        arguments: tuple[object, ...],
        mended: Mended,
        run_id: uuid.UUID | None,
    ) -> None:
        """Mend in short transactions until nothing is left; rows that the table refuses, or that
        others are writing, stay as they are.
        """
        refused = resisting = conflicts = 0
        most = limit = self._pace.chunk(CHUNK_ROWS)
        until = time.monotonic() + 2 * SWEEP_SECONDS
        while refused < _MOST_REFUSED:
            try:
                # In the order of the statement the rows that cannot be mended come first, and the
                # next ones begin behind them.
                rows = await self._mend_some(
                    statement, table, (limit, refused + resisting, *arguments), run_id
                )
            except WriteConflict as error:
                conflicts += 1
                if conflicts == _TRIES:
                    _note_left(table, f"others are writing them: {error}")
                    return
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            except (RowRefused, StatementTooSlow) as error:
                await self._require_one_row(error, until)
                if limit > 1:
                    limit = max(1, limit // 8)
                    continue
                refused += 1
                _note_left(table, f"the table refuses one: {error}")
                continue
            if not rows:
                break
            limit = min(most, limit * 2)
            resisting += sum(row["resisting"] for row in rows)
            for row in rows:
                if row["account_id"] is not None:
                    mended.rows[table.name] += row["rows"]
                    mended.md5_rows += row["md5_rows"]
                    mended.account_ids.add(row["account_id"])
            await self._pace.spend(sum(row["rows"] for row in rows))
        if resisting:
            _note_left(table, f"a trigger of the table keeps those of {resisting}")

    async def _require_one_row(self, error: RowRefused | StatementTooSlow, until: float) -> None:
        """Raise what is no single row's fault: there is no room for anybody, or a statement takes
        too long however few rows it writes.
        """
        if isinstance(error, ResourcesExhausted):
            await self._database.require_room()
        elif isinstance(error, StatementTooSlow) and time.monotonic() > until:
            raise error

    async def _mend_some(
        self, statement: str, table: Table, arguments: tuple[object, ...], run_id: uuid.UUID | None
    ) -> list[Record]:
        async with self._database.transaction(lock_seconds=LOCK_SECONDS) as connection:
            if run_id is not None:
                await connection.execute(
                    "SELECT set_config('trade_recon.run', $1, true)", str(run_id)
                )
            rows = await connection.fetch(statement, table.name, *arguments, seconds=SWEEP_SECONDS)
            changed: dict[str, set[dt.date | None]] = defaultdict(set)
            for row in rows:
                if row["account_id"] is None:
                    continue
                changed[row["account_id"]].update(row["days"])
                if row["holder"] is not None:
                    changed[row["holder"]].update(row["days"])
            await self._feed.note(connection, run_id, table.name, changed)
        return rows

    async def unresolved(
        self, limit: int, connection: Connection | None = None
    ) -> tuple[list[IdentityFinding], int, int]:
        """Natural keys that fit no account or several, the largest first, with the numbers of both;
        read over `connection`, if any.
        """
        reader = connection or self._database
        rows = await reader.fetch(self._summary, limit)
        counts = await reader.fetch_row(self._count)
        findings = [
            IdentityFinding(
                row["table_name"],
                row["login"],
                row["platform"],
                row["broker"],
                row["holder"],
                tuple(row["candidates"]),
                row["rows"],
                (),
            )
            for row in rows
        ]
        return findings, counts["unmatched"] if counts else 0, counts["ambiguous"] if counts else 0

    async def affected_accounts(self, codes: Sequence[str]) -> list[str]:
        """Accounts that a finding concerns, or that have an open issue of these codes."""
        return [
            row["account_id"]
            for row in await self._database.fetch(
                self._affected, list(codes), seconds=SWEEP_SECONDS
            )
        ]


def _note_left(table: Table, reason: str) -> None:
    _log.warning(
        "Rows keep a missing or wrong account id for now.",
        action="identity.left",
        table=table.name,
        reason=reason,
    )
