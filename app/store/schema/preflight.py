"""Whether trade-recon can work in a warehouse, judged before any change.

Hidden, lost or misread rows are problems; costs in speed or completeness are notes.
"""

from collections.abc import Iterator, Sequence

from app.domain.contract.tables import TABLES
from app.domain.wording.counts import choose, counted
from app.errors import ConfigurationError
from app.store.schema.introspect import STATE_TABLE, SchemaFacts, Survey
from app.store.schema.preflight_state import state_notes, state_problems
from app.store.schema.preflight_tables import enumerated, table_notes, table_problems


def require(
    survey: Survey, schema: str, *, before_migration: bool, besides: Sequence[str] = ()
) -> None:
    """Raise ConfigurationError with all problems, `besides` included."""
    found = [*problems(survey, schema, before_migration=before_migration), *besides]
    if found:
        listed = "".join(f"\n- {problem};" for problem in found).removesuffix(";")
        raise ConfigurationError(
            f"trade-recon cannot work in the schema {schema} as it stands"
            f" ({counted(len(found), 'reason')}); nothing was changed:{listed}."
        )


def require_tables(survey: Survey) -> None:
    """Raise ConfigurationError for a missing table, which stops even a reader."""
    for problem in _lost_problems(survey.schema):
        raise ConfigurationError(f"The record cannot be read: {problem}. Nothing was changed.")
    missing = [table.name for table in TABLES.values() if table.name not in survey.tables]
    if missing:
        raise ConfigurationError(
            f"{enumerated(missing, 'The table', 'The tables')} {choose(len(missing), 'is', 'are')}"
            " missing: run `trade-recon migrate`, or set RECON_SCHEMA. Nothing was changed."
        )


def problems(survey: Survey, schema: str, *, before_migration: bool) -> list[str]:
    """All problems, as parts of a sentence."""
    found = [*_schema_problems(survey.schema, schema, before_migration=before_migration)]
    for endpoint, table in TABLES.items():
        facts = survey.tables.get(table.name)
        if facts is not None:
            found += (
                f"{table.name} {problem}" for problem in table_problems(endpoint, table, facts)
            )
        elif not before_migration:
            found.append(f"{table.name} is missing: run `trade-recon migrate`, or set RECON_SCHEMA")
    state = survey.tables.get(STATE_TABLE)
    if state is not None:
        found += (f"{STATE_TABLE} {problem}" for problem in state_problems(state))
    return found


def notes(survey: Survey) -> list[str]:
    """Sentences on the tables."""
    state = survey.tables.get(STATE_TABLE)
    return [
        f"{table.name} {note}"
        for endpoint, table in TABLES.items()
        if (facts := survey.tables.get(table.name)) is not None
        for note in table_notes(endpoint, table, facts)
    ] + ([] if state is None else [f"{STATE_TABLE} {note}" for note in state_notes(state)])


def misplaced(survey: Survey, schema: str) -> str | None:
    """A sentence if raw tables are in another schema."""
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
            f"trade-recon's own {enumerated(facts.lost, 'table', 'tables')}"
            f" {choose(len(facts.lost), 'is', 'are')} missing: restore"
            f" {choose(len(facts.lost), 'it', 'them')} from a backup, or run what `trade-recon"
            " uninstall --print` writes and then `trade-recon migrate`, by which its history of"
            " runs is lost and no row of the raw tables"
        )
