"""Our own functions, views and columns as migrations left them, and those that somebody replaced,
dropped or put beside since.

The earlier system's migrations, run again, bring its functions back under the names that ours have.
What is found is named; `migrate` puts the strange object aside under another name and makes ours
again.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.domain.contract.tables import TABLES
from app.errors import DatabaseError
from app.store.database.queries import load_queries, quote
from app.store.database.transaction import Connection, Record
from app.store.schema.introspect import STATE_TABLE, own_names
from app.store.schema.state_rows import STATE_TYPES

TAKEN_OVER = (
    "trade_recon",
    "update_trade_recon_stats",
    "get_issue_statistics",
    "v_reconciliation_progress",
    "mv_all_account_ids",
)
"""Tables, views and functions of an earlier system whose place trade-recon's own take."""
FUNCTIONS = tuple(name for name in TAKEN_OVER if name.startswith(("update_", "get_")))
"""The functions whose names the earlier system has, too."""
_VIEWS = ("v_reconciliation_progress", "mv_all_account_ids")
_MADE_AGAIN = ("function", "view", "materialized view", "index")
_IS_KEPT = "SELECT to_regclass($1) IS NOT NULL"
_VERSION = "SELECT current_setting('server_version_num')::integer / 10000"


class DefinitionChange(StrEnum):
    """What became of an object of ours."""

    REPLACED = "replaced"
    MISSING = "missing"
    BESIDE = "beside"
    ALTERED = "altered"


@dataclass(frozen=True, slots=True)
class Stray:
    """An object that is not as migrations left it; `kept` is its definition then, `present` what
    stands there now.
    """

    change: DefinitionChange
    kind: str
    name: str
    kept: Record | None
    present: Record | None

    @property
    def sentence(self) -> str:
        """What was found, without a full stop."""
        what = f"the {self.kind} {self.name}"
        match self.change:
            case DefinitionChange.BESIDE:
                return (
                    f"{what} stands beside trade-recon's own of that name: the earlier system's"
                    " migrations were run again, most likely"
                )
            case DefinitionChange.REPLACED:
                now = (
                    ""
                    if self.present is None or self.present["kind"] == self.kind
                    else f" by a {self.present['kind']}"
                )
                return (
                    f"{what} is not trade-recon's any more: it was replaced{now}, as the earlier"
                    " system's migrations do"
                )
            case DefinitionChange.MISSING:
                return (
                    f"{what}{' of trade_recon' if self.kind == 'column' else ''} of trade-recon's"
                    " is missing"
                )
            case DefinitionChange.ALTERED:
                return (
                    f"{what} of trade_recon has another type, default or NOT NULL than trade-recon"
                    " gave it"
                )


@dataclass(frozen=True, slots=True)
class Compared:
    """What differs from the definitions that were kept, and triggers that are new since."""

    strays: list[Stray]
    new_triggers: list[str]


async def compare(connection: Connection, schema: str) -> Compared:
    """Compare our objects with their kept definitions, in a transaction of the caller's, whose
    search path this sets.
    """
    sql = load_queries("definitions", schema)
    present = await _present(connection, sql)
    if not await connection.fetch_value(_IS_KEPT, f"{quote(schema)}.recon_definitions"):
        if not await is_taken_over(connection, schema):
            return Compared([], [])
        # An earlier version kept none: the signatures alone tell.
        own = {f"{FUNCTIONS[0]}(text)", f"{FUNCTIONS[1]}()"}
        return Compared(
            [
                _beside(row)
                for row in present.values()
                if row["plain"] in FUNCTIONS and row["name"] not in own
            ],
            [],
        )
    kept = await connection.fetch(sql["get_kept"])
    if not kept:
        return Compared([], [])
    version = await connection.fetch_value(_VERSION)
    plain = {(row["kind"], row["name"]) for row in kept}
    relations = {
        row["name"]: row
        for (kind, _), row in present.items()
        if kind not in ("function", "column", "trigger")
    }
    strays = [
        stray for row in kept if (stray := _judged(row, present, relations, version)) is not None
    ]
    if any(stray.kind == "materialized view" for stray in strays):
        # Its index goes with it, under whatever name.
        found = {stray.name for stray in strays}
        strays += [
            Stray(
                DefinitionChange.REPLACED,
                "index",
                row["name"],
                row,
                present.get(("index", row["name"])),
            )
            for row in kept
            if row["kind"] == "index" and row["name"] not in found
        ]
    strays += [
        _beside(row)
        for key, row in present.items()
        if row["kind"] == "function" and row["plain"] in FUNCTIONS and key not in plain
    ]
    triggers = [name for kind, name in present if kind == "trigger" and (kind, name) not in plain]
    return Compared(strays, sorted(triggers))


async def is_taken_over(connection: Connection, schema: str) -> bool:
    """Whether the names that the earlier system has, too, are ours by now: a migration that broke
    off may have left them to it.
    """
    return bool(await connection.fetch_value(load_queries("definitions", schema)["is_taken_over"]))


def _beside(row: Record) -> Stray:
    return Stray(DefinitionChange.BESIDE, row["kind"], row["name"], None, row)


def _judged(
    kept: Record,
    present: Mapping[tuple[str, str], Record],
    relations: Mapping[str, Record],
    version: int,
) -> Stray | None:
    kind, name = kept["kind"], kept["name"]
    if kind == "trigger":
        return None  # not ours
    now = present.get((kind, name)) or (relations.get(name) if kind in _MADE_AGAIN else None)
    if now is None:
        return Stray(DefinitionChange.MISSING, kind, name, kept, None)
    # Another version of PostgreSQL may write the same definition otherwise.
    if now["kind"] == kind and (
        now["definition"] == kept["definition"] or kept["server"] != version
    ):
        return None
    return Stray(
        DefinitionChange.ALTERED if kind == "column" else DefinitionChange.REPLACED,
        kind,
        name,
        kept,
        now,
    )


async def _present(connection: Connection, sql: Mapping[str, str]) -> dict[tuple[str, str], Record]:
    await connection.execute(sql["set_path"])
    relations, functions = own_names()
    tables = [*(table.name for table in TABLES.values()), STATE_TABLE]
    views = [name for name in relations if name.startswith("v_")]
    columns = [name for name in STATE_TYPES if name != "account_id"]
    rows = await connection.fetch(
        sql["list_present"], [*views, *_VIEWS], [*functions, *FUNCTIONS], columns, tables
    )
    return {(row["kind"], row["name"]): row for row in rows}


async def keep(connection: Connection, schema: str) -> None:
    """Keep the definitions as they stand, which is as migrations left them; nothing before the
    migration that makes the table for it.
    """
    if not await connection.fetch_value(_IS_KEPT, f"{quote(schema)}.recon_definitions"):
        return
    sql = load_queries("definitions", schema)
    kinds = (*_MADE_AGAIN, "column", "trigger")
    present = [
        {name: row[name] for name in ("kind", "name", "definition", "beside", "made")}
        for row in (await _present(connection, sql)).values()
        if row["definition"] is not None and row["kind"] in kinds
    ]
    await connection.execute(
        sql["keep"], json.dumps(present), await connection.fetch_value(_VERSION)
    )


async def put_right(connection: Connection, schema: str, strays: Iterable[Stray]) -> list[str]:
    """Put strange objects aside and make ours again, in a transaction of the caller's; what was
    done, a sentence each.
    """
    sql, done = load_queries("definitions", schema), list[str]()
    # Indexes first: those of a list that goes are gone with it.
    strays = sorted(strays, key=lambda stray: stray.kind != "index")
    for stray in strays:
        if stray.present is not None and stray.kind != "column":
            done.append(await _put_aside(connection, sql, stray.present))
    columns = [stray for stray in strays if stray.kind == "column"]
    if columns:
        done += await _restore_columns(connection, schema, columns)
    for stray in sorted(
        strays, key=lambda stray: _MADE_AGAIN.index(stray.kind) if stray.kind in _MADE_AGAIN else -1
    ):
        if stray.kept is None or stray.kind == "column":
            continue
        await connection.execute(_statement(stray.kept, schema))
        for statement in stray.kept["beside"]:
            # A role that had a right may be gone.
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
    """Rename it; what was put aside before in just this form goes, unless something stands on
    it.
    """
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
    """Whether PostgreSQL did it; where it refused, nothing is left of it."""
    try:
        async with connection.savepoint():
            await connection.execute(statement)
    except DatabaseError:
        return False
    return True
