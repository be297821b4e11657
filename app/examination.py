"""Examination of a warehouse and the API, without changes."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum

from app.adoption import history_notes, sample_upstream
from app.composition import open_warehouse
from app.domain.contract.caps import Caps
from app.domain.wording.counts import counted
from app.errors import ConfigurationError, ReconError
from app.settings.model import Settings
from app.store.database.pool import Database
from app.store.dba_script.column_limits import advise_fit
from app.store.dba_script.misfits import Samples
from app.store.schema.definitions import compare
from app.store.schema.introspect import Survey, survey
from app.store.schema.migrations.earlier_system import unmet
from app.store.schema.migrations.migrate import pending_migrations, told_newer
from app.store.schema.preflight import misplaced, notes, problems
from app.store.schema.raw.caps import unused_rules, unused_sentence
from app.store.schema.raw.catalogue import Catalogue


class Level(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One result."""

    level: Level
    text: str


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Findings in order; the API is asked even if the database fails."""
    samples: Samples | None = None
    try:
        async with open_warehouse(settings) as database:
            found = await survey(database, settings.recon_schema)
            async for finding in _examine_warehouse(database, found, settings.recon_caps):
                yield finding
            # Stored results are only read if complete: a migration may have been interrupted.
            is_ready = (
                found.schema.is_migrated
                and not found.schema.lost
                and not await pending_migrations(database)
            )
            if is_ready:
                for note in await history_notes(settings, database):
                    yield Finding(Level.NOTE, note)
            samples = await _sample(settings, database if is_ready else None)
            for advice in await advise_fit(
                database, found, samples, settings.recon_caps, knows_refused=is_ready
            ):
                yield Finding(Level.WRONG if advice.loses_rows else Level.NOTE, advice.text)
    except ReconError as error:
        yield Finding(Level.WRONG, f"The warehouse cannot be examined: {error}")
    if not settings.has_upstream:
        yield Finding(
            Level.NOTE,
            "RISK_API_BASE_URL and RISK_API_KEY are not both set: the API was not asked, and no run"
            " can begin.",
        )
        return
    async for finding in _examine_api(settings, samples):
        yield finding


async def _examine_warehouse(
    database: Database, found: Survey, caps: Caps
) -> AsyncIterator[Finding]:
    schema = database.schema
    yield Finding(
        Level.OK,
        f"PostgreSQL answers: database {found.schema.database}, schema {schema}, role"
        f" {found.schema.role}.",
    )
    if strange := misplaced(found, schema):
        yield Finding(Level.NOTE if found.schema.exists else Level.WRONG, strange)
    pending = await pending_migrations(database)
    blocking = [
        *problems(found, schema, before_migration=bool(pending)),
        *await unmet(database, schema, found, before_migration=bool(pending)),
    ]
    for problem in blocking:
        yield Finding(Level.WRONG, f"{problem}.")
    if pending:
        yield Finding(
            Level.WRONG,
            f"The schema {schema} lacks {counted(len(pending), 'migration')}: run `trade-recon"
            " migrate`.",
        )
    elif not blocking:
        async for finding in _examine_tables(database, found, caps):
            yield finding
    if said := await told_newer(database):
        yield Finding(Level.NOTE, said)
    if found.schema.is_migrated:
        async for finding in _examine_definitions(database):
            yield finding
    for note in notes(found):
        yield Finding(Level.NOTE, f"{note}.")


async def _examine_definitions(database: Database) -> AsyncIterator[Finding]:
    async with database.transaction() as connection:
        await connection.execute("SET TRANSACTION READ ONLY")
        compared = await compare(connection, database.schema)
    for stray in compared.strays:
        yield Finding(
            Level.WRONG,
            f"{_capital(stray.sentence)}: run `trade-recon migrate`, which puts it right.",
        )
    for name in compared.new_triggers:
        yield Finding(
            Level.NOTE,
            f"The trigger {name} is new since the last migrate, and fires on trade-recon's"
            " writes, too.",
        )


async def _examine_tables(database: Database, found: Survey, caps: Caps) -> AsyncIterator[Finding]:
    try:
        catalogue = await Catalogue.read(database, found)
    except ConfigurationError as error:
        yield Finding(Level.WRONG, str(error))
        return
    if unused := unused_rules(catalogue, caps):
        yield Finding(Level.WRONG, unused_sentence(unused))
    yield Finding(Level.OK, "The raw tables are fit to be worked on, and the schema is up to date.")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


async def _sample(settings: Settings, database: Database | None) -> Samples:
    if not settings.has_upstream:
        return {}
    return await sample_upstream(settings, database)


async def _examine_api(settings: Settings, samples: Samples | None) -> AsyncIterator[Finding]:
    try:
        answered = await sample_upstream(settings, None) if samples is None else samples
    except ReconError as error:
        yield Finding(Level.WRONG, f"The API cannot be asked: {error}")
        return
    for endpoint, sample in answered.items():
        if sample.error is not None:
            yield Finding(
                Level.WRONG, f"The API does not answer for {endpoint.value}: {sample.error}"
            )
        elif not sample.rows:
            yield Finding(Level.NOTE, f"The API answers for {endpoint.value}, and has no rows.")
        else:
            yield Finding(Level.OK, f"The API answers for {endpoint.value}.")
    if all(sample.error is not None for sample in answered.values()):
        yield Finding(
            Level.WRONG,
            "The API answers for no endpoint: check RISK_API_BASE_URL and RISK_API_KEY.",
        )
