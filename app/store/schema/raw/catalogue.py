"""The warehouse's raw tables."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from app.domain.contract.caps import NO_CAPS, Caps
from app.domain.contract.tables import TABLES, Endpoint, Field, Table
from app.errors import ConfigurationError
from app.store.database.pool import Database
from app.store.database.queries import for_schema, load_queries, quote
from app.store.database.sql_text import literal
from app.store.database.transaction import Connection
from app.store.schema.introspect import CheckFacts, ColumnFacts, Survey, TableFacts
from app.store.schema.raw.columns import Column, Kind
from app.store.schema.raw.tables import STAGED, WarehouseTable, is_staged

_WHOSE = ("account_id", "login", "platform", "broker")
_LONGEST_PATH = 32


class Catalogue:
    """Raw tables by endpoint."""

    def __init__(self, tables: Mapping[Endpoint, WarehouseTable]) -> None:
        """Use `read`."""
        self._tables = tables

    def __getitem__(self, endpoint: Endpoint) -> WarehouseTable:
        """An endpoint's table; open trades have no staging."""
        return self._tables[endpoint]

    def is_like(self, other: "Catalogue") -> bool:
        """Whether the other's statements fit."""
        return self._tables == other._tables  # noqa: SLF001 - one of our own

    @classmethod
    async def read(cls, database: Database, survey: Survey, caps: Caps = NO_CAPS) -> "Catalogue":
        """The surveyed tables, capped.

        Raises ConfigurationError where a raw table changed after its staging table.
        """
        tables = {
            endpoint: warehouse_table(
                endpoint, survey.tables[TABLES[endpoint].name], database.schema, caps
            )
            for endpoint in Endpoint
        }
        for table in (tables[endpoint] for endpoint in STAGED):
            if not is_staged(table, await staging_types(database, database.schema, table)):
                raise ConfigurationError(
                    f"{table.table.name} has other columns than when trade-recon was migrated: run"
                    " `trade-recon migrate`, which recreates its staging table. Nothing was"
                    " changed."
                )
        return cls(tables)


async def staging_types(
    connection: Database | Connection, schema: str, table: WarehouseTable
) -> dict[str, str]:
    """A staging table's columns and types, in order."""
    statement = load_queries("schema/raw/catalogue", schema)["get_staging_columns"]
    rows = await connection.fetch(statement, table.stage)
    return {row["column"]: row["type"] for row in rows}


def warehouse_table(
    endpoint: Endpoint, facts: TableFacts, schema: str, caps: Caps = NO_CAPS
) -> WarehouseTable:
    """An endpoint's surveyed table."""
    table, there, keys = TABLES[endpoint], facts.by_name, facts.keys or ()
    columns = _columns(table, facts, caps)
    key = frozenset(table.key)
    nullable = frozenset(name for name in key if name in there and not there[name].not_null)
    staged = {"account_id", *(column.name for column in columns)}
    stage = re.sub("^raw_(metrics|trades)", "recon_stage", table.name)
    return WarehouseTable(
        table=table,
        raw=for_schema(f"prop_trading_model.{table.name}", schema),
        stage=for_schema(f"prop_trading_model.{stage}", schema),
        columns=columns,
        nullable=nullable,
        is_unique=any(
            key >= set(each.columns) and (each.nulls_are_equal or not nullable & set(each.columns))
            for each in keys
        ),
        narrow_keys=tuple(
            each for each in keys if not key <= set(each.columns) and staged >= set(each.columns)
        ),
        is_partitioned=facts.kind == "p",
        checks=(*_not_nulls(facts, columns, table.key), *_checks(facts, columns)),
        has_guards=any(
            trigger.is_before_row and (trigger.on_insert or trigger.on_update)
            for trigger in facts.triggers or ()
        ),
        origin=tuple(_origin(endpoint, facts)),
        distributed_by=facts.distributed_by,
        stored=tuple(column.name for column in facts.columns or () if column.is_written),
    )


def _columns(table: Table, facts: TableFacts, caps: Caps) -> tuple[Column, ...]:
    return tuple(
        _column(field, stored, table.key, caps.of(table.name, field.column, stored.base_type))
        for field in table.fields
        if (stored := facts.by_name.get(field.column)) is not None and stored.is_written
    )


def _column(field: Field, facts: ColumnFacts, key: Sequence[str], cap: Decimal | None) -> Column:
    column = Column(field.column, field.api_name, facts.base_type, facts.labels, facts.default)
    return replace(column, cap=cap) if cap is not None and may_be_capped(column, key) else column


def may_be_capped(column: Column, key: Sequence[str]) -> bool:
    """Whether caps apply: not to counts and keys."""
    return column.kind is Kind.NUMBER and not column.is_count and column.name not in (*key, *_WHOSE)


def _not_nulls(
    facts: TableFacts, columns: Sequence[Column], key: Sequence[str]
) -> list[CheckFacts]:
    return [
        CheckFacts(
            f"NOT NULL of {column.name}",
            f"{quote(column.name)} IS NOT NULL",
            (column.name,),
            holds_for_all=True,
        )
        for column in columns
        # Keys are checked when the row is read.
        if facts.by_name[column.name].not_null and column.name not in key
    ]


def _checks(facts: TableFacts, columns: Sequence[Column]) -> list[CheckFacts]:
    """Constraints that can be tested on staged rows."""
    known = {column.name for column in columns}
    return [
        check
        for check in facts.checks or ()
        if check.holds_for_all and check.columns and known >= set(check.columns)
    ]


def _origin(endpoint: Endpoint, facts: TableFacts) -> list[tuple[str, str]]:
    """A row's time and source, as expressions."""
    origin: list[tuple[str, str]] = []
    when, whence = (
        facts.by_name.get("ingestion_timestamp"),
        facts.by_name.get("source_api_endpoint"),
    )
    if when is not None and when.is_written and when.base_type.startswith("timestamp"):
        zoned = when.base_type.endswith("with time zone") and "without" not in when.base_type
        origin.append((when.name, "now()" if zoned else "now() AT TIME ZONE 'UTC'"))
    if whence is not None and whence.is_written:
        column = Column(whence.name, "-", whence.base_type, whence.labels)
        if (
            column.kind is Kind.TEXT
            and whence.labels is None
            and (column.longest or _LONGEST_PATH) >= _LONGEST_PATH
        ):
            origin.append((whence.name, literal(endpoint.path)))
    return origin
