"""Staging tables, fitted to the raw tables."""

from typing import TYPE_CHECKING

from app.domain.contract.tables import TABLES
from app.store.database.queries import fill, load_queries, quote
from app.store.database.transaction import Connection
from app.store.schema.introspect import survey
from app.store.schema.raw.catalogue import staging_types, warehouse_table
from app.store.schema.raw.tables import STAGED, analyzed_columns, is_staged, staged_columns

if TYPE_CHECKING:
    import asyncpg
from app.store.schema.migrations.lock import lock_migrations

_STATISTICS_TARGET = 10
"""Samples 3,000 rows; the default costs as writing 1,000."""


async def fit_staging(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> None:
    """Recreate outdated staging tables; fetches under way restart."""
    tables = (await survey(Connection(connection), schema)).tables
    for endpoint in STAGED:
        table = warehouse_table(endpoint, tables[TABLES[endpoint].name], schema)
        types = await staging_types(Connection(connection), schema, table)
        # An older version put the columns often read alone last.
        if not is_staged(table, types) or next(iter(types)) != "fetch_id":
            columns = ", ".join(
                f"{quote(name)} {sql_type}" for name, sql_type in staged_columns(table).items()
            )
            # The date first, since a large account is written by ranges of dates.
            dated = ("trade_date", "login", "position", "ticket")
            unit = dated if table.table.endpoint.is_trades else table.key
            alterations = ", ".join(
                f"ALTER COLUMN {quote(column)} SET STATISTICS {_STATISTICS_TARGET}"
                for column in analyzed_columns(table)
            )
            tokens = {
                "stage": table.stage,
                "columns": columns,
                "key": ", ".join(quote(column) for column in unit),
                "alterations": alterations,
            }
            async with connection.transaction(isolation="read_committed"):
                await lock_migrations(connection, schema)
                await connection.execute(
                    fill(
                        load_queries("schema/raw/staging_tables", schema)["create_staging"],
                        **tokens,
                    )
                )
