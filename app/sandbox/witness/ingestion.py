"""A plain ingestion, independent of the service."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence

import asyncpg

from app.domain.contract.tables import Endpoint
from app.sandbox.witness.identity import Holders, held_key, known_as
from app.sandbox.witness.raw_sql import REFUSALS, in_schema, name_list, quoted, recordset
from app.sandbox.witness.raw_tables import RawTable, read_table
from app.sandbox.witness.reading import PlainReader
from app.sandbox.world.trades import Value

Connection = asyncpg.Connection
Tables = Mapping[Endpoint, RawTable]

_CHUNK_ROWS = 1000


async def ingest(
    base_url: str,
    api_key: str,
    connection: "Connection[asyncpg.Record]",
    schema: str,
    *,
    endpoints: Collection[Endpoint] = tuple(Endpoint),
    account_ids: Collection[str] | None = None,
) -> dict[Endpoint, int]:
    """Upsert upstream's rows into the raw tables of `schema`; rows by endpoint. FetchFailed.

    Trades get the account id of metrics rows, NULL where two fit.
    """
    written: dict[Endpoint, int] = {}
    name = "accountIds" if account_ids is not None else None
    tables = {endpoint: await read_table(connection, schema, endpoint) for endpoint in Endpoint}
    async with PlainReader(base_url, api_key) as reader:
        for endpoint in Endpoint:
            if endpoint in endpoints:
                if endpoint.is_trades:
                    rows = await _read_trades(reader, tables, endpoint, account_ids)
                else:
                    rows = await _read_metrics(reader, tables[endpoint], name, account_ids or ())
                written[endpoint] = await write_rows(connection, schema, tables[endpoint], rows)
    return written


async def write_rows(
    connection: "Connection[asyncpg.Record]",
    schema: str,
    table: RawTable,
    rows: Sequence[Mapping[str, Value]],
) -> int:
    """Write `rows`, adding partitions; how many were taken."""
    date_column = table.table.date_column
    if date_column is not None and await connection.fetchval(
        "SELECT to_regprocedure($1) IS NOT NULL",
        f"{quoted(schema)}.recon_create_partitions(text, date[])",
    ):
        months = {dt.date.fromisoformat(str(row[date_column])).replace(day=1) for row in rows}
        statement = in_schema("SELECT SCHEMA.recon_create_partitions($1, $2::date[])", schema)
        await connection.execute(statement, table.table.name, sorted(months))
    statement = _upsert(table)
    async with connection.transaction():
        # A deferred constraint would speak at the commit only, and then of no single row.
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        return sum(
            [
                await _write(connection, statement, rows[start : start + _CHUNK_ROWS])
                for start in range(0, len(rows), _CHUNK_ROWS)
            ]
        )


async def _write(
    connection: "Connection[asyncpg.Record]", statement: str, rows: Sequence[Mapping[str, Value]]
) -> int:
    """Write rows, by halves if they are rejected; how many were taken."""
    try:
        async with connection.transaction():
            await connection.execute(statement, recordset(rows))
    except REFUSALS:
        if len(rows) == 1:
            return 0
        middle = len(rows) // 2
        return await _write(connection, statement, rows[:middle]) + await _write(
            connection, statement, rows[middle:]
        )
    return len(rows)


async def _read_metrics(
    reader: PlainReader, table: RawTable, name: str | None, ids: Collection[str]
) -> list[dict[str, Value]]:
    rows = [
        table.reader.read(row)
        async for page in reader.rows(table.table.endpoint, name, ids)
        for row in page
    ]
    # As the trigger of the earlier system does it.
    return [{**row, "account_id": known_as(row)} for row in rows]


async def _read_trades(
    reader: PlainReader, tables: Tables, endpoint: Endpoint, account_ids: Collection[str] | None
) -> list[dict[str, Value]]:
    name, logins = (
        (None, frozenset[str]())
        if account_ids is None
        else ("logins", await _logins(reader, tables, account_ids))
    )
    # By login, not by account: another account that shares the natural key makes a trade's owner
    # uncertain.
    metrics = [
        await _read_metrics(reader, tables[each], name, logins)
        for each in (Endpoint.ALLTIME, Endpoint.DAILY)
    ]
    holders = Holders(*metrics)
    found = []
    async for page in reader.rows(endpoint, name, logins):
        for sent in page:
            row = tables[endpoint].reader.read(sent)
            candidates = holders.candidates(
                held_key(row), dt.date.fromisoformat(str(row["trade_date"]))
            )
            if account_ids is None or not candidates.isdisjoint(account_ids):
                found.append(
                    {**row, "account_id": next(iter(candidates)) if len(candidates) == 1 else None}
                )
    return found


async def _logins(
    reader: PlainReader, tables: Tables, account_ids: Collection[str]
) -> frozenset[str]:
    rows = [
        row
        for each in (Endpoint.ALLTIME, Endpoint.DAILY)
        for row in await _read_metrics(reader, tables[each], "accountIds", account_ids)
    ]
    return frozenset(str(row["login"]) for row in rows)


def _upsert(table: RawTable) -> str:
    """An upsert without ON CONFLICT, which would need a unique key."""
    columns = table.api_columns
    names = name_list(columns)
    opened = ", ".join(f"{quoted(column)} {table.types[column]}" for column in columns)
    changed = ", ".join(
        f"{quoted(column)} = s.{quoted(column)}"
        for column in columns
        if column not in table.table.key
    )
    target, whence = names, names
    if "source_api_endpoint" in table.types:
        target, whence = f"{names}, source_api_endpoint", f"{names}, '{table.table.endpoint.path}'"
    return (
        f"WITH sent AS MATERIALIZED (SELECT * FROM json_to_recordset($1::json) AS r ({opened})), "  # noqa: S608 (quoted names of our own)
        f"overwritten AS (UPDATE {table.target} AS t SET {changed} FROM sent AS s WHERE"
        f" {table.same_key('t', 's')}) "
        f"INSERT INTO {table.target} ({target}) "
        f"SELECT {whence} FROM sent AS s "
        f"WHERE NOT EXISTS (SELECT FROM {table.target} AS t WHERE {table.same_key('t', 's')})"
    )
