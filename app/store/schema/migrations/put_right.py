"""Restores changed objects of ours."""

import json
from collections.abc import Iterable, Mapping

from app.errors import DatabaseError
from app.store.database.queries import load_queries, quote
from app.store.database.transaction import Connection, Record
from app.store.schema.definitions import MADE_AGAIN, Stray
from app.store.schema.introspect import STATE_TABLE


async def put_right(connection: Connection, schema: str, strays: Iterable[Stray]) -> list[str]:
    """Put strange objects aside and restore ours; sentences on each."""
    sql, done = load_queries("schema/migrations/put_right", schema), list[str]()
    # Indexes first: those of a materialized view disappear with it.
    strays = sorted(strays, key=lambda stray: stray.kind != "index")
    for stray in strays:
        if stray.present is not None and stray.kind != "column":
            done.append(await _put_aside(connection, sql, stray.present))
    columns = [stray for stray in strays if stray.kind == "column"]
    if columns:
        done += await _restore_columns(connection, schema, columns)
    for stray in sorted(
        strays, key=lambda stray: MADE_AGAIN.index(stray.kind) if stray.kind in MADE_AGAIN else -1
    ):
        if stray.kept is None or stray.kind == "column":
            continue
        await connection.execute(_statement(stray.kept, schema))
        for statement in stray.kept["beside"]:
            # It may grant a right to a role that no longer exists.
            await _try(connection, statement)
        done.append(f"Made the {stray.kind} {stray.name} again.")
    return done


def _statement(kept: Record, schema: str) -> str:
    match kept["kind"]:
        case "view":
            return f"CREATE VIEW {quote(schema)}.{quote(kept['name'])} AS {kept['definition']}"
        case "materialized view":
            return (
                f"CREATE MATERIALIZED VIEW {quote(schema)}.{quote(kept['name'])} AS"
                f" {kept['definition'].rstrip().rstrip(';')} WITH NO DATA"
            )
        case _:
            return str(kept["definition"])


async def _put_aside(connection: Connection, sql: Mapping[str, str], strange: Record) -> str:
    """Rename it, or drop it if an equal one is aside and nothing depends on it."""
    kind = strange["kind"]
    if await connection.fetch_value(sql["is_aside_already"], strange["made"]) and await _try(
        connection, f"DROP {kind.upper()} {strange['identity']}"
    ):
        return f"Dropped the {kind} {strange['name']}, which was put aside in the same form before."
    free = await connection.fetch_value(sql["get_free_name"], strange["plain"])
    await connection.execute(f"ALTER {kind.upper()} {strange['identity']} RENAME TO {quote(free)}")
    return f"Put the {kind} {strange['name']} aside as {free}."


async def _restore_columns(
    connection: Connection, schema: str, columns: Iterable[Stray]
) -> list[str]:
    table, done = f"{quote(schema)}.{STATE_TABLE}", list[str]()
    await connection.execute(
        f"CREATE TABLE IF NOT EXISTS {table} (account_id varchar(255) PRIMARY KEY)"
    )
    await connection.execute(f"ALTER TABLE {table} SET (fillfactor = 40)")
    for stray in columns:
        if stray.kept is None:
            continue
        column, wanted = quote(stray.name), json.loads(stray.kept["definition"])
        if stray.present is None:
            await connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {wanted['type']}")
        default = wanted["default"]
        await connection.execute(
            f"ALTER TABLE {table} ALTER COLUMN {column}"
            f" {'DROP DEFAULT' if default is None else f'SET DEFAULT {default}'}"
        )
        if default is not None:
            await connection.execute(
                f"UPDATE {table} SET {column} = {default} WHERE {column} IS NULL"
            )
        await connection.execute(
            f"ALTER TABLE {table} ALTER COLUMN {column} {'SET' if wanted['not_null'] else 'DROP'}"
            " NOT NULL"
        )
        done.append(f"Gave trade_recon its column {stray.name} again.")
    return done


async def _try(connection: Connection, statement: str) -> bool:
    """Whether PostgreSQL executes it."""
    try:
        async with connection.savepoint():
            await connection.execute(statement)
    except DatabaseError:
        return False
    return True
