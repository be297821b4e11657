"""A warehouse of the earlier system with rows in trade_recon, and the script that leads back to
it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from pydantic import SecretStr

from app.adoption import print_uninstall
from app.settings.model import Settings
from tests.conftest import Server
from tests.support.warehouses.building import Place, execute, new_database
from tests.support.warehouses.catalogue import Dump, dump_schema
from tests.support.warehouses.heritage import FORMS, GRANTS, OLD_OBJECTS, SCHEMA

ROWS = """
INSERT INTO SCHEMA.trade_recon (account_id, num_trades_daily, issues, failed_attempts, last_checked)
SELECT format('acc-%s', lpad(n::text, 5, '0')), nullif(n % 4, 0), CASE WHEN n % 3 > 0 THEN '[]'::jsonb END, nullif(n % 3, 0),
       timestamptz '2026-01-05' + n * interval '1 hour'
FROM generate_series(1, 12) AS n
"""
"""Twelve accounts, of some of which columns are empty that trade-recon fills."""


@asynccontextmanager
async def earlier_system(postgres: Server, *more: str) -> AsyncIterator[Place]:
    """Its tables, functions, views and rows in a database of its own, and after them the statements
    `more`.
    """
    async with new_database(postgres, SCHEMA) as place:
        await execute(
            place, (*FORMS["text tickets, partitioned"], *OLD_OBJECTS, *GRANTS, ROWS, *more)
        )
        yield place


async def written(place: Place) -> str:
    """What `trade-recon uninstall --print` writes."""
    settings = Settings(database_url=SecretStr(place.owner.dsn), recon_schema=place.owner.schema)
    return await print_uninstall(settings, "trade_recon")


async def go_back(place: Place) -> str:
    """Run what it writes; the script."""
    script = await written(place)
    async with place.owner.connect() as connection:
        await connection.execute(script)
    return script


async def seen(
    place: Place, tables: Sequence[str] = ("trade_recon",)
) -> tuple[Dump, dict[str, list[str]]]:
    """The catalogue of the schema, and the rows of some tables."""
    async with place.owner.connect() as connection:
        rows = {}
        for table in tables:
            rows[table] = [
                row[0]
                for row in await connection.fetch(
                    f"SELECT to_jsonb(t)::text FROM {table} AS t ORDER BY 1"
                )
            ]
        return await dump_schema(connection, place.owner.schema), rows
