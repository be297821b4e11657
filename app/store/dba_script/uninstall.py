"""The script of `trade-recon uninstall --print`, made from the catalogue, read-only."""

from collections.abc import Iterator, Sequence

from app.domain.wording.counts import counted
from app.store.database.pool import Database
from app.store.database.sql_text import comment, identifier, qualified
from app.store.database.transaction import Record
from app.store.dba_script.installed import Installed, read_installed
from app.store.dba_script.state_back import state_back
from app.store.schema.introspect import STATE_TABLE

_QUIET_SECONDS = 120


async def write_uninstall(database: Database, role: str) -> str:
    """The script; `role` may have been trade-recon's.

    Raises InvalidRequest where it is not installed, DatabaseUnavailable, DatabaseError.
    """
    found = await read_installed(database, role)
    return (
        "".join(
            f"{part}\n" if part.startswith("--") else f"{part}\n\n" for part in _script(role, found)
        ).rstrip()
        + "\n"
    )


def _script(role: str, found: Installed) -> Iterator[str]:
    back = [row for row in found.aside if _comes_back(row, found)]
    yield comment(*_header(found, back))
    yield "BEGIN;"
    yield (
        "SET LOCAL lock_timeout = '10s';\nSET LOCAL statement_timeout = 0;\nSET LOCAL search_path ="
        " pg_catalog;"
    )
    yield "SET CONSTRAINTS ALL IMMEDIATE;"
    if any(row["name"] == "recon_workers" for row in found.own):
        yield _no_worker(found.schema)
    yield comment("trade-recon's own views, functions and tables.")
    for kind in ("MATERIALIZED VIEW", "VIEW", "FUNCTION"):
        if named := [row["identity"] for row in found.own if row["kind"] == kind]:
            yield f"DROP {kind} {', '.join(named)};"
    yield from state_back(role, found)
    tables = [row["identity"] for row in found.own if row["kind"] == "TABLE"]
    yield f"DROP TABLE {', '.join(tables)};"
    if found.indexes:
        yield comment("Indexes of the script that trade-recon migrate --print wrote.")
        yield f"DROP INDEX {', '.join(found.indexes)};"
    if back:
        yield comment("What trade-recon had put aside gets its name back.")
        yield from _names_back(role, found, back)
    if found.rights:
        yield comment(f"What the role {identifier(role)} was given.")
        yield from _rights(role, found.rights)
    yield "COMMIT;"
    if found.rights:
        yield comment(
            f"The role itself, once nothing else of it is left: DROP ROLE {identifier(role)};"
        )
    if found.made_tables:
        yield comment(
            "Tables that trade-recon made, since there were none, hold your rows and stay. To drop"
            " them, too:",
            f"DROP TABLE {', '.join(qualified(found.schema, name) for name in found.made_tables)};",
        )


def _header(found: Installed, back: Sequence[Record]) -> Iterator[str]:
    def number(kind: str) -> str:
        return counted(sum(row["kind"].endswith(kind) for row in found.own), kind.lower())

    schema, database = identifier(found.schema), identifier(found.place["database"])
    yield (
        f"Takes trade-recon away from the schema {schema} of the database {database}, in one"
        " transaction: all of it, or nothing."
    )
    yield (
        "Written by trade-recon uninstall --print, which executes nothing. Read it, end all"
        " processes of trade-recon, then run it as the"
    )
    yield (
        "owner of the tables or a superuser: psql -v ON_ERROR_STOP=1 -f FILE, which ends with an"
        " error where one statement cannot be"
    )
    yield "done. It begins and commits by itself: to try it, write ROLLBACK in place of its COMMIT."
    yield (
        f"It removes trade-recon's {number('TABLE')}, {number('VIEW')} and {number('FUNCTION')},"
        " with all that they hold: the history of"
    )
    yield (
        "runs and issues, and copies of rows that runs removed or overwrote (recon_removed_rows):"
        " restore first what you want back."
    )
    yield from _on_state(found)
    yield from _on_others(found, back)


def _on_state(found: Installed) -> Iterator[str]:
    if found.earlier is not None:
        yield (
            f"It gives back {STATE_TABLE} of the earlier system with its columns, defaults and rows"
            " as they were before trade-recon."
        )
        if found.references:
            referring = ", ".join(row["table"] for row in found.references)
            yield (
                f"Rows of {STATE_TABLE} that trade-recon added stay where others refer to them:"
                f" {referring}."
            )
    elif found.place["stood_before"]:
        yield (
            f"{STATE_TABLE} stood before trade-recon, and no copy of it was kept: it keeps its rows"
            " as they are now, and loses the"
        )
        yield "columns that trade-recon added; defaults and NOT NULLs that trade-recon set stay."
    else:
        yield f"It removes {STATE_TABLE}, which trade-recon made."


def _on_others(found: Installed, back: Sequence[Record]) -> Iterator[str]:
    if back:
        yield f"It gives back their names to: {', '.join(sorted({row['former'] for row in back}))}."
    yield (
        "It leaves all raw tables with their rows, and so the partitions that trade-recon made:"
        " they hold your rows."
    )
    if found.strange:
        yield (
            f"It leaves, since they are not trade-recon's own any more: {', '.join(found.strange)}."
        )
    if found.dependents:
        yield f"These are yours and stand on what goes; {'; '.join(_fates(found.dependents))}."
    left = [
        row["name"]
        for row in found.aside
        if row["kind"] != "INDEX" and row not in back and not _is_copy(row)
    ]
    if left:
        yield f"These stay under the names by which they were put aside: {', '.join(left)}."


def _fates(dependents: Sequence[Record]) -> Iterator[str]:
    for fate, goes in (("drop or change them first", False), ("these go with it", True)):
        if named := [row["dependent"] for row in dependents if row["goes"] is goes]:
            yield f"{fate}: {', '.join(named)}"


def _no_worker(schema: str) -> str:
    workers = qualified(schema, "recon_workers")
    return (
        f"DO $$\nBEGIN\n    IF EXISTS (SELECT FROM {workers} WHERE heartbeat_at > now() - interval"
        f" '{_QUIET_SECONDS} seconds') THEN\n        RAISE EXCEPTION 'A process of trade-recon"
        " works here, or did two minutes ago: end it first. Nothing was changed.';\n    END"
        " IF;\nEND\n$$;"
    )


def _comes_back(row: Record, found: Installed) -> bool:
    """Whether it gets its former name."""
    former = f"{row['former']}({row['arguments']})" if row["kind"] == "ROUTINE" else row["former"]
    return row["place"] == 1 and row["kind"] != "INDEX" and former not in found.strange


def _is_copy(row: Record) -> bool:
    return bool(row["place"] > 1 and row["is_same"] and row["kind"] != "INDEX")


def _names_back(role: str, found: Installed, back: Sequence[Record]) -> Iterator[str]:
    owner = found.place["raw_owner"]
    renamed = {row["identity"] for row in back}
    # Copies equal to a restored object are dropped.
    for row in found.aside:
        if _is_copy(row):
            yield f"DROP {row['kind']} {row['identity']};"
    for row in found.aside:
        if row["kind"] == "INDEX" and row["of_relation"] in renamed:
            yield f"ALTER INDEX {row['identity']} RENAME TO {identifier(row['former'])};"
    for row in back:
        if row["owner"] == role and owner not in (None, role):
            yield f"ALTER {row['kind']} {row['identity']} OWNER TO {identifier(owner)};"
        yield f"ALTER {row['kind']} {row['identity']} RENAME TO {identifier(row['former'])};"


def _rights(role: str, rights: Sequence[Record]) -> Iterator[str]:
    for row in rights:
        if row["kind"] == "POLICY":
            yield f"DROP POLICY {row['policy']} ON {row['identity']};"
        else:
            yield f"REVOKE ALL ON {row['kind']} {row['identity']} FROM {identifier(role)};"
