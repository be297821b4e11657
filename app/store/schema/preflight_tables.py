"""Problems of raw tables, and notes on them."""

from collections.abc import Iterable, Iterator, Mapping

from app.domain.contract.tables import Endpoint, Table
from app.store.schema.introspect import TableFacts
from app.store.schema.preflight_state import publication_problems
from app.store.schema.raw.catalogue import warehouse_table
from app.store.schema.raw.columns import Column, Kind
from app.store.schema.state_rows import STATE_TYPES

_NATURAL_KEY = ("login", "platform", "broker")
MINIMUM: Mapping[Endpoint, tuple[str, ...]] = {
    Endpoint.ALLTIME: ("account_id", "num_trades", *_NATURAL_KEY),
    Endpoint.DAILY: ("account_id", "date", "num_trades", *_NATURAL_KEY),
    Endpoint.HOURLY: ("account_id", "date", "hour", "num_trades", *_NATURAL_KEY),
    Endpoint.CLOSED: ("trade_date", "position", "ticket", "account_id", *_NATURAL_KEY),
    Endpoint.OPEN: ("trade_date", "position", "ticket", "account_id", *_NATURAL_KEY),
}
"""Columns without which nothing can be detected or repaired."""
_IDS_ONLY = frozenset({Endpoint.OPEN})
"""Only account ids are repaired there."""
_SHOWN = 5
DISTRIBUTED_BY = "login"
"""As db/citus/distribute.sql distributes large warehouses."""


def table_problems(endpoint: Endpoint, table: Table, facts: TableFacts) -> Iterator[str]:
    """Problems, as parts of a sentence."""
    if facts.kind not in ("r", "p"):
        yield "is no table but a view or a foreign table: rows of it cannot be locked and compared"
        return
    missing = [name for name in MINIMUM[endpoint] if name not in facts.by_name]
    if missing:
        yield (
            f"lacks {enumerated(missing, 'the column', 'the columns')}, without which nothing can"
            " be told of its rows"
        )
    if facts.distributed_by is not None:
        yield from _shard_problems(table, facts)
    yield from _type_problems(table, facts)
    yield from _right_problems(endpoint, facts)
    if facts.rules:
        yield (
            f"has {enumerated(facts.rules, 'the rule', 'the rules')}, which would rewrite what is"
            " written"
        )
    for cascade in facts.cascades or ():
        yield (
            f"is referenced by the foreign key {cascade}, through which rows of other tables would"
            " change with its own: make it NO ACTION"
        )
    yield from publication_problems(facts)
    if endpoint not in _IDS_ONLY and not any(
        trigger.is_before_row and trigger.on_insert for trigger in facts.triggers or ()
    ):
        yield from _unfilled_problems(endpoint, table, facts)


def _unfilled_problems(endpoint: Endpoint, table: Table, facts: TableFacts) -> Iterator[str]:
    origin = {name for name, _ in warehouse_table(endpoint, facts, "public").origin}
    known = {field.column for field in table.fields} | {"account_id"} | origin
    unfilled = [
        c.name
        for c in facts.columns or ()
        if c.not_null and not c.has_default and c.is_written and c.name not in known
    ]
    if unfilled:
        listed = enumerated(unfilled, "the column", "the columns")
        yield (
            f"has {listed} NOT NULL without a default, and nothing fills it: no row could be added"
        )


def _shard_problems(table: Table, facts: TableFacts) -> Iterator[str]:
    if facts.distributed_by != DISTRIBUTED_BY:
        yield (
            f"is distributed by {facts.distributed_by}, and trade-recon works with tables"
            f" distributed by {DISTRIBUTED_BY}"
        )
    elif not any({*table.key, DISTRIBUTED_BY} >= set(each.columns) for each in facts.keys or ()):
        listed = ", ".join(dict.fromkeys((*table.key, DISTRIBUTED_BY)))
        yield (
            f"is distributed and has no unique key within ({listed}), without which its rows cannot"
            " be told apart"
        )


def _type_problems(table: Table, facts: TableFacts) -> Iterator[str]:
    columns = facts.by_name
    for field in table.fields:
        if field.column in columns:
            column = columns[field.column]
            kind = Column(field.column, field.api_name, column.base_type, column.labels).kind
            if kind is None or kind not in _fitting_kinds(field.column):
                yield (
                    f"has {field.column} as {column.sql_type}, with which the API's values cannot"
                    " be compared"
                )
            elif not column.is_written and field.column in (
                *table.key,
                *_NATURAL_KEY,
                "num_trades",
            ):
                yield (
                    f"generates {field.column} itself, so that what the API sends cannot be stored"
                )
    if (
        "account_id" in columns
        and columns["account_id"].base_type.partition("(")[0] not in STATE_TYPES["account_id"]
    ):
        yield f"has account_id as {columns['account_id'].sql_type}: account ids are varchar or text"


def _fitting_kinds(column: str) -> frozenset[Kind]:
    match column:
        case "date" | "trade_date":
            return frozenset({Kind.DATE})
        case "num_trades" | "net_profit" | "total_lots" | "hour":
            return frozenset({Kind.NUMBER})
        case "account_id":
            return frozenset(
                Kind
            )  # judged apart: trades have it too, and the API does not send it there
        case "login" | "platform" | "broker" | "position" | "ticket":
            return frozenset({Kind.NUMBER, Kind.TEXT})
        case _:
            return frozenset(Kind)


def _right_problems(endpoint: Endpoint, facts: TableFacts) -> Iterator[str]:
    needed = (
        ("SELECT", "UPDATE") if endpoint in _IDS_ONLY else ("SELECT", "INSERT", "UPDATE", "DELETE")
    )
    missing = [right for right in needed if right in (facts.missing_rights or ())]
    if missing:
        yield f"does not grant us {', '.join(missing)}"
    if facts.denied_sequences and endpoint not in _IDS_ONLY:
        yield (
            f"numbers its rows by {', '.join(facts.denied_sequences)}, which we have no USAGE on:"
            " no row could be added"
        )
    if facts.hides_rows:
        yield (
            "has row-level security that may hide rows from us: what is hidden would read as"
            " missing; give the role BYPASSRLS or a policy FOR ALL USING (true)"
        )


def table_notes(endpoint: Endpoint, table: Table, facts: TableFacts) -> Iterator[str]:
    """Notes, as sentences."""
    if endpoint not in _IDS_ONLY:
        yield from _narrow_key_notes(table, facts)
    key, keys = set(table.key), facts.keys or ()
    if facts.distributed_by is not None and facts.distributed_by not in key:
        yield (
            f"is distributed by {facts.distributed_by}: an account whose {facts.distributed_by}"
            " changes may have rows under both, which is healed but not prevented"
        )
    elif not any(set(each.columns) <= key for each in keys):
        yield (
            f"has no unique key within ({', '.join(table.key)}): rows may be stored twice, which is"
            " healed but not prevented"
        )
    absent = [field.column for field in table.fields if field.column not in facts.by_name]
    if absent:
        shown = [*absent[:_SHOWN], *(["..."] if len(absent) > _SHOWN else [])]
        yield (
            f"lacks {enumerated(shown, 'the column', f'{len(absent)} columns')} that the API sends:"
            " what it says there is not kept"
        )
    if facts.triggers:
        names = [trigger.name for trigger in facts.triggers]
        triggers = enumerated(names, "the trigger", "the triggers")
        yield f"has {triggers}, which fires on our writes too"
    if facts.makes_partitions is False:
        yield (
            "is partitioned, and trade-recon cannot make partitions of it: an account whose rows"
            " have none says so"
        )


def _narrow_key_notes(table: Table, facts: TableFacts) -> Iterator[str]:
    fields = {field.column for field in table.fields}
    for narrow in facts.keys or ():
        columns = set(narrow.columns)
        if set(table.key) <= columns or not columns <= facts.by_name.keys():
            continue
        if not any(facts.by_name[name].has_default and name not in fields for name in columns):
            yield (
                f"has the unique key {narrow.name} ({', '.join(narrow.columns)}): rows of"
                " upstream that it cannot hold side by side are shown as key_too_narrow"
            )


def enumerated(names: Iterable[str], one: str, several: str) -> str:
    """Names after the singular or plural word."""
    every = list(names)
    return f"{one if len(every) == 1 else several} {', '.join(every)}"
