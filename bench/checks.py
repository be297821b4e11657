"""Whether a warehouse holds what it held: a count and a checksum for each table and date."""

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from app.domain.contract.tables import TABLES, Endpoint
from bench.warehouse import table_of

if TYPE_CHECKING:
    import asyncpg

ENDPOINTS = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
Sums: TypeAlias = Mapping[tuple[Endpoint, dt.date | None], tuple[int, int]]
"""Rows and the sum of their hashes."""
_SUMS = """
SELECT {date} AS date, count(*) AS rows, sum(hash_record_extended(ROW({columns}), 0)) AS hashes
FROM {table} GROUP BY 1
"""


async def sums_of(connection: "asyncpg.Connection[asyncpg.Record]") -> Sums:
    """Of every column that upstream fills, and of the account ids."""
    found: dict[tuple[Endpoint, dt.date | None], tuple[int, int]] = {}
    for endpoint in ENDPOINTS:
        table = TABLES[endpoint]
        columns = sorted({"account_id", *(field.column for field in table.fields)})
        rows = await connection.fetch(
            _SUMS.format(
                date=table.date_column or "NULL::date",
                columns=", ".join(f'"{column}"' for column in columns),
                table=table_of(endpoint),
            )
        )
        found |= {(endpoint, row["date"]): (row["rows"], int(row["hashes"])) for row in rows}
    return found


def differing(before: Sums, after: Sums) -> list[tuple[Endpoint, dt.date | None]]:
    """The tables and dates whose rows are not the same."""
    return [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
