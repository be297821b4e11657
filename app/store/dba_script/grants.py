"""Statements that give a role trade-recon's rights. Pure: no I/O."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from app.store.database.sql_text import (
    block,
    comment,
    fitted,
    identifier,
    literal,
    plain_qualified,
    qualified,
)
from app.store.dba_script.index_needs import IndexedTable

_SETS_ROLE = 160_000
"""From PostgreSQL 16 on, membership may exclude SET ROLE."""
_IDS_ONLY = "raw_trades_open"
_KINDS = {"r": "TABLE", "p": "TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW", "function": "FUNCTION"}


@dataclass(frozen=True, slots=True)
class GrantPlace:
    """The warehouse's place; `schema_owner` None: no such schema."""

    version: int
    database: str
    schema: str
    schema_owner: str | None


@dataclass(frozen=True, slots=True)
class Object:
    """An object to own; `kind` is PostgreSQL's letter or `function`."""

    kind: str
    name: str
    arguments: str | None
    owner: str
    has_row_security: bool


@dataclass(frozen=True, slots=True)
class Caution:
    """A `trigger` or restrictive `policy` that may stand in the way whatever is granted."""

    kind: str
    name: str
    schema: str
    table: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Tables, objects to own, sequences, cautions."""

    place: GrantPlace
    tables: Sequence[IndexedTable]
    objects: Sequence[Object]
    sequences: Sequence[tuple[str, str]]
    cautions: Sequence[Caution]


def advise_role(role: str, found: Surroundings) -> Iterator[str]:
    """Statements for role, schema, tables, ownership."""
    place, name = found.place, identifier(role)
    yield comment(
        "It logs in, and has no password yet: the owner of the server gives it one by ALTER ROLE"
        " ... PASSWORD."
    )
    yield block(
        f"IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal(role)}) THEN",
        f"    CREATE ROLE {name} LOGIN;",
        "END IF;",
    )
    yield comment(
        "TEMPORARY: a materialized view is refreshed beside its readers through a temporary table."
    )
    yield f"GRANT CONNECT, TEMPORARY ON DATABASE {identifier(place.database)} TO {name};"
    if place.schema_owner is None:
        yield f"CREATE SCHEMA IF NOT EXISTS {identifier(place.schema)};"
    yield comment(
        "CREATE: trade-recon migrate makes trade-recon's own tables here. It may be revoked after"
        " each migrate."
    )
    yield f"GRANT USAGE, CREATE ON SCHEMA {identifier(place.schema)} TO {name};"
    yield from _raw_tables(role, found)
    if found.objects:
        yield from _ownership(role, found)


def _raw_tables(role: str, found: Surroundings) -> Iterator[str]:
    name = identifier(role)
    for table in found.tables:
        if table.owner == role:
            continue
        rights = "SELECT, UPDATE" if table.name == _IDS_ONLY else "SELECT, INSERT, UPDATE, DELETE"
        yield f"GRANT {rights} ON TABLE {table.qualified} TO {name};"
        if table.has_row_security:
            yield comment("Rows that row-level security hides would read as missing.")
            yield _policy(role, (role,), table.schema, table.name)
    for schema, sequence in found.sequences:
        yield f"GRANT USAGE ON SEQUENCE {qualified(schema, sequence)} TO {name};"
    for caution in found.cautions:
        what = f"{identifier(caution.name)} of {qualified(caution.schema, caution.table)}"
        if caution.kind == "trigger":
            yield comment(
                f"The trigger {what} acts with the rights of the writing role: tables that it"
                f" writes to need grants to {name} too."
            )
        else:
            yield comment(
                f"The restrictive policy {what} may still hide rows from {name}: exempt the role"
                " there."
            )


def _ownership(role: str, found: Surroundings) -> Iterator[str]:
    name, place = identifier(role), found.place
    yield comment(
        "Only an owner can refresh a materialized view, replace a function or analyse a table:"
        " these become the role's, and their",
        "owners keep every right on them. To hand them over one must be able to act as the role,"
        " which this grants you if need be.",
    )
    ways = ("SET", "USAGE") if place.version >= _SETS_ROLE else ("USAGE",)
    able = " AND ".join(f"pg_has_role(current_user, {literal(role)}, '{way}')" for way in ways)
    yield block(f"IF NOT ({able}) THEN", f"    GRANT {name} TO CURRENT_USER;", "END IF;")
    for each in found.objects:
        target, granted, found_by = qualified(place.schema, each.name), "TABLE", "to_regclass"
        value = plain_qualified(place.schema, each.name)
        if each.arguments is not None:
            target, granted, found_by, value = (
                f"{target}({each.arguments})",
                "FUNCTION",
                "to_regprocedure",
                f"{value}({each.arguments})",
            )
        # In one block, so that the old owner keeps access whatever fails. The object may be gone,
        # put aside by migrate.
        yield block(
            f"IF {found_by}({literal(value)}) IS NOT NULL THEN",
            f"    ALTER {_KINDS[each.kind]} {target} OWNER TO {name};",
            f"    GRANT ALL ON {granted} {target} TO {identifier(each.owner)};",
            "END IF;",
        )
        if each.has_row_security:
            yield _policy(role, (role, each.owner), place.schema, each.name)


def _policy(role: str, roles: Collection[str], schema: str, table: str) -> str:
    policy = fitted(role, "all_rows")
    whom = ", ".join(identifier(each) for each in roles)
    return block(
        f"IF NOT EXISTS (SELECT FROM pg_policies WHERE schemaname = {literal(schema)} AND tablename"
        f" = {literal(table)} AND policyname = {literal(policy)}) THEN",
        f"    CREATE POLICY {identifier(policy)} ON {qualified(schema, table)} TO {whom} USING"
        " (true) WITH CHECK (true);",
        "END IF;",
    )
