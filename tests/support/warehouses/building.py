"""Builds a warehouse of a shape in a database of its own, as its owner would have, before
trade-recon comes.
"""

import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from app.domain.contract.tables import TABLES
from app.sandbox.damage.damage import Damage, damage
from app.sandbox.server.serving import SandboxServer
from app.sandbox.witness.ingestion import ingest
from app.sandbox.witness.raw_sql import in_schema, quoted
from tests.conftest import Database, Server
from tests.support.warehouses.shape import Shape

Connection = asyncpg.Connection


@dataclass(frozen=True, slots=True)
class Place:
    """A database: `database` as trade-recon reaches it, `owner` as the owner of the raw tables
    does; `role` is another role there.
    """

    owner: Database
    database: Database
    role: str


@asynccontextmanager
async def new_database(
    postgres: Server, schema: str, *, as_role: bool = False, template: str | None = None
) -> AsyncIterator[Place]:
    """A database with `schema`, and a role without rights, as which trade-recon comes if `as_role`;
    both go in the end.

    The schema is empty, or as the database `template` has it, with which nobody may be connected.
    """
    name, role = f"recon_adopt_{secrets.token_hex(4)}", f"recon_role_{secrets.token_hex(4)}"
    async with AsyncExitStack() as stack:
        await postgres.execute(f"CREATE ROLE {role}")
        stack.push_async_callback(postgres.execute, f"DROP ROLE {role}")
        await postgres.execute(
            "CREATE DATABASE"
            f" {name}{f' TEMPLATE {template} STRATEGY FILE_COPY' if template else ''}"
        )
        stack.push_async_callback(postgres.execute, f"DROP DATABASE {name} WITH (FORCE)")
        owner = Database(postgres.database(name), schema)
        async with owner.connect() as connection:
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
        yield Place(owner, with_setting(owner, "role", role) if as_role else owner, role)


def with_setting(database: Database, name: str, value: str) -> Database:
    """The same database, reached with a setting of the session."""
    parts = urlsplit(database.dsn)
    query = f"{parts.query}&{name}={value}" if parts.query else f"{name}={value}"
    return Database(urlunsplit(parts._replace(query=query)), database.schema)


async def execute(place: Place, statements: Iterable[str]) -> None:
    """Run SQL of a shape, as the owner."""
    async with place.owner.connect() as connection:
        for statement in statements:
            text = in_schema(statement, place.owner.schema).replace(
                "THIS_SCHEMA", quoted(place.owner.schema)
            )
            await connection.execute(text.replace("SERVICE_ROLE", place.role))


async def build(place: Place, shape: Shape, sandbox: SandboxServer) -> None:
    """Make the tables and let the owner's ingestion fill them; what the tables refuse it leaves
    out.
    """
    await execute(place, shape.tables)
    async with place.owner.connect() as connection:
        await ingest(sandbox.base_url, sandbox.api_key, connection, shape.schema)
    await execute(
        place,
        (
            *shape.rows,
            *shape.grants,
            *(f"ANALYZE SCHEMA.{table.name}" for table in TABLES.values()),
        ),
    )


async def spoil(place: Place, shape: Shape) -> list[Damage]:
    """Damage the warehouse in all ways that its shape lets happen."""
    async with place.owner.connect() as connection:
        done = await damage(
            connection, shape.schema, seed=shape.seed, kinds=shape.kinds, accounts_per_kind=1
        )
    await execute(place, shape.damage)
    return done
