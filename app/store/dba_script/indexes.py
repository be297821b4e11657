"""Statements that build missing indexes. Pure: no I/O.

So that ingestion goes on, a partitioned table's index is created on the parent alone, concurrently
on each partition, and attached.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from app.store.database.sql_text import (
    block,
    comment,
    identifier,
    literal,
    qualified,
    regclass,
)
from app.store.dba_script.index_needs import NEEDS, Index, IndexedTable, Need, Warehouse

LOCK_SECONDS = 3
"""Longest wait in a lock's queue, which blocks all behind it."""
_BUILD_WAIT = "1h"


@dataclass(frozen=True, slots=True)
class _Build:
    table: IndexedTable
    name: str


@dataclass(frozen=True, slots=True)
class _Attachment:
    parent: tuple[str, str]
    child: tuple[str, str]
    table: IndexedTable


@dataclass(slots=True)
class _Plan:
    parents: list[_Build] = field(default_factory=list)
    builds: list[_Build] = field(default_factory=list)
    attachments: list[_Attachment] = field(default_factory=list)
    broken: list[Index] = field(default_factory=list)
    foreign: list[IndexedTable] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.parents or self.builds or self.attachments or self.broken)


@dataclass(frozen=True, slots=True)
class IndexAdvice:
    """Statements for one index, and its table, to be analysed."""

    table: IndexedTable
    statements: Sequence[str]


def advise_indexes(warehouse: Warehouse, needs: Sequence[Need] = NEEDS) -> Iterator[IndexAdvice]:
    """Advice for each unserved need."""
    for need in needs:
        root = warehouse.roots.get(need.table)
        if root is None or not set(need.key) <= set(root.columns):
            continue
        begun = root.kind == "p" and any(
            need.is_built_as(index, root.columns) for index in warehouse.indexes(root)
        )
        if warehouse.serves(need, root) and not begun:
            continue
        plan = _Plan()
        _walk(warehouse, need, root, None, plan)
        if not plan.is_empty:
            yield IndexAdvice(root, list(_statements(need, root, plan)))


def _walk(
    warehouse: Warehouse,
    need: Need,
    table: IndexedTable,
    above: tuple[tuple[str, str], int | None] | None,
    plan: _Plan,
) -> None:
    """Plan a table and all below; `above` is the parent's index and its oid, if it exists."""
    if table.kind not in ("r", "p"):
        plan.foreign.append(table)
        return
    same = [index for index in warehouse.indexes(table) if need.is_built_as(index, table.columns)]
    attached = next(
        (
            index
            for index in same
            if above is not None and index.parent is not None and index.parent == above[1]
        ),
        None,
    )
    free = next(
        (index for index in same if index.parent is None and (index.is_valid or table.kind == "p")),
        None,
    )
    index = attached or free
    if index is None:
        name = warehouse.new_name(table, need)
        (plan.parents if table.kind == "p" else plan.builds).append(_Build(table, name))
    else:
        name = index.name
        if table.kind == "r" and not index.is_valid:
            plan.broken.append(index)
    if above is not None and attached is None:
        plan.attachments.append(_Attachment(above[0], (table.schema, name), table))
    for child in warehouse.children(table):
        _walk(warehouse, need, child, ((table.schema, name), index.oid if index else None), plan)


def _statements(need: Need, root: IndexedTable, plan: _Plan) -> Iterator[str]:
    yield comment(f"{root.name} ({', '.join(need.key)}), for {need.purpose}.")
    for table in plan.foreign:
        yield comment(
            f"{table.qualified} is a foreign table: its rows lie elsewhere, and so would their"
            " index."
        )
    # The lock on a parent blocks writers for a moment: hence the short lock_timeout.
    for build in plan.parents:
        yield (
            f"CREATE INDEX IF NOT EXISTS {identifier(build.name)} ON ONLY {build.table.qualified}"
            f" {need.definition(build.table.columns)};"
        )
    for build in plan.builds:
        yield _drop_leftover(build)
    if plan.builds or plan.broken:
        yield comment(
            "A concurrent build blocks no writer, but waits for older transactions: up to"
            f" {_BUILD_WAIT}."
        )
        yield f"SET lock_timeout = '{_BUILD_WAIT}';"
        for index in plan.broken:
            yield f"REINDEX INDEX CONCURRENTLY {qualified(index.schema, index.name)};"
        for build in plan.builds:
            definition = need.definition(build.table.columns)
            yield (
                f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {identifier(build.name)} ON"
                f" {build.table.qualified} {definition};"
            )
        yield f"SET lock_timeout = '{LOCK_SECONDS}s';"
    for attachment in plan.attachments:
        yield _attach(attachment)
    for build in (*plan.parents, *plan.builds):
        if build.table is root:
            yield (
                f"COMMENT ON INDEX {qualified(root.schema, build.name)} IS"
                f" {literal(f'trade-recon: {need.purpose}')};"
            )


def _drop_leftover(build: _Build) -> str:
    """Drop an interrupted build's invalid index."""
    schema, name = build.table.schema, build.name
    return block(
        "IF EXISTS (",
        "    SELECT FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid JOIN pg_namespace AS n"
        " ON n.oid = c.relnamespace",
        f"    WHERE n.nspname = {literal(schema)} AND c.relname = {literal(name)} AND NOT"
        " indisvalid",
        ") THEN",
        f"    DROP INDEX {qualified(schema, name)};",
        "END IF;",
    )


def _attach(attachment: _Attachment) -> str:
    parent, child, table = attachment.parent, attachment.child, attachment.table
    statement = f"ALTER INDEX {qualified(*parent)} ATTACH PARTITION {qualified(*child)};"
    already = (
        "EXISTS (SELECT FROM pg_inherits JOIN pg_index ON indexrelid = inhrelid WHERE inhparent ="
        f" {regclass(*parent)} AND indrelid = {regclass(table.schema, table.name)})"
    )
    if table.kind == "p":
        return block(f"IF NOT {already} THEN", f"    {statement}", "END IF;")
    # Attached before it is whole, an index could neither be dropped any more nor ever make its
    # parent valid.
    return block(
        f"IF NOT (SELECT indisvalid FROM pg_index WHERE indexrelid = {regclass(*child)}) THEN",
        "    RAISE EXCEPTION 'An index is not whole yet: run this script again.';",
        f"ELSIF NOT {already} THEN",
        f"    {statement}",
        "END IF;",
    )
