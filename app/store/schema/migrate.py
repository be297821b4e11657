"""Migrations: plain SQL files of db/migrations, in the order of their names, each once.

A file that begins with ``-- creates: TABLE`` makes a table of the user's warehouse: where the table
stands already it is left as it is and the file is only noted as adopted. The first migration is one
transaction, in which all files run; later ones run each file in its own. A lock lets one process at
a time migrate, so that two that start together do not meet. Before the first of them the warehouse
is surveyed: what would stop trade-recon there stops the migration while nothing is changed. At the
end the staging tables are made to fit the raw tables as they stand.
"""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from app.domain.contract.tables import TABLES
from app.domain.wording.counts import choose, counted
from app.errors import ConfigurationError, WriteConflict
from app.store.database.connecting import reach
from app.store.database.errors import connecting, translated
from app.store.database.pool import Database
from app.store.database.queries import SQL_DIRECTORY, fill, for_schema, load_queries, quote
from app.store.database.session import begin_session, pins
from app.store.database.transaction import Connection
from app.store.schema.definitions import compare, keep, put_right
from app.store.schema.earlier_system import foretell, keep_state, list_aside, unmet
from app.store.schema.introspect import survey
from app.store.schema.preflight import require
from app.store.schema.raw.catalogue import STAGING_COLUMNS, warehouse_table
from app.store.schema.raw.tables import STAGED, analyzed_columns, is_staged, staged_columns

if TYPE_CHECKING:
    import asyncpg

_CREATES = re.compile(r"^-- creates: (\w+)$", re.MULTILINE)
_LOCK_KEY = 4_721_061_133
# Not to_regclass, which in a transaction that waited for the lock may go on denying what was made
# meanwhile.
_STANDS = (
    "SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE"
    " nspname = $1) AND relname = $2)"
)
# The tablespace of the database itself: no partitioned table can be made where a default names it,
# and it means the same as none.
_FORGET_OWN_TABLESPACE = """
SELECT set_config('default_tablespace', '', true)
FROM pg_database AS d JOIN pg_tablespace AS t ON t.oid = d.dattablespace
WHERE d.datname = current_database() AND t.spcname = current_setting('default_tablespace')
"""
_MIGRATE_SECONDS = 3600.0
_LOCK_TIMEOUT = "3s"
_TRIES = 5
_PAUSE_SECONDS = 2.0
_OLDEST_SERVER = 150_000
_STATISTICS_TARGET = 10
"""A sample of 3,000 staged rows tells how many there are of a fetch; the usual one costs as much as
writing 1,000 rows.
"""


def _keep_quiet(_: str) -> None:
    """Drop a sentence."""


async def migrate(
    dsn: str,
    schema: str = "prop_trading_model",
    *,
    statement_cache: int = 100,
    variable: str = "DATABASE_URL",
    tell: Callable[[str], None] = _keep_quiet,
) -> list[str]:
    """Bring the schema to its newest state; the names of the files that were applied now, without
    those of tables that stood already.

    `tell` gets a sentence on each thing of an earlier system that will be put aside or altered,
    before that is done, and on what was done. Objects of ours that somebody replaced, dropped or
    put others beside are put right.

    `statement_cache` 0 is for a `dsn` that leads through a pooler in transaction mode; `variable`
    is the setting that held it. Raises DatabaseUnavailable if PostgreSQL cannot be reached,
    ConfigurationError if it is older than 15 or if the warehouse is none to work in: then nothing
    was changed. DatabaseError if PostgreSQL refuses a file, which leaves nothing behind: of a first
    migration nothing stays, else what was applied before it. WriteConflict if others hold the locks
    that it needs for long.
    """
    with connecting(dsn, variable):
        connection = await reach(
            dsn,
            timeout=15,
            command_timeout=_MIGRATE_SECONDS,
            statement_cache_size=statement_cache,
            server_settings={"application_name": "trade-recon"},
        )
    try:
        with translated(variable):
            await begin_session(connection)
        applied: list[str] = []
        for attempt in range(_TRIES):
            try:
                with translated(variable):
                    await _migrate(connection, schema, applied, tell)
            except WriteConflict as error:
                if attempt == _TRIES - 1:
                    raise WriteConflict(
                        f"Others hold locks that the migration needs ({error});"
                        f" {counted(len(applied), 'file')} {choose(len(applied), 'was', 'were')}"
                        " applied, run it again."
                    ) from error
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                break
        return applied
    finally:
        await connection.close(timeout=5)


async def pending_migrations(database: Database) -> list[str]:
    """The migrations that the schema lacks; all of them where it was never migrated."""
    return await _pending(database, database.schema)


async def _pending(database: Database | Connection, schema: str) -> list[str]:
    names = [path.stem for path in _files()]
    ledger = for_schema("prop_trading_model.recon_migrations", schema)
    if await database.fetch_value("SELECT to_regclass($1) IS NULL", ledger):
        return names
    applied = {row["name"] for row in await database.fetch(f"SELECT name FROM {ledger}")}
    return [name for name in names if name not in applied]


def _files() -> list[Path]:
    return sorted((SQL_DIRECTORY / "migrations").glob("*.sql"))


async def _migrate(
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    applied: list[str],
    tell: Callable[[str], None],
) -> None:
    version = int(await connection.fetchval("SHOW server_version_num"))
    if version < _OLDEST_SERVER:
        raise ConfigurationError(
            f"PostgreSQL 15 or newer is needed; DATABASE_URL leads to {version // 10_000}. Nothing"
            " was changed."
        )
    ours = Connection(connection)
    pending = await _pending(ours, schema)
    found = await survey(ours, schema)
    require(
        found,
        schema,
        before_migration=bool(pending),
        besides=await unmet(ours, schema, found, before_migration=True) if pending else (),
    )
    aside = await list_aside(ours, schema)
    if found.schema.is_migrated:
        await _put_right(connection, schema, tell)
    else:
        for sentence in await foretell(ours, schema, found):
            tell(sentence)
    if found.schema.is_migrated:
        for path in _files():
            async with connection.transaction(isolation="read_committed"):
                await _lock(connection)
                if await _apply(
                    connection, schema, path.stem, path.read_text(encoding="utf-8"), applied
                ):
                    # Together with the file: what it changed must never read as somebody else's
                    # change.
                    await keep(ours, schema)
    else:
        await _install(connection, schema, applied)
    for name in sorted({*await list_aside(ours, schema)} - {*aside}):
        tell(f"Put aside: {name}.")
    await _fit_staging(connection, schema)
    await _fill_list(connection, schema)
    async with connection.transaction(isolation="read_committed"):
        await _lock(connection)
        await keep(ours, schema)


async def _install(
    connection: "asyncpg.Connection[asyncpg.Record]", schema: str, applied: list[str]
) -> None:
    """Apply every file in one transaction: where PostgreSQL refuses one, the warehouse is as it
    was.
    """
    try:
        async with connection.transaction(isolation="read_committed"):
            await _lock(connection)
            for path in _files():
                await _apply(
                    connection, schema, path.stem, path.read_text(encoding="utf-8"), applied
                )
            await keep(Connection(connection), schema)
    except BaseException:
        applied.clear()
        raise


async def _apply(
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    name: str,
    written: str,
    applied: list[str],
) -> bool:
    """Apply a file within the caller's transaction, if no one did; whether it was executed."""
    sql = for_schema(written, schema)
    await _ensure_ledger(connection, schema)
    if await connection.fetchval(
        for_schema("SELECT true FROM prop_trading_model.recon_migrations WHERE name = $1", schema),
        name,
    ):
        return False
    creates = _CREATES.search(sql)
    adopted = creates is not None and await connection.fetchval(_STANDS, schema, creates.group(1))
    if not adopted:
        await connection.execute(sql)
    await connection.execute(
        for_schema(
            "INSERT INTO prop_trading_model.recon_migrations (name, adopted) VALUES ($1, $2)",
            schema,
        ),
        name,
        adopted,
    )
    if not adopted:
        applied.append(name)
    return not adopted


async def _put_right(
    connection: "asyncpg.Connection[asyncpg.Record]", schema: str, tell: Callable[[str], None]
) -> None:
    """Make objects of ours again that are not as migrations left them; those that stand in their
    place are put aside.
    """
    async with connection.transaction(isolation="read_committed"):
        await _lock(connection)
        compared = await compare(Connection(connection), schema)
        for stray in compared.strays:
            tell(f"Found: {stray.sentence}.")
        for name in compared.new_triggers:
            tell(
                f"Found: the trigger {name} is new since the last migrate; it stays, and fires on"
                " trade-recon's writes, too."
            )
        done = await put_right(Connection(connection), schema, compared.strays)
    for sentence in done:
        tell(sentence)


async def _lock(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Be the only one that migrates, until the end of the transaction, and from here on wait for
    nobody's locks for long.
    """
    # A lock of the transaction, not of the session: it also holds behind a transaction pooler.
    await _lift_limits(connection)
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK_KEY)
    # Behind a lock that we wait for, everyone else would wait too.
    await connection.execute("SELECT set_config('lock_timeout', $1, true)", _LOCK_TIMEOUT)


async def _lift_limits(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """For the transaction, since behind a pooler others use the session too: no setting of the
    role's or the database's counts.
    """
    await connection.execute(f"SELECT {pins(is_local=True)}")
    await connection.execute("SELECT set_config('statement_timeout', '0', true)")
    await connection.execute(_FORGET_OWN_TABLESPACE)
    # A table with constraints or triggers that wait for the commit can be written, and then not
    # altered.
    await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")


async def _fill_list(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> None:
    """Fill the account list once; later maintenance refreshes it.

    Apart from the migrations, which hold locks.
    """
    filled = "SELECT relispopulated FROM pg_class WHERE oid = to_regclass($1)"
    name = f"{quote(schema)}.mv_all_account_ids"
    if await connection.fetchval(filled, name) is False:
        async with connection.transaction(isolation="read_committed"):
            await _lift_limits(connection)
            await connection.execute(f"REFRESH MATERIALIZED VIEW {name}")


async def _fit_staging(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> None:
    """Make the staging tables anew whose raw table has other columns or types by now, or that are
    laid out as they once were.

    A fetch that is under way starts over.
    """
    tables = (await survey(Connection(connection), schema)).tables
    for endpoint in STAGED:
        table = warehouse_table(endpoint, tables[TABLES[endpoint].name], schema)
        types = {
            row["column"]: row["type"]
            for row in await connection.fetch(STAGING_COLUMNS, table.stage)
        }
        # Where a look at a few columns has to step over all the others first, the staging table is
        # of an older make.
        if not is_staged(table, types) or next(iter(types)) != "fetch_id":
            columns = ", ".join(
                f"{quote(name)} {sql_type}" for name, sql_type in staged_columns(table).items()
            )
            # The date first: an account with more trades than one transaction takes is written by
            # stretches of dates.
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
                await _lock(connection)
                await connection.execute(
                    fill(load_queries("staging", schema)["create_staging"], **tokens)
                )


async def _ensure_ledger(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> None:
    if not await connection.fetchval(_STANDS, schema, "recon_migrations"):
        if not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema
        ):
            await connection.execute(f"CREATE SCHEMA {quote(schema)}")
        await keep_state(Connection(connection), schema)
        await connection.execute(
            for_schema(
                "CREATE TABLE prop_trading_model.recon_migrations (name text PRIMARY KEY, adopted"
                " boolean NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
                schema,
            )
        )
