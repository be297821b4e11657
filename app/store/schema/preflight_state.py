"""Whether an earlier system's trade_recon can be used."""

from collections.abc import Iterable, Iterator

from app.domain.wording.counts import counted
from app.store.schema.introspect import STATE_TABLE, TableFacts
from app.store.schema.raw.columns import Column
from app.store.schema.state_rows import LONGEST_SIGNATURE, STATE_TYPES

_LONGEST_ID = 255
_LONGEST_STATUS = len("needs_reconciliation")
_LONGEST = {
    "account_id": _LONGEST_ID,
    "reconciliation_status": _LONGEST_STATUS,
    "explained_as": LONGEST_SIGNATURE,
}
_WHAT = {
    "account_id": f"account ids of up to {_LONGEST_ID} characters",
    "reconciliation_status": f"states of up to {_LONGEST_STATUS} characters",
    "explained_as": f"what is kept of explained accounts, {LONGEST_SIGNATURE} characters",
}
_LARGEST_COUNT = 10**9


def state_problems(facts: TableFacts) -> Iterator[str]:
    """Problems, as parts of a sentence."""
    if facts.kind == "p":
        yield (
            "is partitioned, and its rows are locked, claimed and counted as those of a plain"
            " table: make it one"
        )
        return
    if facts.kind != "r":
        yield "is no table"
        return
    yield from _type_problems(facts)
    yield from _row_problems(facts)
    if not any(key.columns == ("account_id",) for key in facts.keys or ()):
        yield "has no primary key or unique index on account_id alone"
    yield from _refusing_checks(facts)
    if facts.rules:
        yield (
            f"has {_listed(facts.rules, 'the rule', 'the rules')}, which would rewrite what is"
            " written"
        )
    if facts.has_children:
        yield "has tables that inherit from it, whose rows would be taken for its own"
    yield from publication_problems(facts)
    if facts.hides_rows:
        yield "has row-level security that may hide rows from us"
    if facts.missing_rights:
        yield f"does not grant us {', '.join(facts.missing_rights)}"


def publication_problems(facts: TableFacts) -> Iterator[str]:
    """Publications for which PostgreSQL rejects updates and deletes."""
    if facts.unreplicable_in:
        yield (
            f"is published ({', '.join(facts.unreplicable_in)}) without a replica identity:"
            " PostgreSQL refuses updates and deletes there; give it a primary key or REPLICA"
            " IDENTITY FULL"
        )
    if facts.partly_published_in:
        yield (
            f"is published ({', '.join(facts.partly_published_in)}) by columns that lack some of"
            " its replica identity, or WHERE others are so and so: PostgreSQL refuses updates and"
            " deletes there; change the publication"
        )


def _type_problems(facts: TableFacts) -> Iterator[str]:
    for name, types in STATE_TYPES.items():
        column = facts.by_name.get(name)
        if column is None:
            continue
        as_column = Column(name, "-", column.base_type)
        if column.base_type.partition("(")[0] not in types:
            yield f"has {name} as {column.sql_type} instead of {types[0]}"
        elif not column.is_written:
            yield f"generates {name} itself, so that we cannot write it"
        elif as_column.longest is not None and as_column.longest < _LONGEST[name]:
            yield f"has {name} as {column.sql_type}, which is too short for {_WHAT[name]}"
        elif (
            name.startswith("num_trades")
            and as_column.largest is not None
            and as_column.largest < _LARGEST_COUNT
        ):
            yield f"has {name} as {column.sql_type}, which is too narrow for counts of trades"
    for name in facts.refusing_domains:
        yield (
            f"has {name} as {facts.by_name[name].sql_type}, a domain that refuses what is written"
            " to it: use the type below it"
        )


def _refusing_checks(facts: TableFacts) -> Iterator[str]:
    for check in facts.checks or ():
        ours = [
            name for name in STATE_TYPES if name in (check.columns or ()) and name != "account_id"
        ]
        if "reconciliation_status" in ours or check.name in facts.refusing_checks:
            column = (
                "reconciliation_status" if "reconciliation_status" in ours else " and ".join(ours)
            )
            yield (
                f"has the constraint {check.name} ({check.condition}), which refuses what is"
                f" written to {column}: drop it"
            )


def _row_problems(facts: TableFacts) -> Iterator[str]:
    if facts.distributed_by is not None:
        yield (
            "is distributed: its rows are locked together, so that it must be a table of the"
            " coordinator"
        )
    unfilled = [
        each.name
        for each in facts.columns or ()
        if each.not_null and not each.has_default and each.is_written
    ]
    unfilled = [name for name in unfilled if name not in STATE_TYPES]
    if unfilled and not any(
        trigger.is_before_row and trigger.on_insert for trigger in facts.triggers or ()
    ):
        yield (
            f"has {_listed(unfilled, 'the column', 'the columns')} NOT NULL without a default, and"
            " nothing fills it"
        )


def unmet_sentence(name: str, condition: str, rows: int) -> str:
    """The sentence on a broken NOT VALID constraint."""
    return (
        f"{STATE_TABLE} has the constraint {name} ({condition}), which {counted(rows, 'row')} of it"
        " do not meet, so that PostgreSQL refuses every write of these: correct them, or drop it"
    )


def state_notes(facts: TableFacts) -> Iterator[str]:
    """Notes, as parts of a sentence."""
    if facts.referenced_by:
        yield (
            f"is referenced by {', '.join(facts.referenced_by)}: its rows that others refer to"
            " stay, also those that are no account's"
        )
    if facts.refers_by:
        yield (
            f"has {_listed(facts.refers_by, 'the foreign key', 'the foreign keys')}: accounts that"
            " it does not let in cannot be reconciled, and fail in each run that finds them"
        )
    if facts.triggers:
        names = [trigger.name for trigger in facts.triggers]
        yield f"has {_listed(names, 'the trigger', 'the triggers')}, which fires on our writes too"


def _listed(names: Iterable[str], one: str, several: str) -> str:
    every = list(names)
    return f"{one if len(every) == 1 else several} {', '.join(every)}"
