"""What becomes of an adopted warehouse: built, filled, migrated, damaged, healed by runs, and
looked at after each step.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.states import RunKind
from app.sandbox.damage.damage import Damage
from app.sandbox.server.serving import SandboxServer
from app.sandbox.witness.comparison import Comparison, compare
from app.sandbox.witness.raw_sql import in_schema, quoted
from app.sandbox.witness.raw_tables import read_table
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Database, Server
from tests.support.engine import engine, run
from tests.support.warehouses.building import Place, build, new_database, spoil
from tests.support.warehouses.catalogue import Dump, dump_raw_tables
from tests.support.warehouses.shape import Shape
from tests.support.warehouses.shapes import colliding_keys

Connection = asyncpg.Connection
Rows = Mapping[str, Counter[str]]
"""All rows of each raw table as JSON texts, counted."""

_FOREVER = 1_000_000
_TOUCHED = frozenset({"updated_at"})
"""Columns that triggers of the owner's change whenever a row is written."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row that trade-recon named as one that the warehouse cannot hold."""

    table: str
    key: str
    account_id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Story:
    """What was seen.

    `catalogues`: before the migration, after it, at the end; `rows`: before the damage, after it,
    after a full run and an audit, and after the full run, audit and retry that followed.
    """

    shape: Shape
    place: Place
    sandbox: SandboxServer
    damage: Sequence[Damage]
    catalogues: Sequence[Dump]
    rows: Sequence[Rows]
    runs: Sequence[Mapping[str, Any]]
    comparison: Comparison
    issues: Mapping[str, Mapping[str, Mapping[str, Any]]]
    """The issues of each account that has some, by type."""
    set_aside: Sequence[SetAside]
    copies: Mapping[str, Counter[str]]
    details: Mapping[str, str]
    """What the last run says of each account."""
    colliding: Mapping[str, frozenset[str]]
    """Keys of upstream rows, by table, that the table's own unique keys cannot hold side by
    side.
    """

    @property
    def database(self) -> Database:
        """The warehouse as trade-recon reaches it."""
        return self.place.database


async def tell(postgres: Server, shape: Shape, stack: Any) -> Story:  # noqa: ANN401 - an AsyncExitStack
    """Live through it; database and upstream stay until `stack` is closed."""
    place: Place = await stack.enter_async_context(
        new_database(postgres, shape.schema, as_role=shape.role)
    )
    sandbox: SandboxServer = await stack.enter_async_context(SandboxServer(shape.world()))
    await build(place, shape, sandbox)
    catalogues, rows = [await _catalogue(place)], [await _rows(place)]
    await migrate(place.database.dsn, shape.schema)
    catalogues.append(await _catalogue(place))
    assert await _rows(place) == rows[0]
    damage = await spoil(place, shape)
    rows.append(await _rows(place))
    async with engine(place.database, sandbox) as service:
        runs = [await run(service, RunKind.FULL), await run(service, RunKind.AUDIT)]
        rows.append(await _rows(place))
        runs += [await run(service, kind) for kind in (RunKind.FULL, RunKind.AUDIT, RunKind.RETRY)]
    rows.append(await _rows(place))
    catalogues.append(await _catalogue(place))
    async with place.owner.connect() as connection:
        upstream = {endpoint: sandbox.world.rows(endpoint) for endpoint in Endpoint}
        return Story(
            shape=shape,
            place=place,
            sandbox=sandbox,
            damage=damage,
            catalogues=catalogues,
            rows=rows,
            runs=runs,
            comparison=await compare(upstream, connection, shape.schema, sample=_FOREVER),
            issues=await issues(connection, shape.schema),
            set_aside=[
                SetAside(**row)
                for row in await connection.fetch(in_schema(_SET_ASIDE, shape.schema))
            ],
            copies=await _copies(connection, shape.schema),
            details={
                row["account_id"]: row["detail"]
                for row in await connection.fetch(in_schema(_DETAILS, shape.schema))
                if row["detail"]
            },
            colliding=await _colliding(connection, shape, sandbox),
        )


_SET_ASIDE = (
    "SELECT table_name AS table, replace(row_key, '|', ' ') AS key, account_id, reason FROM"
    " SCHEMA.recon_set_aside_rows"
)
_DETAILS = (
    "SELECT DISTINCT ON (account_id) account_id, detail FROM SCHEMA.recon_attempts ORDER BY"
    " account_id, finished_at DESC"
)


async def issues(
    connection: "Connection[asyncpg.Record]", schema: str
) -> dict[str, dict[str, dict[str, Any]]]:
    """The issues of each account that has some, by type."""
    rows = await connection.fetch(
        in_schema(
            "SELECT account_id, issues::text AS issues FROM SCHEMA.trade_recon WHERE issues <>"
            " '[]'",
            schema,
        )
    )
    return {
        row["account_id"]: {issue["type"]: issue for issue in json.loads(row["issues"])}
        for row in rows
    }


def empty_rows(story: Story) -> frozenset[str]:
    """Keys of upstream's rows of days and hours without trades: they mean the same as no rows, and
    no account is looked at for them.
    """
    return frozenset(
        " ".join(
            str(part) for part in (record.account_id, record.day, record.hour) if part is not None
        )
        for endpoint in (Endpoint.DAILY, Endpoint.HOURLY)
        for record in story.sandbox.world.records(endpoint)
        if float(str(record.row["numTrades"])) == 0
    )


def lost_rows(story: Story) -> dict[str, list[str]]:
    """Rows that were equal to upstream before and after the damage, and are not there at the end:
    as they were, or with an id filled in.
    """
    lost: dict[str, list[str]] = {}
    for table, rows in story.rows[0].items():
        filled = Counter(form for row in story.rows[3][table].elements() for form in _forms(row))
        for row in ((rows & story.rows[1][table]) - story.rows[3][table]).elements():
            data = json.loads(row)
            if data["account_id"] is not None or not filled[_form(data)]:
                lost.setdefault(table, []).append(row)
    return lost


def rows_without_copy(story: Story) -> dict[str, list[str]]:
    """Rows that a run removed or changed otherwise than by filling an empty account id, and of
    which no copy was kept.
    """
    left: dict[str, list[str]] = {}
    for table, rows in story.rows[1].items():
        kept = Counter(text for copy in story.copies[table].elements() for text in _forms(copy))
        filled = Counter(form for row in story.rows[3][table].elements() for form in _forms(row))
        for row in (rows - story.rows[3][table]).elements():
            data = json.loads(row)
            form = _form(data)
            if kept[form] == 0 and not (data["account_id"] is None and filled[form]):
                left.setdefault(table, []).append(row)
    return left


def _forms(row: str) -> tuple[str, str]:
    """A row as it is compared with another: itself, and as it was while it had no account id."""
    data = json.loads(row)
    return _form(data), _form({**data, "account_id": None})


def _form(data: Mapping[str, object]) -> str:
    return json.dumps(
        {name: value for name, value in data.items() if name not in _TOUCHED}, sort_keys=True
    )


async def _catalogue(place: Place) -> Dump:
    async with place.owner.connect() as connection:
        return await dump_raw_tables(connection, place.owner.schema)


async def _rows(place: Place) -> dict[str, Counter[str]]:
    async with place.owner.connect() as connection:
        return {
            table.name: Counter(
                row["row"]
                for row in await connection.fetch(
                    "SELECT to_jsonb(t)::text AS row FROM"
                    f" {quoted(place.owner.schema)}.{table.name} AS t"
                )
            )
            for table in TABLES.values()
        }


async def _copies(connection: "Connection[asyncpg.Record]", schema: str) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {table.name: Counter() for table in TABLES.values()}
    for row in await connection.fetch(
        in_schema("SELECT table_name, row_data::text AS row FROM SCHEMA.recon_removed_rows", schema)
    ):
        found[row["table_name"]][row["row"]] += 1
    return found


async def _colliding(
    connection: "Connection[asyncpg.Record]", shape: Shape, sandbox: SandboxServer
) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for endpoint, table in TABLES.items():
        reader = (await read_table(connection, shape.schema, endpoint)).reader
        found[table.name] = colliding_keys(
            shape, endpoint, [dict(reader.read(row)) for row in sandbox.world.rows(endpoint)]
        )
    return found
