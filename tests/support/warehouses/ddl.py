"""SQL text of raw tables in many shapes. `SCHEMA.` in it stands for the warehouse's schema."""

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence

from app.domain.contract.tables import TABLES, Endpoint, Field
from tests.support.engine import TODAY

METRICS = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY)
TRADES = (Endpoint.CLOSED, Endpoint.OPEN)
DATED = (Endpoint.DAILY, Endpoint.HOURLY, *TRADES)
OUR_UNIT = "platform, broker, login, position, ticket, trade_date"

_WORDS = {"double": "double precision"}


def raw_table(
    endpoint: Endpoint,
    *lines: str,
    types: Mapping[str, str] | None = None,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
    partition_by: str | None = None,
) -> str:
    """A raw table with the columns that a fresh install has; `types` replaces theirs, `lines` are
    further columns and constraints.
    """
    table = TABLES[endpoint]
    fields: Sequence[Field] = (*table.fields, *table.own_columns)
    changed = types or {}
    columns = [
        f'"{field.column}" {changed.get(field.column, _WORDS.get(field.sql_type, field.sql_type))}'
        for field in fields
        if field.column not in without and (only is None or field.column in only)
    ]
    partition = f" PARTITION BY {partition_by}" if partition_by else ""
    return f"CREATE TABLE SCHEMA.{table.name} ({', '.join([*columns, *lines])}){partition}"


def range_partition(parent: str, name: str, first: dt.date, end: dt.date) -> str:
    """A partition of the days from `first` to the day before `end`."""
    return (
        f"CREATE TABLE SCHEMA.{name} PARTITION OF SCHEMA.{parent} FOR VALUES FROM ('{first}') TO"
        f" ('{end}')"
    )


def months(days: int) -> Iterator[tuple[dt.date, dt.date]]:
    """The months that `days` days up to today touch, and the next one: their first days and the
    first days after them.
    """
    first = (TODAY - dt.timedelta(days=days)).replace(day=1)
    while first <= TODAY + dt.timedelta(days=31):
        end = (first + dt.timedelta(days=32)).replace(day=1)
        yield first, end
        first = end


def monthly_partitions(endpoint: Endpoint, days: int) -> list[str]:
    """Partitions TABLE_YYYY_MM of `days` days up to today, and of the next month."""
    name = TABLES[endpoint].name
    return [
        range_partition(name, f"{name}_{first:%Y_%m}", first, end) for first, end in months(days)
    ]
