"""Adds and removes rows of trade_recon; its owner's foreign keys and triggers may reject some.

A rejection costs its row alone, found by bisection.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.errors import DatabaseError, RowRefused
from app.store.database.pool import Database
from app.store.database.queries import fill, load_queries
from app.store.database.sql_text import literal
from app.store.database.transaction import SWEEP_SECONDS, Connection, Record

_PATIENCE = 200
"""Rejected rows isolated; then their neighbours wait."""
_REFUSING = (RowRefused, DatabaseError)


@dataclass(frozen=True, slots=True)
class Tried:
    """Rows written, and rejected accounts with reasons."""

    rows: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)


class Entries:
    """Adds and drops rows in the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._schema = database.schema
        self._sql = database.queries("schema/state_entries")

    async def add(self, connection: Connection, source: str, *parameters: object) -> Tried:
        """Add the accounts of the query `source`."""
        gates = await connection.fetch(self._sql["list_gates"])
        let_in = " AND ".join(gate["condition"] for gate in gates) or "true"
        reasons = "".join(
            f" WHEN NOT {gate['condition']} THEN {literal(gate['reason'])}" for gate in gates
        )
        listed = fill(
            self._sql["list_new_entries"],
            source=source,
            reasons=f"CASE{reasons} END" if gates else "NULL::text",
        )
        kept_out = []
        if gates:
            kept_out = [
                row
                for row in await connection.fetch(listed, *parameters, seconds=SWEEP_SECONDS)
                if row["reason"] is not None
            ]
        statement = fill(self._sql["add_entries"], source=source, gates=let_in)
        # A deferred constraint would reject all rows at the commit.
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        try:
            async with connection.savepoint():
                tried = Tried(
                    await connection.execute(statement, *parameters, seconds=SWEEP_SECONDS)
                )
        except _REFUSING:
            new = [
                row["account_id"]
                for row in await connection.fetch(listed, *parameters, seconds=SWEEP_SECONDS)
                if row["reason"] is None
            ]
            tried = await piecewise(connection, self._sql["add_some_entries"], new)
        return Tried(
            tried.rows, {**tried.refused, **{row["account_id"]: row["reason"] for row in kept_out}}
        )

    async def may_go(self, connection: Connection) -> str:
        """The condition that no other table refers to t."""
        conditions = list[str]()
        for row in await list_references(connection, self._schema):
            if row["is_readable"]:
                conditions.append(
                    f"NOT EXISTS (SELECT FROM {row['table']} AS r WHERE {row['condition']})"
                )
            elif row["acts"]:
                # Rows that would be deleted with it cannot be seen.
                return "false"
        return " AND ".join(conditions) or "true"

    async def drop(self, connection: Connection, account_ids: Sequence[str]) -> Tried:
        """Drop entries that are no accounts."""
        if not account_ids:
            return Tried()
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        return await piecewise(connection, self._sql["drop_some_entries"], account_ids)


async def piecewise(connection: Connection, statement: str, account_ids: Sequence[str]) -> Tried:
    """Run a statement on accounts, bisecting rejections."""
    rows, refused, waiting, alone = (
        0,
        dict[str, str](),
        [list(account_ids)] if account_ids else [],
        0,
    )
    while waiting:
        part = waiting.pop()
        try:
            async with connection.savepoint():
                rows += await connection.execute(statement, part, seconds=SWEEP_SECONDS)
        except _REFUSING as error:
            if len(part) > 1 and alone < _PATIENCE:
                waiting += [part[len(part) // 2 :], part[: len(part) // 2]]
            else:
                alone += len(part) == 1
                refused.update(dict.fromkeys(part, str(error)))
    return Tried(rows, refused)


async def list_references(connection: Connection, schema: str) -> list[Record]:
    """Foreign keys of the owner's tables to trade_recon."""
    statement = load_queries("schema/state_entries", schema)["list_references"]
    return await connection.fetch(statement)
