"""Plays the user's own ingestion: reads all rows and writes them, deliberately plain and apart from the service."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from app.domain.contract import TABLES, Endpoint, Table
from app.sandbox.columns import rows_for_columns
from app.sandbox.identity import Holders, held_key
from app.sandbox.raw_sql import in_schema, name_list, quoted, recordset
from app.sandbox.reading import PlainReader
from app.sandbox.trades import Value

if TYPE_CHECKING:
    import asyncpg


async def ingest(
    base_url: str,
    api_key: str,
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    *,
    endpoints: Collection[Endpoint] = tuple(Endpoint),
    account_ids: Collection[str] | None = None,
) -> dict[Endpoint, int]:
    """Read upstream and write it into the raw tables of `schema`; gives the rows written by endpoint.

    Rows that are there already are overwritten, as ingestion's upserts do. Trades get the account id that alltime and daily
    rows tell, NULL where two accounts fit. `account_ids` narrows it to some accounts (ambiguous trades of theirs included).
    Endpoints are written one by one, metrics first. FetchFailed if the API does not answer properly.
    """
    written: dict[Endpoint, int] = {}
    name = "accountIds" if account_ids is not None else None
    async with PlainReader(base_url, api_key) as reader:
        for endpoint in Endpoint:
            if endpoint in endpoints:
                if endpoint.is_trades:
                    rows = await _read_trades(reader, endpoint, account_ids)
                else:
                    rows = await _read_metrics(reader, endpoint, name, account_ids or ())
                await write_rows(connection, schema, endpoint, rows)
                written[endpoint] = len(rows)
    return written


async def write_rows(
    connection: "asyncpg.Connection[asyncpg.Record]", schema: str, endpoint: Endpoint, rows: Sequence[Mapping[str, Value]]
) -> None:
    """Upsert `rows`, by warehouse column, into the raw table of `endpoint`; months without a partition get one."""
    table = TABLES[endpoint]
    if table.date_column is not None:
        months = {dt.date.fromisoformat(str(row[table.date_column])).replace(day=1) for row in rows}
        statement = in_schema("SELECT SCHEMA.recon_create_partitions($1, $2::date[])", schema)
        await connection.execute(statement, table.name, sorted(months))
    upsert = _upsert(table, schema)
    async with connection.transaction():
        for start in range(0, len(rows), 1000):
            await connection.execute(upsert, recordset(rows[start : start + 1000]))


async def _read_metrics(reader: PlainReader, endpoint: Endpoint, name: str | None, ids: Collection[str]) -> list[dict[str, Value]]:
    return [rows_for_columns(endpoint, row) async for page in reader.rows(endpoint, name, ids) for row in page]


async def _read_trades(reader: PlainReader, endpoint: Endpoint, account_ids: Collection[str] | None) -> list[dict[str, Value]]:
    name, logins = (None, frozenset[str]()) if account_ids is None else ("logins", await _logins(reader, account_ids))
    # By login, not by account: another account that shares the natural key makes a trade's owner uncertain.
    metrics = [await _read_metrics(reader, each, name, logins) for each in (Endpoint.ALLTIME, Endpoint.DAILY)]
    holders = Holders(*metrics)
    found = []
    async for page in reader.rows(endpoint, name, logins):
        for sent in page:
            row = rows_for_columns(endpoint, sent)
            candidates = holders.candidates(held_key(row), dt.date.fromisoformat(str(row["trade_date"])))
            if account_ids is None or not candidates.isdisjoint(account_ids):
                found.append({**row, "account_id": next(iter(candidates)) if len(candidates) == 1 else None})
    return found


async def _logins(reader: PlainReader, account_ids: Collection[str]) -> frozenset[str]:
    rows = [row for each in (Endpoint.ALLTIME, Endpoint.DAILY) for row in await _read_metrics(reader, each, "accountIds", account_ids)]
    return frozenset(str(row["login"]) for row in rows)


def _upsert(table: Table, schema: str) -> str:
    columns = [field.column for field in table.fields]
    if table.endpoint.is_trades:
        columns.append("account_id")
    changed = ", ".join(f"{quoted(column)} = excluded.{quoted(column)}" for column in columns if column not in table.key)
    names, target = name_list(columns), f"{quoted(schema)}.{quoted(table.name)}"
    return (
        f"INSERT INTO {target} ({names}, source_api_endpoint) SELECT {names}, '{table.endpoint.path}' "  # noqa: S608 (quoted names of our own)
        f"FROM json_populate_recordset(NULL::{target}, $1::json) ON CONFLICT ({name_list(table.key)}) DO UPDATE SET {changed}"
    )
