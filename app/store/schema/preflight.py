"""Whether trade-recon can work in a warehouse as it stands: everything that stops it in one report,
and what is worth knowing.

A survey is judged before anything is changed. What stops the start is what would make us hide, lose
or misread rows; what only costs speed or completeness is a note.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from app.domain.contract.tables import TABLES, Endpoint, Table
from app.domain.wording.counts import choose, counted
from app.errors import ConfigurationError
from app.store.schema.introspect import STATE_TABLE, SchemaFacts, Survey, TableFacts
from app.store.schema.preflight_state import publication_problems, state_notes, state_problems
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
"""The columns without which nothing can be detected or mended."""

_MENDED_ONLY = frozenset({Endpoint.OPEN})
"""Tables in which only account ids are mended: no row of theirs is added or goes."""
_SHOWN = 5
DISTRIBUTED_BY = "login"
"""The column by which the raw tables of a large warehouse are spread over servers
(db/citus/distribute.sql).
"""


def require(
    survey: Survey, schema: str, *, before_migration: bool, besides: Sequence[str] = ()
) -> None:
    """Raise ConfigurationError with everything that stops trade-recon in this warehouse, `besides`
    included; nothing was changed.
    """
    found = [*problems(survey, schema, before_migration=before_migration), *besides]
    if found:
        listed = "".join(f"\n- {problem};" for problem in found).removesuffix(";")
        raise ConfigurationError(
            f"trade-recon cannot work in the schema {schema} as it stands"
            f" ({counted(len(found), 'reason')}); nothing was changed:{listed}."
        )


def require_tables(survey: Survey) -> None:
    """Raise ConfigurationError if a table is missing, raw or our own: all that stops whoever only
    reads what was recorded.
    """
    for problem in _lost_problems(survey.schema):
        raise ConfigurationError(f"The record cannot be read: {problem}. Nothing was changed.")
    missing = [table.name for table in TABLES.values() if table.name not in survey.tables]
    if missing:
        raise ConfigurationError(
            f"{_listed(missing, 'The table', 'The tables')} {choose(len(missing), 'is', 'are')}"
            " missing: run `trade-recon migrate`, or set RECON_SCHEMA. Nothing was changed."
        )


def problems(survey: Survey, schema: str, *, before_migration: bool) -> list[str]:
    """Everything that stops trade-recon in this warehouse, a part of a sentence each."""
    found = [*_schema_problems(survey.schema, schema, before_migration=before_migration)]
    for endpoint, table in TABLES.items():
        facts = survey.tables.get(table.name)
        if facts is not None:
            found += (
                f"{table.name} {problem}" for problem in _table_problems(endpoint, table, facts)
            )
        elif not before_migration:
            found.append(f"{table.name} is missing: run `trade-recon migrate`, or set RECON_SCHEMA")
    state = survey.tables.get(STATE_TABLE)
    if state is not None:
        found += (f"{STATE_TABLE} {problem}" for problem in state_problems(state))
    return found


def notes(survey: Survey) -> list[str]:
    """What is worth knowing of the tables that stand, a sentence each: what cannot be held, what
    fires, what is slow.
    """
    state = survey.tables.get(STATE_TABLE)
    return [
        f"{table.name} {note}"
        for endpoint, table in TABLES.items()
        if (facts := survey.tables.get(table.name)) is not None
        for note in _table_notes(endpoint, table, facts)
    ] + ([] if state is None else [f"{STATE_TABLE} {note}" for note in state_notes(state)])


def misplaced(survey: Survey, schema: str) -> str | None:
    """That the raw tables stand in another schema than this one, which has none; None where they do
    not.
    """
    elsewhere = ", ".join(survey.schema.elsewhere or ())
    if not elsewhere:
        return None
    is_there = (
        "has no raw tables, which stand"
        if survey.schema.exists
        else "does not exist, and raw tables stand"
    )
    return (
        f"The schema {schema} {is_there} in {elsewhere}: set RECON_SCHEMA; if a second warehouse is"
        " meant, create its schema first."
    )


def _schema_problems(facts: SchemaFacts, schema: str, *, before_migration: bool) -> Iterator[str]:
    if facts.is_read_only:
        yield (
            "the database is read-only (a standby, or default_transaction_read_only): DATABASE_URL"
            " must lead to the primary"
        )
    if not facts.may_use:
        yield f"the role {facts.role} has no USAGE on the schema"
    elif before_migration and not facts.may_create:
        where = f"schema {schema}" if facts.exists else f"database {facts.database}"
        yield (
            f"the role {facts.role} has no CREATE on the {where}, which trade-recon's own tables"
            " need"
        )
    if facts.is_migrated and facts.denied:
        yield (
            f"the role {facts.role} may not read and write trade-recon's own"
            f" {', '.join(facts.denied)}: `trade-recon migrate --print` writes what it needs"
        )
    if not before_migration:
        yield from _lost_problems(facts)
    if facts.is_migrated and not facts.may_refresh:
        yield (
            f"the role {facts.role} may not refresh mv_all_account_ids: it must own it, or have"
            " MAINTAIN on it (PostgreSQL 17 and newer)"
        )
    if before_migration and not facts.is_migrated:
        for name in facts.others_own or ():
            yield (
                f"the {name}, of an earlier system, is to be replaced, and the role {facts.role}"
                " may not: let its owner run `trade-recon migrate`, or what `trade-recon migrate"
                " --print` writes"
            )
        if facts.strangers:
            yield (
                f"{', '.join(facts.strangers)} stand under names that trade-recon needs for itself,"
                " and are not its own"
            )


def _lost_problems(facts: SchemaFacts) -> Iterator[str]:
    if facts.lost:
        yield (
            f"trade-recon's own {_listed(facts.lost, 'table', 'tables')}"
            f" {choose(len(facts.lost), 'is', 'are')} missing: restore"
            f" {choose(len(facts.lost), 'it', 'them')} from a backup, or run what `trade-recon"
            " uninstall --print` writes and then `trade-recon migrate`, by which its history of"
            " runs is lost and no row of the raw tables"
        )


def _table_problems(endpoint: Endpoint, table: Table, facts: TableFacts) -> Iterator[str]:
    if facts.kind not in ("r", "p"):
        yield "is no table but a view or a foreign table: rows of it cannot be locked and compared"
        return
    missing = [name for name in MINIMUM[endpoint] if name not in facts.by_name]
    if missing:
        yield (
            f"lacks {_listed(missing, 'the column', 'the columns')}, without which nothing can be"
            " told of its rows"
        )
    if facts.distributed_by is not None:
        yield from _shard_problems(table, facts)
    yield from _type_problems(table, facts)
    yield from _right_problems(endpoint, facts)
    if facts.rules:
        yield (
            f"has {_listed(facts.rules, 'the rule', 'the rules')}, which would rewrite what is"
            " written"
        )
    for cascade in facts.cascades or ():
        yield (
            f"is referenced by the foreign key {cascade}, through which rows of other tables would"
            " change with its own: make it NO ACTION"
        )
    yield from publication_problems(facts)
    if endpoint not in _MENDED_ONLY and not any(
        trigger.is_before_row and trigger.on_insert for trigger in facts.triggers or ()
    ):
        origin = {name for name, _ in warehouse_table(endpoint, facts, "public").origin}
        known = {field.column for field in table.fields} | {"account_id"} | origin
        unfilled = [
            c.name
            for c in facts.columns or ()
            if c.not_null and not c.has_default and c.is_written and c.name not in known
        ]
        if unfilled:
            listed = _listed(unfilled, "the column", "the columns")
            yield (
                f"has {listed} NOT NULL without a default, and nothing fills it: no row could be"
                " added"
            )


def _shard_problems(table: Table, facts: TableFacts) -> Iterator[str]:
    """What stops us in a table whose rows lie on several servers."""
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
        ("SELECT", "UPDATE")
        if endpoint in _MENDED_ONLY
        else ("SELECT", "INSERT", "UPDATE", "DELETE")
    )
    missing = [right for right in needed if right in (facts.missing_rights or ())]
    if missing:
        yield f"does not grant us {', '.join(missing)}"
    if facts.denied_sequences and endpoint not in _MENDED_ONLY:
        yield (
            f"numbers its rows by {', '.join(facts.denied_sequences)}, which we have no USAGE on:"
            " no row could be added"
        )
    if facts.hides_rows:
        yield (
            "has row-level security that may hide rows from us: what is hidden would read as"
            " missing; give the role BYPASSRLS or a policy FOR ALL USING (true)"
        )


def _table_notes(endpoint: Endpoint, table: Table, facts: TableFacts) -> Iterator[str]:
    key = set(table.key)
    keys = facts.keys or ()
    for narrow in keys:
        if (
            not key <= set(narrow.columns)
            and set(narrow.columns) <= facts.by_name.keys()
            and endpoint not in _MENDED_ONLY
        ):
            generated = [
                name
                for name in narrow.columns
                if facts.by_name[name].has_default and name not in {f.column for f in table.fields}
            ]
            if not generated:
                yield (
                    f"has the unique key {narrow.name} ({', '.join(narrow.columns)}): rows of"
                    " upstream that it cannot hold side by side are shown as key_too_narrow"
                )
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
            f"lacks {_listed(shown, 'the column', f'{len(absent)} columns')} that the API sends:"
            " what it says there is not kept"
        )
    if facts.triggers:
        names = [trigger.name for trigger in facts.triggers]
        yield f"has {_listed(names, 'the trigger', 'the triggers')}, which fires on our writes too"
    if facts.makes_partitions is False:
        yield (
            "is partitioned, and trade-recon cannot make partitions of it: an account whose rows"
            " have none says so"
        )


def _listed(names: Iterable[str], one: str, several: str) -> str:
    every = list(names)
    return f"{one if len(every) == 1 else several} {', '.join(every)}"
