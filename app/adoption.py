"""Setting up a warehouse: migration, notes for `doctor`, scripts for its owner.

Raises ConfigurationError, DatabaseUnavailable, DatabaseError.
"""

from collections.abc import Callable
from dataclasses import replace

from app.clock import now
from app.composition import direct_dsn_of, engine_config, open_dsn, open_warehouse
from app.domain.contract.tables import Endpoint, Request
from app.errors import ConfigurationError, UpstreamError, UpstreamRefused, UpstreamUnavailable
from app.settings.model import Settings
from app.store.database.listen import require_same_database
from app.store.database.pool import Database
from app.store.dba_script.column_limits import advise_fit
from app.store.dba_script.misfits import Sample, Samples
from app.store.dba_script.script import advise
from app.store.dba_script.uninstall import write_uninstall
from app.store.quota import Quota
from app.store.schema.history import Histories
from app.store.schema.introspect import survey
from app.store.schema.migrations.migrate import migrate
from app.store.schema.preflight import misplaced, notes
from app.store.schema.raw.caps import proposed_caps, unused_rules, unused_sentence
from app.store.schema.raw.catalogue import Catalogue
from app.upstream.client import UpstreamClient

_SAMPLE_ROWS = 500
_SAMPLE_WAIT = 5.0
"""Seconds to wait for an API that is down."""


async def warehouse_notes(settings: Settings) -> list[str]:
    """Notes on an adopted warehouse."""
    async with open_warehouse(settings) as database:
        found = await survey(database, settings.recon_schema)
        catalogue = await Catalogue.read(database, found)
        caps, unused = (
            await proposed_caps(database, catalogue, settings.recon_caps),
            unused_rules(catalogue, settings.recon_caps),
        )
        said = (
            "Values of the metrics tables stop at round amounts. If your ingestion caps them, set"
            f" RECON_CAPS={caps}{''.join(f',{rule}' for rule in settings.recon_caps.written)}:"
            " otherwise each run writes upstream's values over them."
        )
        samples = await sample_upstream(settings, database) if settings.has_upstream else {}
        unread = [
            f"The API gives no rows of {endpoint.value} to see whether the tables can hold them:"
            f" {sample.error}"
            for endpoint, sample in samples.items()
            if sample.error is not None
        ]
        unfit = await advise_fit(database, found, samples, settings.recon_caps, is_brief=True)
        history = await history_notes(settings, database)
        said_of_caps = [*([unused_sentence(unused)] if unused else []), *([said] if caps else [])]
        return [*notes(found), *said_of_caps, *history, *unread, *(each.text for each in unfit)]


async def history_notes(settings: Settings, database: Database) -> list[str]:
    """The first date compared, and months that look detached but are compared."""
    setting, histories = settings.recon_history_from, Histories(database)
    held_from = await histories.held_from()
    first = (
        None
        if setting is None
        else setting.first_day(engine_config(settings).today(now()), held_from)
    )
    if first is not None:
        sentence = (
            f"By RECON_HISTORY_FROM={setting} dates from {first} on are compared; rows of"
            " earlier dates are neither asked for nor touched."
        )
        said = [sentence]
    elif setting is not None:
        sentence = (
            f"RECON_HISTORY_FROM={setting} has no effect: no table has partitions that begin"
            " at a date. All dates are compared."
        )
        said = [sentence]
    elif held_from is not None and await histories.is_adopted():
        beginning = (
            f"The partitions begin at {held_from}, and RECON_HISTORY_FROM is not set: what upstream"
            " has of earlier dates is fetched,"
        )
        sentence = (
            f"{beginning} and gets partitions. If you dropped those, set"
            " RECON_HISTORY_FROM=auto before the first run."
        )
        said = [sentence]
    else:
        said = []
    return said + [
        f"{each.name} stands beside {each.parent} like a detached partition: rows of"
        f" {each.month:%Y-%m} are asked for, and have no place there. Attach it, or let"
        " RECON_HISTORY_FROM begin behind it."
        for each in await histories.detached()
        if first is None or each.month >= first
    ]


async def sample_upstream(settings: Settings, database: Database | None) -> Samples:
    """A page of each endpoint, within the quota of a migrated `database`."""
    config = replace(settings.upstream_config(), outage_wait=_SAMPLE_WAIT)
    quota = (
        None
        if database is None
        else Quota(database, settings.risk_api_rate, settings.risk_api_burst)
    )
    found: dict[Endpoint, Sample] = {}
    async with UpstreamClient.open(config, quota) as client:
        for endpoint in Endpoint:
            try:
                found[endpoint] = Sample(
                    (await client.sample(Request(endpoint), rows=_SAMPLE_ROWS)).rows
                )
            except UpstreamError as error:
                found[endpoint] = Sample(error=_sampled_in_vain(error))
                if isinstance(error, UpstreamRefused | UpstreamUnavailable):
                    # All endpoints would fail alike.
                    break
    return found


def _sampled_in_vain(error: UpstreamError) -> str:
    """Why there is no sample; a run's words for an outage do not fit."""
    if not isinstance(error, UpstreamUnavailable):
        return str(error)
    return (
        f"no answer within {_SAMPLE_WAIT:g}"
        f" s.{'' if error.last is None else f' Last: {error.last}'}"
    )


async def migrate_warehouse(settings: Settings, tell: Callable[[str], None]) -> list[str]:
    """Migrate, past a pooler where possible; returns the migrations applied.

    `tell` gets a sentence on each change.
    """
    schema, statement_cache = settings.recon_schema, settings.statement_cache
    async with open_warehouse(settings) as database:
        found = await survey(database, schema)
        if not found.schema.exists and (strange := misplaced(found, schema)):
            raise ConfigurationError(f"{strange} Nothing was changed.")
    async with open_dsn(settings) as dsn:
        direct_dsn = direct_dsn_of(settings)
        if direct_dsn is None:
            return await migrate(dsn, schema, statement_cache=statement_cache, tell=tell)
        # First, since tables created in a wrong database would look like another installation's.
        async with Database.open(
            dsn, schema, pool_size=1, statement_cache=statement_cache
        ) as database:
            await require_same_database(database, direct_dsn)
        return await migrate(
            direct_dsn,
            schema,
            statement_cache=statement_cache,
            variable="DATABASE_DIRECT_URL",
            tell=tell,
        )


async def print_advice(settings: Settings, role: str) -> str:
    """SQL for the tables' owner: a role for trade-recon, and indexes.

    Raises InvalidRequest for an impossible role name.
    """
    if settings.database_url is None:
        return (
            "-- Without DATABASE_URL the warehouse is the embedded PostgreSQL, which is"
            " trade-recon's own: there is nothing to run.\n"
        )
    async with Database.open(
        settings.database_url.text.get_secret_value(),
        settings.recon_schema,
        pool_size=1,
        statement_cache=settings.statement_cache,
    ) as database:
        return await advise(database, role)


async def print_uninstall(settings: Settings, role: str) -> str:
    """SQL that removes trade-recon and restores the state before it.

    Raises InvalidRequest where it is not installed.
    """
    async with open_warehouse(settings) as database:
        return await write_uninstall(database, role)
