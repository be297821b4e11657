"""Objects of trade-recon in the catalogue, and earlier ones."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.contract.tables import TABLES
from app.errors import InvalidRequest
from app.store.database.pool import Database
from app.store.database.sql_text import fitted
from app.store.database.transaction import Connection, Record
from app.store.schema.definitions import FUNCTIONS, DefinitionChange, compare, is_taken_over
from app.store.schema.introspect import STATE_TABLE, own_names
from app.store.schema.state_entries import list_references
from app.store.schema.state_rows import STATE_TYPES

RAW_TABLES = tuple(table.name for table in TABLES.values())
_STAGES = tuple(
    f"recon_stage_{table.removeprefix('raw_metrics_').removeprefix('raw_trades_')}"
    for table in RAW_TABLES
)
_KEPT = ("recon_earlier", "recon_earlier_trade_recon")
_VIEWS = ("v_reconciliation_progress", "mv_all_account_ids")
_EARLIER_COLUMNS = 17
"""How many of our columns the earlier trade_recon has."""


@dataclass(frozen=True, slots=True)
class Installed:
    """The catalogue, for the uninstallation."""

    schema: str
    place: Record
    made_tables: Sequence[str]
    own: Sequence[Record]
    strange: Sequence[str]
    aside: Sequence[Record]
    earlier: Mapping[str, Any] | None
    state: Mapping[str, Any] | None
    references: Sequence[Record]
    indexes: Sequence[str]
    dependents: Sequence[Record]
    rights: Sequence[Record]


async def read_installed(database: Database, role: str) -> Installed:
    """Read the catalogue; InvalidRequest if trade-recon is not installed."""
    sql = database.queries("dba_script/installed")
    relations, functions = own_names()
    names = [*relations, *_STAGES, *_KEPT, "recon_migrations", "recon_definitions"]
    async with database.transaction("repeatable_read") as connection:
        await connection.execute("SET TRANSACTION READ ONLY")
        # With this path names are written with their schemas, so that the script runs under any
        # path.
        await connection.execute("SET LOCAL search_path = pg_catalog")
        [place] = await connection.fetch(sql["describe_place"], list(RAW_TABLES))
        if not place["is_migrated"]:
            raise InvalidRequest(
                f"trade-recon is not installed in the schema {database.schema}: there is nothing to"
                " take away."
            )
        if await is_taken_over(connection, database.schema):
            names, functions = [*names, *_VIEWS], [*functions, *FUNCTIONS]
        strange = await _list_strange(connection, database.schema, sql)
        facts = await connection.fetch_value(sql["get_earlier"]) if place["is_kept"] else None
        state = await connection.fetch_value(sql["describe_state"])
        earlier, now = (json.loads(each) if each else None for each in (facts, state))
        stays = bool(facts or place["stood_before"])
        return Installed(
            schema=database.schema,
            place=place,
            made_tables=await _column(connection, "name", sql["list_made_tables"]),
            own=[
                row
                for row in await connection.fetch(sql["list_own"], names, functions)
                if row["name"] not in strange
            ],
            strange=strange,
            aside=await connection.fetch(sql["list_aside"]),
            earlier=earlier,
            state=now,
            references=await list_references(connection, database.schema),
            indexes=await _column(connection, "identity", sql["list_indexes"]),
            dependents=await connection.fetch(
                sql["list_dependents"],
                names if stays else [*names, STATE_TABLE],
                functions,
                columns_that_go(earlier, now) if stays else [],
            ),
            rights=await connection.fetch(
                sql["list_rights"], role, list(RAW_TABLES), fitted(role, "all_rows")
            ),
        )


async def _list_strange(
    connection: Connection, schema: str, sql: Mapping[str, str]
) -> Sequence[str]:
    """Foreign objects under our names.

    One equal to an object put aside is dropped instead, since that gets its name back.
    """
    returned = {row["oid"] for row in await connection.fetch(sql["list_returned"])}
    return [
        stray.name
        for stray in (await compare(connection, schema)).strays
        if stray.change in (DefinitionChange.REPLACED, DefinitionChange.BESIDE)
        and not (stray.present and stray.present["made"] in returned)
    ]


async def _column(connection: Connection, name: str, statement: str) -> Sequence[str]:
    return [row[name] for row in await connection.fetch(statement, list(RAW_TABLES))]


def columns_that_go(earlier: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> list[str]:
    """Columns that trade-recon added to a trade_recon that stays."""
    there = {column["name"] for column in now["columns"]} if now else set()
    known = (
        {column["name"] for column in earlier["columns"]}
        if earlier
        else set(list(STATE_TYPES)[:_EARLIER_COLUMNS])
    )
    return [name for name in STATE_TYPES if name in there and name not in known]
