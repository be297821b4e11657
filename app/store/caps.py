"""The caps that a warehouse's own ingestion seems to have: amounts at which the values of a column stop, and which several rows have."""

from collections.abc import Mapping
from decimal import Decimal

from app.domain.caps import Caps
from app.domain.contract import Endpoint
from app.store.catalogue import Catalogue, Column, Kind, WarehouseTable
from app.store.pool import SWEEP_SECONDS, Database
from app.store.queries import quote

_METRICS = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY)
_LEAST_ROWS = 3
"""So many rows have the very same largest amount: of values that are not capped hardly two are equal there."""
_SAMPLE = 500_000
"""Rows of a table that are looked at, as far as its statistics tell how many it has."""
_ROUND = frozenset(Decimal(10) ** power for power in range(3, 13))
"""Percentages stop at 100 by themselves."""


async def proposed_caps(database: Database, catalogue: Catalogue, known: Caps) -> str:
    """Rules for RECON_CAPS beside the `known` ones, as a setting holds them; empty where no column stops at a round amount."""
    rules: dict[str, Decimal] = {}
    for endpoint in _METRICS:
        table = catalogue[endpoint]
        columns = [column for column in table.columns if _may_be_capped(table, column, known)]
        rules |= await _rules_of(database, table, columns) if columns else {}
    return ",".join(f"{name}={amount.normalize():f}" for name, amount in sorted(rules.items()))


async def _rules_of(database: Database, table: WarehouseTable, columns: list[Column]) -> Mapping[str, Decimal]:
    rows = await database.fetch_value(
        "SELECT sum(c.reltuples) FROM pg_partition_tree($1::text::regclass) AS p JOIN pg_class AS c ON c.oid = p.relid WHERE p.isleaf",
        table.raw,
    )
    sample = f" TABLESAMPLE SYSTEM ({100 * _SAMPLE / rows:.4f})" if rows and rows > _SAMPLE else ""
    amounts = ", ".join(f"max(abs(nullif({quote(column.name)}, 'NaN')))::numeric" for column in columns)
    (largest,) = await database.fetch(f"SELECT {amounts} FROM {table.raw}{sample}", seconds=SWEEP_SECONDS)
    stopping = {column: amount for column, amount in zip(columns, largest, strict=True) if amount in _ends_of(column)}
    if not stopping:
        return {}
    counts = ", ".join(f"count(*) FILTER (WHERE abs({quote(column.name)}) = {amount:f})" for column, amount in stopping.items())
    (found,) = await database.fetch(f"SELECT {counts} FROM {table.raw}{sample}", seconds=SWEEP_SECONDS)
    return {
        column.name if amount in _ROUND else column.sql_type: amount
        for (column, amount), count in zip(stopping.items(), found, strict=True)
        if count >= _LEAST_ROWS
    }


def _may_be_capped(table: WarehouseTable, column: Column, known: Caps) -> bool:
    is_figure = column.kind is Kind.NUMBER and not column.is_count and column.name not in table.key
    return is_figure and not column.is_whole and known.of(table.table.name, column.name, column.sql_type) is None


def _ends_of(column: Column) -> frozenset[Decimal]:
    """The amounts at which values of a column may stop: round ones, and the largest that its type holds."""
    return _ROUND if column.largest is None else _ROUND | {column.largest}
