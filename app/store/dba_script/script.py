"""The script of `trade-recon migrate --print` for the tables' owner.

Made from the catalogue, read-only. Each statement may be repeated, outside a transaction, so that a
broken-off script can go on.
"""

from collections.abc import Collection, Iterator

from app.domain.contract.tables import TABLES
from app.errors import InvalidRequest
from app.store.database.pool import Database
from app.store.database.sql_text import LONGEST_NAME, comment, identifier, listed
from app.store.dba_script.grants import Caution, GrantPlace, Object, Surroundings, advise_role
from app.store.dba_script.index_needs import Index, IndexedTable, Warehouse
from app.store.dba_script.indexes import LOCK_SECONDS, advise_indexes
from app.store.schema.definitions import TAKEN_OVER


async def advise(database: Database, role: str) -> str:
    """The script for `role`.

    Raises InvalidRequest for an impossible role name, DatabaseUnavailable, DatabaseError.
    """
    if (
        not role.isprintable()
        or not 0 < len(role.encode()) <= LONGEST_NAME
        or role.startswith("pg_")
        or role in ("public", "none")
    ):
        raise InvalidRequest(
            f"A role cannot be called {role!r}: a name has 1 to {LONGEST_NAME} visible bytes and is"
            " not public, none or pg_something."
        )
    found, warehouse = await _read_catalogue(database, role)
    # A comment precedes its statement without a blank line.
    return (
        "".join(
            f"{part}\n" if part.startswith("--") else f"{part}\n\n"
            for part in _script(role, found, warehouse)
        ).rstrip()
        + "\n"
    )


async def _read_catalogue(database: Database, role: str) -> tuple[Surroundings, Warehouse]:
    sql = database.queries("dba_script/script")
    # Repeatable read: one snapshot of the catalogue, though partitions come and go.
    async with database.transaction("repeatable_read") as connection:
        # With this path types of arguments are written with their schemas, so that the script runs
        # under any path.
        await connection.execute("SET TRANSACTION READ ONLY")
        await connection.execute("SET LOCAL search_path = pg_catalog")
        [place] = await connection.fetch(sql["describe_place"])
        tables = [
            IndexedTable(**row)
            for row in await connection.fetch(
                sql["list_tables"], [table.name for table in TABLES.values()]
            )
        ]
        roots = [table for table in tables if table.parent is None]
        oids = [table.oid for table in roots]
        indexes = [
            Index(**row)
            for row in await connection.fetch(sql["list_indexes"], [table.oid for table in tables])
        ]
        names = await connection.fetch(
            sql["list_names"], sorted({table.schema for table in tables})
        )
        objects = await connection.fetch(sql["list_objects"], role, list(TAKEN_OVER))
        sequences = await connection.fetch(sql["list_sequences"], oids)
        cautions = await connection.fetch(
            sql["list_cautions"],
            oids,
            [table.schema for table in roots],
            [table.name for table in roots],
        )
    found = Surroundings(
        GrantPlace(schema=database.schema, **place),
        roots,
        [Object(**row) for row in objects],
        [(row["schema"], row["name"]) for row in sequences],
        [Caution(**row) for row in cautions],
    )
    return found, Warehouse(tables, indexes, [(row["schema"], row["name"]) for row in names])


def _script(role: str, found: Surroundings, warehouse: Warehouse) -> Iterator[str]:
    owners = {*warehouse.owners, *(each.owner for each in found.objects)} - {role}
    yield _heading(found.place, owners)
    yield (
        f"SET client_encoding = 'UTF8';\nSET lock_timeout = '{LOCK_SECONDS}s';\nSET"
        " statement_timeout = 0;"
    )
    yield comment("A role with the rights that trade-recon needs and no others.")
    yield from advise_role(role, found)
    advised = list(advise_indexes(warehouse))
    if not advised:
        yield comment(
            "No index is missing."
            if warehouse.roots
            else "The tables are not there yet: migrate makes them with their indexes."
        )
        return
    for advice in advised:
        yield from advice.statements
    yield comment("What the planner knows of the tables that got an index.")
    for target in dict.fromkeys(advice.table.qualified for advice in advised):
        yield f"ANALYZE {target};"


def _heading(place: GrantPlace, owners: Collection[str]) -> str:
    return comment(
        f"For the owner of the tables in schema {identifier(place.schema)} of database"
        f" {identifier(place.database)}:",
        "a role for trade-recon, and the indexes that its queries miss. Written from the catalogue"
        " by trade-recon migrate --print.",
        *(
            [
                (
                    "It must be run by a member of the owners of the objects that it alters:"
                    f" {listed(sorted(owners))}."
                )
            ]
            if owners
            else []
        ),
        "Run it in one session, without a transaction around it, and not through a transaction"
        " pooler. Each statement may be repeated.",
        "If a statement fails on the lock timeout, or the script is broken off, run it again: it"
        " goes on where it ended.",
    )
