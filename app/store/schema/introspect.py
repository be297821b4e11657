"""Facts from the catalogue about trade-recon's tables."""

import json
import re
from collections.abc import Mapping
from functools import cache, cached_property

import msgspec

from app.domain.contract.tables import TABLES
from app.errors import DatabaseError, RowRefused
from app.store.database.pool import Database
from app.store.database.queries import WRITTEN_SCHEMA, fill, load_queries
from app.store.database.transaction import Connection
from app.store.schema.migrations.files import baseline_files, later_files
from app.store.schema.state_rows import SAMPLES, STATE_TYPES

STATE_TABLE = "trade_recon"
"""The earlier system's table, taken over with its rows."""
_CREATED = re.compile(
    rf"^CREATE (?:UNLOGGED )?(TABLE|VIEW|FUNCTION) {WRITTEN_SCHEMA}\.((?:v_)?recon_\w+)",
    re.MULTILINE,
)


class ColumnFacts(msgspec.Struct, frozen=True):
    """A column; `base_type` is below its domains, `default` an INSERT's."""

    name: str
    sql_type: str
    base_type: str
    labels: tuple[str, ...] | None
    not_null: bool
    has_default: bool
    is_written: bool
    default: str | None = None


class UniqueKey(msgspec.Struct, frozen=True):
    """A unique index on plain columns, over all rows."""

    name: str
    columns: tuple[str, ...]
    nulls_are_equal: bool


class CheckFacts(msgspec.Struct, frozen=True):
    """A CHECK; `holds_for_all`: validated for all rows."""

    name: str
    condition: str
    columns: tuple[str, ...] | None
    holds_for_all: bool


class TriggerFacts(msgspec.Struct, frozen=True):
    """A trigger that fires on our writes."""

    name: str
    is_before_row: bool
    on_insert: bool
    on_update: bool


class TableFacts(msgspec.Struct, frozen=True, dict=True):
    """A table; `kind` is PostgreSQL's letter, `distributed_by` Citus' column.

    Only `trade_recon` has CHECKs and domains that reject our rows.
    """

    name: str
    kind: str
    owner: str
    columns: tuple[ColumnFacts, ...] | None
    keys: tuple[UniqueKey, ...] | None
    missing_rights: tuple[str, ...] | None
    hides_rows: bool
    triggers: tuple[TriggerFacts, ...] | None
    rules: tuple[str, ...] | None
    checks: tuple[CheckFacts, ...] | None
    denied_sequences: tuple[str, ...] | None
    cascades: tuple[str, ...] | None
    unreplicable_in: tuple[str, ...] | None
    makes_partitions: bool | None
    referenced_by: tuple[str, ...] | None = None
    refers_by: tuple[str, ...] | None = None
    has_children: bool = False
    partly_published_in: tuple[str, ...] | None = None
    distributed_by: str | None = None
    refusing_checks: tuple[str, ...] = ()
    refusing_domains: tuple[str, ...] = ()

    @cached_property
    def by_name(self) -> Mapping[str, ColumnFacts]:
        """Columns by name."""
        return {column.name: column for column in self.columns or ()}


class SchemaFacts(msgspec.Struct, frozen=True):
    """Our role's rights, objects under our names, `lost` tables, and schemas `elsewhere` with raw
    tables.
    """

    is_read_only: bool
    role: str
    database: str
    exists: bool
    elsewhere: tuple[str, ...] | None
    may_use: bool
    may_create: bool
    is_migrated: bool
    others_own: tuple[str, ...] | None
    denied: tuple[str, ...] | None
    may_refresh: bool
    lost: tuple[str, ...] | None
    strangers: tuple[str, ...] | None


class Survey(msgspec.Struct, frozen=True):
    """The schema, existing raw tables, `trade_recon`."""

    schema: SchemaFacts
    tables: Mapping[str, TableFacts]


async def survey(database: Database | Connection, schema: str) -> Survey:
    """Read the catalogue, no rows."""
    sql = load_queries("schema/introspect", schema)
    names = [*(table.name for table in TABLES.values()), STATE_TABLE]
    tables = msgspec.json.decode(
        await database.fetch_value(sql["survey_tables"], names), type=list[TableFacts]
    )
    facts = msgspec.json.decode(
        await database.fetch_value(sql["survey_schema"], *own_names()), type=SchemaFacts
    )
    by = await distribution(database, schema)
    found = {
        table.name: msgspec.structs.replace(table, distributed_by=by.get(table.name))
        for table in tables
    }
    if STATE_TABLE in found:
        found[STATE_TABLE] = await _tried(database, sql, found[STATE_TABLE])
    return Survey(facts, found)


async def _tried(
    database: Database | Connection, sql: Mapping[str, str], facts: TableFacts
) -> TableFacts:
    """Facts with CHECKs and domains that reject sample rows."""
    ours = STATE_TYPES.keys() - {"account_id"}
    # Unknown here: ids, which upstream gives, and columns for which we write the default.
    unknown = {"account_id"} | {
        name
        for name, column in facts.by_name.items()
        if name not in STATE_TYPES and column.has_default
    }
    checks = [
        check
        for check in facts.checks or ()
        if ours & {*(check.columns or ())} and not unknown & {*(check.columns or ())}
    ]
    refusing = [
        check.name
        for check in checks
        if await _refuses(database, fill(sql["try_check"], condition=check.condition))
    ]
    domains = [
        name
        for name, column in facts.by_name.items()
        if name in ours and column.sql_type != column.base_type
    ]
    broken = [
        name
        for name in domains
        if await _refuses(
            database, fill(sql["try_domain"], type=facts.by_name[name].sql_type), name
        )
    ]
    return msgspec.structs.replace(
        facts, refusing_checks=tuple(refusing), refusing_domains=tuple(broken)
    )


async def _refuses(database: Database | Connection, statement: str, *parameters: object) -> bool:
    try:
        return bool(await database.fetch_value(statement, json.dumps(SAMPLES), *parameters))
    except (RowRefused, DatabaseError):
        return True


async def distribution(database: Database | Connection, schema: str) -> Mapping[str, str]:
    """Distribution columns by table; empty without Citus."""
    sql = load_queries("schema/introspect", schema)
    if not await database.fetch_value(sql["has_citus"]):
        return {}
    return {
        row["name"]: row["distributed_by"] for row in await database.fetch(sql["list_distribution"])
    }


@cache
def own_names() -> tuple[list[str], list[str]]:
    """Relations and functions that migrations create under our names."""
    made = {
        found
        for path in (*baseline_files(), *later_files())
        for found in _CREATED.findall(path.read_text(encoding="utf-8"))
    }
    functions = {name for kind, name in made if kind == "FUNCTION"}
    return sorted({name for _, name in made} - functions), sorted(functions)
