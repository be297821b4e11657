"""The way back: the script that `trade-recon uninstall --print` writes, which takes trade-recon
away and gives back what stood before it.

Written from the catalogue in a read-only transaction; nothing is executed here.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.contract.tables import TABLES
from app.domain.wording.counts import counted
from app.errors import InvalidRequest
from app.store.database.pool import Database
from app.store.database.sql_text import comment, fitted, identifier, literal, qualified
from app.store.database.transaction import Record
from app.store.schema.definitions import FUNCTIONS, DefinitionChange, compare, is_taken_over
from app.store.schema.introspect import STATE_TABLE, own_names
from app.store.schema.state_rows import STATE_TYPES

_RAW = tuple(table.name for table in TABLES.values())
_KEPT = ("recon_earlier", "recon_earlier_trade_recon")
_VIEWS = ("v_reconciliation_progress", "mv_all_account_ids")
_EARLIER_COLUMNS = 17
"""So many columns of ours the earlier system's trade_recon has, too."""
_QUIET_SECONDS = 120
_FIRES: Mapping[str, str] = {"O": "", "A": "ALWAYS ", "R": "REPLICA "}
"""How a trigger or rule that is enabled is enabled again."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What the catalogue says, as far as the script needs it."""

    schema: str
    place: Record
    made_tables: Sequence[str]
    own: Sequence[Record]
    strange: Sequence[str]
    aside: Sequence[Record]
    earlier: Mapping[str, Any] | None
    state: Mapping[str, Any] | None
    references: Sequence[Record]
    indexes: Sequence[str]
    dependents: Sequence[Record]
    rights: Sequence[Record]


async def write_uninstall(database: Database, role: str) -> str:
    """The script for this warehouse, in which trade-recon may have connected as `role`.

    Raises InvalidRequest where trade-recon is not installed, DatabaseUnavailable, DatabaseError.
    """
    found = await _look(database, role)
    return (
        "".join(
            f"{part}\n" if part.startswith("--") else f"{part}\n\n" for part in _script(role, found)
        ).rstrip()
        + "\n"
    )


async def _look(database: Database, role: str) -> _Found:
    sql = database.queries("uninstall")
    relations, functions = own_names()
    stages = [
        f"recon_stage_{table.removeprefix('raw_metrics_').removeprefix('raw_trades_')}"
        for table in _RAW
    ]
    names = [*relations, *stages, *_KEPT, "recon_migrations", "recon_definitions"]
    async with database.transaction("repeatable_read") as connection:
        await connection.execute("SET TRANSACTION READ ONLY")
        # Names are then written with their schemas, whatever path the one has who runs the script.
        await connection.execute("SET LOCAL search_path = pg_catalog")
        [place] = await connection.fetch(sql["describe_place"], list(_RAW))
        if not place["is_migrated"]:
            raise InvalidRequest(
                f"trade-recon is not installed in the schema {database.schema}: there is nothing to"
                " take away."
            )
        if await is_taken_over(connection, database.schema):
            names, functions = [*names, *_VIEWS], [*functions, *FUNCTIONS]
        strays = (await compare(connection, database.schema)).strays
        returned = {row["oid"] for row in await connection.fetch(sql["list_returned"])}
        # What stands there in the form of what was put aside goes, since that gets its name back.
        strange = [
            stray.name
            for stray in strays
            if stray.change in (DefinitionChange.REPLACED, DefinitionChange.BESIDE)
            and not (stray.present and stray.present["made"] in returned)
        ]
        facts = await connection.fetch_value(sql["get_earlier"]) if place["is_kept"] else None
        state = await connection.fetch_value(sql["describe_state"])
        earlier, now = (json.loads(each) if each else None for each in (facts, state))
        stays = bool(facts or place["stood_before"])
        return _Found(
            schema=database.schema,
            place=place,
            made_tables=[
                row["name"] for row in await connection.fetch(sql["list_made_tables"], list(_RAW))
            ],
            own=[
                row
                for row in await connection.fetch(sql["list_own"], names, functions)
                if row["name"] not in strange
            ],
            strange=strange,
            aside=await connection.fetch(sql["list_aside"]),
            earlier=earlier,
            state=now,
            references=await connection.fetch(database.queries("adoption")["list_references"]),
            indexes=[
                row["identity"] for row in await connection.fetch(sql["list_indexes"], list(_RAW))
            ],
            dependents=await connection.fetch(
                sql["list_dependents"],
                names if stays else [*names, STATE_TABLE],
                functions,
                _columns_that_go(earlier, now) if stays else [],
            ),
            rights=await connection.fetch(
                sql["list_rights"], role, list(_RAW), fitted(role, "all_rows")
            ),
        )


def _script(role: str, found: _Found) -> Iterator[str]:
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
    yield from _state(role, found)
    tables = [row["identity"] for row in found.own if row["kind"] == "TABLE"]
    yield f"DROP TABLE {', '.join(tables)};"
    if found.indexes:
        yield comment("Indexes of the script that trade-recon migrate --print wrote.")
        yield f"DROP INDEX {', '.join(found.indexes)};"
    if back:
        yield comment("What trade-recon had put aside gets its name back.")
        yield from _names_back(role, found, back)
    if found.rights:
        yield comment(f"What the role {role} was given.")
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


def _header(found: _Found, back: Sequence[Record]) -> Iterator[str]:
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


def _comes_back(row: Record, found: _Found) -> bool:
    """Whether it gets its former name, which of functions has arguments: the first that was put
    aside, where nothing else has it now.
    """
    former = f"{row['former']}({row['arguments']})" if row["kind"] == "ROUTINE" else row["former"]
    return row["place"] == 1 and row["kind"] != "INDEX" and former not in found.strange


def _is_copy(row: Record) -> bool:
    """Whether it was put aside later in the form of the first."""
    return bool(row["place"] > 1 and row["is_same"] and row["kind"] != "INDEX")


def _names_back(role: str, found: _Found, back: Sequence[Record]) -> Iterator[str]:
    owner = found.place["raw_owner"]
    renamed = {row["identity"] for row in back}
    # Copies that are the same as what comes back go.
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


def _state(role: str, found: _Found) -> Iterator[str]:
    table, now = qualified(found.schema, STATE_TABLE), found.state
    if now is None:
        return
    if found.earlier is None and not found.place["stood_before"]:
        yield f"DROP TABLE {table};"
        return
    yield comment(f"{STATE_TABLE} as it was.")
    there = {column["name"]: column for column in now["columns"]}
    before = (
        {column["name"]: column for column in found.earlier["columns"]} if found.earlier else {}
    )
    changes = [f"DROP COLUMN {identifier(name)}" for name in _columns_that_go(found.earlier, now)]
    changes += [
        change
        for name, column in before.items()
        if name in there
        for change in _column_back(column, there[name])
    ]
    if changes:
        listed = ",\n    ".join(changes)
        yield f"ALTER TABLE {table}\n    {listed};"
    owner = found.place["raw_owner"]
    if now["owner"] == role and owner not in (None, role):
        yield f"ALTER TABLE {table} OWNER TO {identifier(owner)};"
    if found.earlier is None:
        return
    yield from _options(table, found.earlier["options"], now["options"])
    for name, column in before.items():
        if name in there and column["comment"] != there[name]["comment"]:
            said = "NULL" if column["comment"] is None else literal(column["comment"])
            yield f"COMMENT ON COLUMN {table}.{identifier(name)} IS {said};"
    columns = [name for name, column in before.items() if name in there and not column["generated"]]
    yield from _quietly(table, now, _rows(found, columns))


def _rows(found: _Found, columns: Sequence[str]) -> Iterator[str]:
    """Make the rows as the copy has them; only those that differ are written, since others refer to
    them.
    """
    table, kept = (
        qualified(found.schema, STATE_TABLE),
        qualified(found.schema, "recon_earlier_trade_recon"),
    )
    now = found.state or {}
    listed = ", ".join(identifier(name) for name in columns)
    referred = "".join(
        f"\n  AND NOT EXISTS (SELECT FROM {each['table']} AS r WHERE {each['condition']})"
        for each in found.references
    )
    yield (
        f"DELETE FROM {table} AS t WHERE NOT EXISTS (SELECT FROM {kept} AS k WHERE k.account_id ="
        f" t.account_id){referred};"
    )
    fixed = {column["name"] for column in now["columns"] if column["is_always_identity"]}
    changed = [identifier(name) for name in columns if name != "account_id" and name not in fixed]
    if changed:
        assigned = ", ".join(f"{name} = k.{name}" for name in changed)
        # As texts, since not every type has an equality.
        texts, of_kept = (
            ", ".join(f"{row}.{name}::text" for name in changed) for row in ("t", "k")
        )
        differ = f"ROW({texts}) IS DISTINCT FROM ROW({of_kept})"
        yield (
            f"UPDATE {table} AS t SET {assigned}\nFROM {kept} AS k\nWHERE k.account_id ="
            f" t.account_id AND {differ};"
        )
    missing = f"NOT EXISTS (SELECT FROM {table} AS t WHERE t.account_id = k.account_id)"
    yield (
        f"INSERT INTO {table} ({listed}) OVERRIDING SYSTEM VALUE\nSELECT {listed} FROM {kept} AS k"
        f" WHERE {missing};"
    )


def _quietly(table: str, now: Mapping[str, Any], statements: Iterator[str]) -> Iterator[str]:
    """Statements during which no trigger, rule or policy of the owner acts, and no constraint that
    old rows need not meet refuses them.
    """
    before, after = list[str](), list[str]()
    if now["is_forced"]:
        before.append(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY;")
        after.append(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY;")
    for each in now["firing"]:
        name = f"{each['kind']} {identifier(each['name'])}"
        before.append(f"ALTER TABLE {table} DISABLE {name};")
        after.append(f"ALTER TABLE {table} ENABLE {_FIRES[each['enabled']]}{name};")
    for each in now["unproven"]:
        name = identifier(each["name"])
        before.append(f"ALTER TABLE {table} DROP CONSTRAINT {name};")
        after.append(f"ALTER TABLE {table} ADD CONSTRAINT {name} {each['definition']};")
        if each["comment"] is not None:
            after.append(f"COMMENT ON CONSTRAINT {name} ON {table} IS {literal(each['comment'])};")
    if before:
        yield comment(
            "What the owner of the table let fire on its rows stands still meanwhile, and is as it"
            " was afterwards."
        )
        yield "\n".join(before)
    yield from statements
    if after:
        yield "\n".join(after)


def _columns_that_go(earlier: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> list[str]:
    """The columns that trade-recon added to a trade_recon that stays; without a copy of it, those
    that the earlier system's has not.
    """
    there = {column["name"] for column in now["columns"]} if now else set()
    known = (
        {column["name"] for column in earlier["columns"]}
        if earlier
        else set(list(STATE_TYPES)[:_EARLIER_COLUMNS])
    )
    return [name for name in STATE_TYPES if name in there and name not in known]


def _column_back(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    name = identifier(before["name"])
    if before["default"] != now["default"] and not before["generated"]:
        default = before["default"]
        change = "DROP DEFAULT" if default is None else f"SET DEFAULT {default}"
        yield f"ALTER COLUMN {name} {change}"
    if before["not_null"] != now["not_null"]:
        yield f"ALTER COLUMN {name} {'SET' if before['not_null'] else 'DROP'} NOT NULL"


def _options(table: str, before: Sequence[str], now: Sequence[str]) -> Iterator[str]:
    had, has = (dict(option.split("=", 1) for option in options) for options in (before, now))
    gone = [identifier(name) for name in has if name not in had]
    changed = [
        f"{identifier(name)} = {literal(value)}"
        for name, value in had.items()
        if has.get(name) != value
    ]
    if gone:
        yield f"ALTER TABLE {table} RESET ({', '.join(gone)});"
    if changed:
        yield f"ALTER TABLE {table} SET ({', '.join(changed)});"


def _rights(role: str, rights: Sequence[Record]) -> Iterator[str]:
    for row in rights:
        if row["kind"] == "POLICY":
            yield f"DROP POLICY {row['policy']} ON {row['identity']};"
        else:
            yield f"REVOKE ALL ON {row['kind']} {row['identity']} FROM {identifier(role)};"
