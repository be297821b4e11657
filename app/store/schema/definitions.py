"""Our functions, views and columns, compared with their recorded definitions.

The earlier system's migrations replace them; `migrate` restores ours.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.domain.contract.tables import TABLES
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
"""Objects of an earlier system that ours replace."""
FUNCTIONS = tuple(name for name in TAKEN_OVER if name.startswith(("update_", "get_")))
"""Functions that the earlier system has, too."""
_VIEWS = ("v_reconciliation_progress", "mv_all_account_ids")
MADE_AGAIN = ("function", "view", "materialized view", "index")
_IS_KEPT = "SELECT to_regclass($1) IS NOT NULL"
_VERSION = "SELECT current_setting('server_version_num')::integer / 10000"


class DefinitionChange(StrEnum):
    """How an object of ours changed."""

    REPLACED = "replaced"
    MISSING = "missing"
    BESIDE = "beside"
    ALTERED = "altered"


@dataclass(frozen=True, slots=True)
class Stray:
    """A changed object, as recorded (`kept`) and at present."""

    change: DefinitionChange
    kind: str
    name: str
    kept: Record | None
    present: Record | None

    @property
    def sentence(self) -> str:
        """What became of the object, without a full stop."""
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
    """Strays, and new triggers."""

    strays: list[Stray]
    new_triggers: list[str]


async def compare(connection: Connection, schema: str) -> Compared:
    """Compare our objects with their records; sets the transaction's search path."""
    sql = load_queries("schema/definitions", schema)
    present = await _present(connection, sql)
    if not await connection.fetch_value(_IS_KEPT, f"{quote(schema)}.recon_definitions"):
        is_ours = await is_taken_over(connection, schema)
        return Compared(_by_signature(present) if is_ours else [], [])
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
        strays += _replaced_indexes(kept, present, {stray.name for stray in strays})
    strays += [
        _beside(row)
        for key, row in present.items()
        if row["kind"] == "function" and row["plain"] in FUNCTIONS and key not in plain
    ]
    triggers = [name for kind, name in present if kind == "trigger" and (kind, name) not in plain]
    return Compared(strays, sorted(triggers))


async def is_taken_over(connection: Connection, schema: str) -> bool:
    """Whether the shared names are ours."""
    return bool(
        await connection.fetch_value(load_queries("schema/definitions", schema)["is_taken_over"])
    )


def _by_signature(present: Mapping[tuple[str, str], Record]) -> list[Stray]:
    """The earlier system's functions, if no definitions were recorded."""
    own = {f"{FUNCTIONS[0]}(text)", f"{FUNCTIONS[1]}()"}
    return [
        _beside(row)
        for row in present.values()
        if row["plain"] in FUNCTIONS and row["name"] not in own
    ]


def _replaced_indexes(
    kept: Sequence[Record], present: Mapping[tuple[str, str], Record], found: Collection[str]
) -> list[Stray]:
    """Indexes of a replaced materialized view."""
    return [
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
    now = present.get((kind, name)) or (relations.get(name) if kind in MADE_AGAIN else None)
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
    """Record the present definitions."""
    if not await connection.fetch_value(_IS_KEPT, f"{quote(schema)}.recon_definitions"):
        return
    sql = load_queries("schema/definitions", schema)
    kinds = (*MADE_AGAIN, "column", "trigger")
    present = [
        {name: row[name] for name in ("kind", "name", "definition", "beside", "made")}
        for row in (await _present(connection, sql)).values()
        if row["definition"] is not None and row["kind"] in kinds
    ]
    await connection.execute(
        sql["keep"], json.dumps(present), await connection.fetch_value(_VERSION)
    )
