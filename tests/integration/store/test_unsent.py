"""Rows that leave out fields: what was not sent stays as it is stored, a null that was sent is
written, whatever each row leaves out.
"""

import datetime as dt
import json
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.ids import AccountId, ClaimId, Login
from app.engine.repositories import Repositories
from app.store.apply.context import RemovalEvidence, WriteContext
from app.store.apply.fingerprints import Fingerprints, Slice
from app.store.apply.job import ApplyJob
from app.store.apply.results import Applied
from app.store.database.pool import Database as Pool
from app.store.database.transaction import Connection
from app.store.schema.raw.columns import Column, Kind
from app.store.schema.raw.tables import STAGED, WarehouseTable
from app.store.staging.staged_fetch import StagedFetch
from app.store.table_sql.unsent import UnsentColumns
from tests.conftest import SCHEMA, Database, Server
from tests.support.clock import TODAY

if TYPE_CHECKING:
    import asyncpg

Key = tuple[object, ...]
Values = dict[str, object]

_ACCOUNT = AccountId("acc-1")
_ACCOUNTS = (_ACCOUNT, *(f"acc-{number}" for number in range(2, 61)))
_FIRST = TODAY - dt.timedelta(days=68)
_DAYS = tuple(_FIRST + dt.timedelta(days=number) for number in range(90))
_TIMES = tuple(dt.datetime.combine(day, dt.time(9, 30)) for day in _DAYS)
_LEASE = 3600.0
_KEY = {"account_id": _ACCOUNT, "login": "007", "platform": 5, "broker": 1}
_FEW, _MANY = 60, 2000
_DEFAULTS = {
    "raw_metrics_alltime": {"country": "'zz'::text", "success_rate": "7"},
    "raw_metrics_daily": {"country": "'zz'::text", "success_rate": "7"},
    "raw_metrics_hourly": {"country": "lower('ZZ')", "success_rate": "7"},
    "raw_trades_closed": {"comment": "'zz'::text", "lots": "7"},
}
"""What an owner may have given columns as their defaults: a text and a number."""
_DEFAULT_VALUES = {"country": "zz", "comment": "zz", "success_rate": Decimal(7), "lots": Decimal(7)}


@dataclass(frozen=True)
class _Bench:
    """A warehouse with one account that is ours, whose columns have defaults."""

    database: Database
    store: Repositories
    connection: "asyncpg.Connection[asyncpg.Record]"
    writer: WriteContext

    async def staged(self, endpoint: Endpoint, pages: Sequence[Sequence[bytes]]) -> StagedFetch:
        sink = await self.store.staging.begin(endpoint)
        for page in pages:
            await sink.add(page)
        assert await sink.distinct_keys() == sum(map(len, pages))
        await sink.seal()
        return sink.staged

    async def apply(
        self,
        endpoint: Endpoint,
        pages: Sequence[Sequence[bytes]],
        writer: WriteContext | None = None,
    ) -> Applied:
        dates = (
            None
            if endpoint is Endpoint.ALLTIME
            else (_DAYS[0], _DAYS[-1])
            if endpoint.is_trades
            else _DAYS
        )
        # Of alltime an account has one row.
        proven = Slice(endpoint, _ACCOUNTS if endpoint is Endpoint.ALLTIME else (_ACCOUNT,), dates)
        before = await self.store.applier.fingerprints(proven)
        staged = await self.staged(endpoint, pages)
        if endpoint.is_trades:
            await self.store.applier.resolve_trades(staged, {_ACCOUNT: [Login("007")]})
        applied = await self.store.applier.apply(staged, proven, before, writer or self.writer)
        await self.store.staging.forget(staged)
        done = Applied()
        for each in applied.values():
            assert (each.error, each.left_alone, each.claim_lost) == (None, False, False)
            done.add(each)
            done.set_aside += each.set_aside
        return done

    async def stored(self, table: WarehouseTable) -> dict[Key, Values]:
        rows = await self.connection.fetch(f"SELECT * FROM {table.raw}")
        return {
            tuple(row[name] for name in table.key): {
                each.name: row[each.name] for each in table.columns
            }
            for row in rows
        }


@asynccontextmanager
async def _opened(postgres: Server, template: str) -> AsyncIterator[_Bench]:
    async with postgres.clone(template, "unsent") as name:
        database = Database(postgres.database(name), SCHEMA)
        async with database.connect() as connection:
            for table, defaults in _DEFAULTS.items():
                for column, default in defaults.items():
                    await connection.execute(
                        f"ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {default}"
                    )
            claim_id = ClaimId(uuid.uuid4())
            await connection.execute(
                "INSERT INTO trade_recon (account_id, claim_id, claimed_by, claimed_at) SELECT"
                " unnest($1::text[]), $2, $2, now()",
                _ACCOUNTS,
                claim_id,
            )
            await connection.execute(
                "INSERT INTO recon_identity (login, platform, broker, account_id, today, counts,"
                " valid_from, valid_to, open_from) VALUES ('007', '5', '1', $1, true, true,"
                " '2000-01-01', '2100-01-01', '2100-01-01')",
                _ACCOUNT,
            )
            async with Pool.open(database.dsn, database.schema, pool_size=1) as pool:
                yield _Bench(
                    database,
                    await Repositories.build(pool, _LEASE),
                    connection,
                    WriteContext(None, claim_id, 60.0, _LEASE),
                )


@pytest.fixture(scope="module")
async def shared(postgres: Server, template: str) -> AsyncIterator[_Bench]:
    async with _opened(postgres, template) as bench:
        yield bench


@pytest.fixture
async def bench(shared: _Bench) -> _Bench:
    """One whose tables are empty."""
    await shared.connection.execute(f"TRUNCATE {', '.join(_DEFAULTS)}")
    return shared


@pytest.fixture
async def own(postgres: Server, template: str) -> AsyncIterator[_Bench]:
    """One whose tables a test may alter."""
    async with _opened(postgres, template) as bench:
        yield bench


def _keys(table: WarehouseTable, count: int) -> list[Values]:
    """The key columns of so many rows, and what tells their account."""
    given: list[Values] = []
    for number in range(count):
        day, hour = _DAYS[number // 24 % len(_DAYS)], number % 24
        each = {
            **_KEY,
            "date": day,
            "hour": hour,
            "trade_date": day,
            "position": f"{number}",
            "ticket": f"t{number}",
        }
        if table.table.endpoint is Endpoint.DAILY:
            each["date"] = _DAYS[number]
        if table.table.endpoint is Endpoint.ALLTIME:
            each["account_id"] = _ACCOUNTS[number]
        given.append({name: value for name, value in each.items() if name in table.names})
    return given


def _drawn(column: Column, draw: random.Random) -> object:
    """A value that the column holds as it is sent."""
    match column.kind:
        case Kind.NUMBER:
            whole = draw.randint(1, 9)
            return whole if "int" in column.sql_type else Decimal(whole)
        case Kind.DATE:
            return draw.choice(_DAYS)
        case Kind.TIMESTAMP:
            return draw.choice(_TIMES)
        case _:
            return draw.choice(column.labels or "abcdef")


def _json(table: WarehouseTable, row: Mapping[str, object]) -> bytes:
    api = {column.name: column.api_name for column in table.columns}
    plain = {
        api[name]: (
            value.isoformat()
            if isinstance(value, dt.date)
            else int(value)
            if isinstance(value, Decimal)
            else value
        )
        for name, value in row.items()
    }
    return json.dumps(plain).encode()


def _free(table: WarehouseTable) -> list[Column]:
    """The columns that a row may leave out, but the natural key and what a table requires."""
    required = {name for check in table.checks for name in check.columns or ()}
    return [column for column in table.values if column.name not in {*_KEY, *required}]


def _drawn_row(
    table: WarehouseTable, key: Values, sets: Sequence[frozenset[str]], draw: random.Random
) -> Values:
    """A row with one of the sets of fields, of which some are null; the rest of its columns is not
    sent.
    """
    chosen = draw.choice(sets)
    required = [
        column for column in table.values if column not in _free(table) and column.name not in key
    ]
    sent = [column for column in _free(table) if column.name in chosen]
    return (
        key
        | {column.name: _drawn(column, draw) for column in required}
        | {column.name: None if draw.random() < 0.3 else _drawn(column, draw) for column in sent}
    )


def _sets(table: WarehouseTable, count: int, draw: random.Random) -> list[frozenset[str]]:
    names = [column.name for column in _free(table)]
    return [frozenset(name for name in names if draw.random() < 0.5) for _ in range(count)]


def _oracle(
    table: WarehouseTable, stored: Mapping[Key, Values], sent: Sequence[Values]
) -> dict[Key, Values]:
    """What the table must hold: field by field."""
    expected = {key: dict(row) for key, row in stored.items()}
    defaults = {name: _DEFAULT_VALUES[name] for name in _DEFAULTS[table.table.name]}
    for row in sent:
        key = tuple(row[name] for name in table.key)
        if key not in expected:
            expected[key] = {column.name: defaults.get(column.name) for column in table.columns}
        expected[key] |= row
    return expected


def _pages(table: WarehouseTable, rows: Sequence[Values]) -> list[list[bytes]]:
    texts = [_json(table, row) for row in rows]
    return [texts[start : start + 500] for start in range(0, len(texts), 500)]


_CASES = [(endpoint, sets, _FEW) for endpoint in STAGED for sets in (1, 4, _FEW)] + [
    (Endpoint.CLOSED, _MANY, _MANY)
]


@pytest.mark.parametrize(("endpoint", "sets", "count"), _CASES)
async def test_each_field_is_written_if_it_was_sent_and_stays_if_not(
    bench: _Bench, endpoint: Endpoint, sets: int, count: int
) -> None:
    table, draw = bench.store.catalogue[endpoint], random.Random(sets * 7 + count)
    keys = _keys(table, count)
    fields = _sets(table, sets, draw)
    # First two thirds of them into an empty table, then all: a third is new, the others meet what
    # is stored.
    first = [_drawn_row(table, key, fields, draw) for number, key in enumerate(keys) if number % 3]
    done = await bench.apply(endpoint, _pages(table, first))
    expected = _oracle(table, {}, first)
    assert (await bench.stored(table), done.inserted) == (expected, len(first))
    second = [_drawn_row(table, key, fields, draw) for key in keys]
    done = await bench.apply(endpoint, _pages(table, second))
    changed = _oracle(table, expected, second)
    assert await bench.stored(table) == changed
    assert (done.inserted, done.updated) == (
        len(keys) - len(first),
        sum(changed[key] != row for key, row in expected.items()),
    )
    # And once more: nothing is written where all fields that were sent agree.
    assert (await bench.apply(endpoint, _pages(table, second))).written == 0


@contextmanager
def _counted() -> Iterator[list[str]]:
    """All statements that the service sends within it."""
    sent: list[str] = []

    def counting(method: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def count(
            connection: Connection, sql: str, *arguments: object, seconds: float | None = None
        ) -> object:
            sent.append(sql)
            return await method(connection, sql, *arguments, seconds=seconds)

        return count

    with pytest.MonkeyPatch.context() as patch:
        for method in ("execute", "fetch", "fetch_row", "fetch_value"):
            patch.setattr(Connection, method, counting(getattr(Connection, method)))
        yield sent


@pytest.mark.parametrize("endpoint", [Endpoint.DAILY, Endpoint.CLOSED])
async def test_the_number_of_statements_does_not_follow_that_of_the_sets_of_fields(
    bench: _Bench, endpoint: Endpoint
) -> None:
    table, draw = bench.store.catalogue[endpoint], random.Random(3)
    sent: dict[int, list[str]] = {}
    # First once uncounted: it makes the partitions.
    for sets in (1, 1, 2, _FEW):
        fields = _sets(table, sets, draw)
        await bench.connection.execute(f"TRUNCATE {table.raw}")
        with _counted() as sent[sets]:
            for _ in range(2):
                await bench.apply(
                    endpoint,
                    _pages(
                        table, [_drawn_row(table, key, fields, draw) for key in _keys(table, _FEW)]
                    ),
                )
    assert sent[1]
    assert len(sent[1]) == len(sent[2]) == len(sent[_FEW])
    # Nor is any of them another one, which would have to be planned.
    assert set(sent[1]) == set(sent[2]) == set(sent[_FEW])


async def test_a_row_that_is_refused_among_rows_of_many_sets_stops_none_of_them(
    own: _Bench,
) -> None:
    # Not known beforehand: a trigger refuses what no constraint tells.
    await own.connection.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF new.num_trades ="
        " 13 THEN RAISE EXCEPTION 'unlucky' USING ERRCODE = 'check_violation'; END IF; RETURN new;"
        " END$$; CREATE TRIGGER refuse AFTER INSERT OR UPDATE ON raw_metrics_daily FOR EACH ROW"
        " EXECUTE FUNCTION refuse()"
    )
    table, draw = own.store.catalogue[Endpoint.DAILY], random.Random(5)
    rows = [
        _drawn_row(table, key, _sets(table, 12, draw), draw) | {"num_trades": 2}
        for key in _keys(table, 12)
    ]
    await own.apply(Endpoint.DAILY, _pages(table, rows[:8]))
    before = await own.stored(table)
    again = [
        _drawn_row(table, key, _sets(table, 12, draw), draw) | {"num_trades": 3}
        for key in _keys(table, 12)
    ]
    again[2]["num_trades"] = again[10]["num_trades"] = 13
    done = await own.apply(Endpoint.DAILY, _pages(table, again))
    assert done.set_aside == 2
    held = [row for row in again if row["num_trades"] != 13]
    assert await own.stored(table) == _oracle(table, before, held)


async def test_a_check_holds_for_rows_that_were_sent_with_its_columns_and_for_no_others(
    own: _Bench,
) -> None:
    await own.connection.execute(
        "ALTER TABLE raw_metrics_daily ADD CHECK (success_rate + net_profit > 0)"
    )
    async with Pool.open(own.database.dsn, own.database.schema, pool_size=1) as pool:
        checked = replace(own, store=await Repositories.build(pool, _LEASE))
        table = checked.store.catalogue[Endpoint.DAILY]
        keys = _keys(table, 4)
        stored = [key | {"success_rate": Decimal(1), "net_profit": Decimal(2)} for key in keys]
        await checked.apply(Endpoint.DAILY, _pages(table, stored))
        before = await checked.stored(table)
        sent = [
            keys[0] | {"net_profit": Decimal(9)},
            keys[1] | {"net_profit": Decimal(-3), "success_rate": Decimal(4), "country": "b"},
            # That breaks it, and is known before the write; and so does this, which only the write
            # tells.
            keys[2] | {"net_profit": Decimal(-3), "success_rate": Decimal(2)},
            keys[3] | {"net_profit": Decimal(-8)},
        ]
        staged = await checked.staged(Endpoint.DAILY, _pages(table, sent))
        job = ApplyJob(
            staged,
            table,
            Slice(Endpoint.DAILY, (_ACCOUNT,), _DAYS),
            Fingerprints({}, 0),
            checked.writer,
            RemovalEvidence(),
        )
        assert await checked.store.applier._rejects.reject_unfit(job) == 1
        await checked.store.staging.forget(staged)
        done = await checked.apply(Endpoint.DAILY, _pages(table, sent))
        assert done.set_aside == 2
        assert await checked.stored(table) == _oracle(table, before, sent[:2])


async def test_a_new_row_takes_the_default_of_a_domain_or_a_sequence(own: _Bench) -> None:
    connection = own.connection
    column = await connection.fetchval(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid ="
        " 'raw_metrics_alltime'::regclass AND attname = 'country'"
    )
    await connection.execute(
        f"CREATE DOMAIN country AS {column} DEFAULT 'xy'; CREATE DOMAIN land AS country"
    )
    await connection.execute(
        "ALTER TABLE raw_metrics_alltime ALTER COLUMN country DROP DEFAULT, ALTER COLUMN country"
        " TYPE land"
    )
    await connection.execute(
        "CREATE SEQUENCE rates START 41; ALTER TABLE raw_metrics_alltime ALTER COLUMN success_rate"
        " SET DEFAULT nextval('rates')"
    )
    async with Pool.open(own.database.dsn, own.database.schema, pool_size=1) as pool:
        given = replace(own, store=await Repositories.build(pool, _LEASE))
        table = given.store.catalogue[Endpoint.ALLTIME]
        (key,) = _keys(table, 1)
        await given.apply(Endpoint.ALLTIME, _pages(table, [key | {"num_trades": 1}]))
        (row,) = (await given.stored(table)).values()
        assert (row["country"], row["success_rate"]) == ("xy", 41)


async def test_a_count_that_was_not_sent_lowers_none_that_still_moves(bench: _Bench) -> None:
    table = bench.store.catalogue[Endpoint.DAILY]
    keys = _keys(table, 3)
    await bench.apply(
        Endpoint.DAILY, _pages(table, [key | {"num_trades": 5, "country": "a"} for key in keys])
    )
    moving = WriteContext(
        None, bench.writer.claim_id, 60.0, _LEASE, moving_from=_DAYS[0], moving_until=_DAYS[-1]
    )
    sent = [
        keys[0] | {"country": "b"},
        keys[1] | {"num_trades": None, "country": "b"},
        keys[2] | {"num_trades": 6},
    ]
    done = await bench.apply(Endpoint.DAILY, _pages(table, sent), moving)
    assert done.withheld == {_DAYS[1]}
    stored = {
        key: (row["num_trades"], row["country"]) for key, row in (await bench.stored(table)).items()
    }
    assert sorted(stored.values()) == [(5, "a"), (5, "b"), (6, "a")]


async def test_a_natural_key_that_was_not_sent_stays(bench: _Bench) -> None:
    table = bench.store.catalogue[Endpoint.DAILY]
    (key,) = _keys(table, 1)
    await bench.apply(Endpoint.DAILY, _pages(table, [key | {"num_trades": 5}]))
    await bench.apply(
        Endpoint.DAILY,
        _pages(table, [{"account_id": _ACCOUNT, "date": key["date"], "num_trades": 6}]),
    )
    (row,) = (await bench.stored(table)).values()
    assert {name: row[name] for name in ("login", "platform", "broker", "num_trades")} == {
        "login": "007",
        "platform": key["platform"],
        "broker": key["broker"],
        "num_trades": 6,
    }


async def test_a_natural_key_that_is_empty_is_none_in_a_new_row(bench: _Bench) -> None:
    table = bench.store.catalogue[Endpoint.DAILY]
    (key,) = _keys(table, 1)
    await bench.apply(Endpoint.DAILY, _pages(table, [key | {"login": "", "num_trades": 5}]))
    (row,) = (await bench.stored(table)).values()
    assert (row["login"], row["platform"], row["num_trades"]) == (None, key["platform"], 5)


@pytest.mark.parametrize("endpoint", STAGED)
async def test_bits_of_unsent_columns_are_read_as_they_were_written(
    bench: _Bench, endpoint: Endpoint
) -> None:
    table, draw = bench.store.catalogue[endpoint], random.Random(9)
    columns = UnsentColumns(table)
    assert columns.of([column.api_name for column in table.columns] + ["unheard of"]) is None
    for left_out in [[column] for column in table.values] + [
        draw.sample(table.values, 10) for _ in range(20)
    ]:
        bits = columns.of([column.api_name for column in table.columns if column not in left_out])
        read = await bench.connection.fetch(
            "SELECT n FROM generate_series(0, $2::integer - 1) AS n WHERE get_bit($1::bytea,"
            " n) = 1",
            bits,
            len(table.columns),
        )
        assert {table.columns[row["n"]] for row in read} == set(left_out)
