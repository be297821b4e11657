"""Caps that ingestion seems to apply: largest amounts that several rows share.

A few rows suffice for round amounts and a type's largest.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from app.domain.contract.caps import Caps, Extreme
from app.domain.contract.tables import Endpoint
from app.domain.wording.counts import choose
from app.store.database.pool import Database
from app.store.database.queries import quote
from app.store.database.transaction import SWEEP_SECONDS
from app.store.schema.raw.catalogue import Catalogue, may_be_capped
from app.store.schema.raw.columns import Column
from app.store.schema.raw.tables import WarehouseTable

_METRICS = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY)
_LEAST_ROWS = 3
"""Equal largest amounts that show a cap."""
_LEAST_VALUES = 12
"""Fewer are sizes and classes, round by nature."""
_SAMPLE = 500_000
_ROUND = frozenset(Decimal(10) ** power for power in range(3, 13))
"""Not 100, where percentages end."""


async def proposed_caps(database: Database, catalogue: Catalogue, known: Caps) -> str:
    """Rules to add to the `known` ones in RECON_CAPS."""
    rules: dict[str, Decimal] = {}
    largest: dict[str, list[Decimal]] = defaultdict(list)
    stops: list[tuple[str, Column, Decimal]] = []
    for endpoint in _METRICS:
        table = catalogue[endpoint]
        columns = [column for column in table.columns if _may_be_capped(table, column, known)]
        if not columns:
            continue
        sample = await _sample_of(database, table)
        amounts = await _largest(database, table, columns, sample)
        for column, amount in amounts.items():
            largest[column.name].append(amount)
        stopping = {
            column: amount for column, amount in amounts.items() if amount in _ends_of(column)
        }
        stops += [
            (table.table.name, column, stopping[column])
            for column in await _cut_off(database, table, stopping, sample)
        ]
        others = {column: amount for column, amount in amounts.items() if column not in stopping}
        stops += [
            (table.table.name, column, others[column])
            for column in await _piled_up(database, table, others, sample)
        ]
    for name, column, amount in stops:
        if amount == column.largest:
            rules[column.sql_type] = amount
        elif all(other <= amount for other in largest[column.name]):
            rules[column.name] = amount
        else:
            rules[f"{name}.{column.name}"] = amount
    return ",".join(f"{name}={amount.normalize():f}" for name, amount in sorted(rules.items()))


def unused_rules(catalogue: Catalogue, caps: Caps) -> list[str]:
    """Rules that match no column."""
    tables = [catalogue[endpoint] for endpoint in Endpoint]
    figures = [
        (table, column)
        for table in tables
        for column in table.columns
        if may_be_capped(column, table.key)
    ]
    return [
        written
        for rule, written in zip(caps.rules, caps.written, strict=True)
        if all(
            Caps((rule,)).of(table.table.name, column.name, column.sql_type) is None
            for table, column in figures
        )
    ]


def unused_sentence(rules: Sequence[str]) -> str:
    """A sentence about them."""
    return (
        f"RECON_CAPS: {', '.join(rules)} {choose(len(rules), 'names', 'name')} no column of the raw"
        " tables and no type of one: nothing is capped by that."
    )


async def _sample_of(database: Database, table: WarehouseTable) -> str:
    rows = await database.fetch_value(
        "SELECT sum(c.reltuples) FROM pg_partition_tree($1::text::regclass) AS p JOIN pg_class AS c"
        " ON c.oid = p.relid WHERE p.isleaf",
        table.raw,
    )
    # Repeatable, so that all statements read the same rows.
    return (
        f" TABLESAMPLE SYSTEM ({100 * _SAMPLE / rows:.4f}) REPEATABLE (1)"
        if rows and rows > _SAMPLE
        else ""
    )


async def _largest(
    database: Database, table: WarehouseTable, columns: list[Column], sample: str
) -> dict[Column, Decimal]:
    amounts = ", ".join(
        f"max(abs(nullif({quote(column.name)}, 'NaN')))::numeric" for column in columns
    )
    (largest,) = await database.fetch(
        f"SELECT {amounts} FROM {table.raw}{sample}", seconds=SWEEP_SECONDS
    )
    return {
        column: amount
        for column, amount in zip(columns, largest, strict=True)
        if amount is not None
    }


async def _cut_off(
    database: Database, table: WarehouseTable, stopping: Mapping[Column, Decimal], sample: str
) -> list[Column]:
    """Columns cut off at their largest amount; with few values, or mostly it, a round one is
    genuine.
    """
    if not stopping:
        return []
    counts = ", ".join(
        f"count(*) FILTER (WHERE abs({quote(column.name)}) = {amount:f}) AS at_{number},"
        f" count({quote(column.name)}) AS of_{number}, count(DISTINCT {quote(column.name)}) AS"
        f" values_{number}"
        for number, (column, amount) in enumerate(stopping.items())
    )
    (found,) = await database.fetch(
        f"SELECT {counts} FROM {table.raw}{sample}", seconds=SWEEP_SECONDS
    )
    return [
        column
        for number, (column, amount) in enumerate(stopping.items())
        if (count := found[f"at_{number}"]) >= _LEAST_ROWS
        and (
            amount not in _ROUND
            or (2 * count < found[f"of_{number}"] and found[f"values_{number}"] >= _LEAST_VALUES)
        )
    ]


async def _piled_up(
    database: Database, table: WarehouseTable, largest: Mapping[Column, Decimal], sample: str
) -> list[Column]:
    """Columns cut off at an amount that is neither round nor the type's largest."""
    finite = {column: amount for column, amount in largest.items() if amount.is_finite()}
    if not finite:
        return []
    counts = ", ".join(
        f"count(*) FILTER (WHERE {_stands(column, '=', amount)}) AS at_{number}, count(DISTINCT"
        f" account_id) FILTER (WHERE {_stands(column, '=', amount)}) AS accounts_{number},"
        f" count({quote(column.name)}) AS of_{number}"
        for number, (column, amount) in enumerate(finite.items())
    )
    (found,) = await database.fetch(
        f"SELECT {counts} FROM {table.raw}{sample}", seconds=SWEEP_SECONDS
    )
    cut_off = []
    for number, (column, amount) in enumerate(finite.items()):
        seen = Extreme(
            amount, found[f"at_{number}"], found[f"accounts_{number}"], found[f"of_{number}"]
        )
        if (
            seen.may_be_cap
            and (await _with_values_below(database, table, column, seen, sample)).is_cap
        ):
            cut_off.append(column)
    return cut_off


async def _with_values_below(
    database: Database, table: WarehouseTable, column: Column, seen: Extreme, sample: str
) -> Extreme:
    (below,) = await database.fetch(
        "SELECT count(*) AS values, coalesce(max(accounts), 0) AS shared FROM (SELECT"
        f" count(DISTINCT account_id) AS accounts FROM {table.raw}{sample} WHERE"
        f" {_stands(column, '<', seen.amount)} AND {quote(column.name)} <> 0 GROUP BY"
        f" abs({quote(column.name)})) AS shares",
        seconds=SWEEP_SECONDS,
    )
    return replace(seen, values=below["values"], shared=below["shared"])


def _stands(column: Column, comparison: str, amount: Decimal) -> str:
    """Compare absolute values with an amount; NaN is above all."""
    return f"abs({quote(column.name)}) {comparison} '{amount:f}'::{column.sql_type}"


def _may_be_capped(table: WarehouseTable, column: Column, known: Caps) -> bool:
    is_figure = may_be_capped(column, table.key) and not column.is_whole
    return is_figure and known.of(table.table.name, column.name, column.sql_type) is None


def _ends_of(column: Column) -> frozenset[Decimal]:
    """Round amounts, and the type's largest."""
    return _ROUND if column.largest is None else _ROUND | {column.largest}
