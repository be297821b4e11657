"""What stops trade-recon in a warehouse: told all at once, before the migration and at the start,
with nothing changed.
"""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from pydantic import SecretStr

from app.composition import open_store
from app.domain.contract.tables import TABLES, Endpoint
from app.errors import ConfigurationError
from app.settings.model import Settings
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Database, Server
from tests.support.warehouses.building import Place, execute, new_database, with_setting
from tests.support.warehouses.catalogue import dump_objects, dump_raw_tables
from tests.support.warehouses.ddl import raw_table

SCHEMA = "ours"
_NATURAL_KEY = ("login", "platform", "broker")
MINIMUM = {
    Endpoint.ALLTIME: ("account_id", "num_trades", *_NATURAL_KEY),
    Endpoint.DAILY: ("account_id", "date", "num_trades", *_NATURAL_KEY),
    Endpoint.HOURLY: ("account_id", "date", "hour", "num_trades", *_NATURAL_KEY),
    Endpoint.CLOSED: ("trade_date", "account_id", "position", "ticket", *_NATURAL_KEY),
    Endpoint.OPEN: ("trade_date", "account_id", "position", "ticket", *_NATURAL_KEY),
}
_PLAIN = tuple(
    raw_table(endpoint, f"PRIMARY KEY ({', '.join(table.key)})")
    for endpoint, table in TABLES.items()
)
_RIGHTS = (
    "GRANT USAGE, CREATE ON SCHEMA THIS_SCHEMA TO SERVICE_ROLE",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA THIS_SCHEMA TO SERVICE_ROLE",
)
_SECURED = "ALTER TABLE SCHEMA.raw_trades_closed ENABLE ROW LEVEL SECURITY"
_CASCADE = """
ALTER TABLE SCHEMA.marks
    ADD CONSTRAINT of_an_hour FOREIGN KEY (account_id, date, hour) REFERENCES SCHEMA.raw_metrics_hourly ON DELETE CASCADE
"""
_OF_ITS_OWN = (
    (
        "CREATE FUNCTION SCHEMA.fill_desk() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.desk :="
        " 'fx'; RETURN NEW; END$$"
    ),
    (
        "CREATE TRIGGER fill_desk BEFORE INSERT ON SCHEMA.raw_trades_closed FOR EACH ROW EXECUTE"
        " FUNCTION SCHEMA.fill_desk()"
    ),
)


@dataclass(frozen=True)
class Case:
    """A change to a plain warehouse, and words that the report must have.

    `as_role`: trade-recon comes as a role that owns nothing.
    """

    name: str
    statements: tuple[str, ...]
    says: tuple[str, ...] = ()
    as_role: bool = False
    setting: tuple[str, str] | None = None
    after_migration: bool = True
    """Whether the owner can also do it once trade-recon's views stand on the tables."""


_ADD = "ALTER TABLE SCHEMA.trade_recon ADD"


def _of_state(name: str, *statements: str, says: tuple[str, ...] = ()) -> Case:
    """The same of trade_recon as an earlier system left it."""
    made = "CREATE TABLE SCHEMA.trade_recon (account_id varchar(255) PRIMARY KEY)"
    return Case(
        f"trade_recon {name}", (made, *statements), ("trade_recon", *says), after_migration=False
    )


STOPS = (
    *(
        Case(
            f"{TABLES[endpoint].name} without its minimum columns",
            tuple(
                f"ALTER TABLE SCHEMA.{TABLES[endpoint].name} DROP COLUMN {column} CASCADE"
                for column in columns
            ),
            (TABLES[endpoint].name, *columns),
        )
        for endpoint, columns in MINIMUM.items()
    ),
    Case(
        "counts as text",
        tuple(
            f"ALTER TABLE SCHEMA.raw_metrics_{level} ALTER num_trades TYPE text"
            for level in ("alltime", "daily", "hourly")
        ),
        ("raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly", "num_trades", "text"),
        after_migration=False,
    ),
    Case(
        "account ids as numbers",
        (
            "ALTER TABLE SCHEMA.raw_metrics_alltime ALTER account_id TYPE integer USING 0",
            "ALTER TABLE SCHEMA.raw_trades_open ALTER account_id TYPE bigint USING 0",
        ),
        ("raw_metrics_alltime", "raw_trades_open", "account_id", "integer", "bigint"),
        after_migration=False,
    ),
    Case(
        "dates as text",
        (
            "ALTER TABLE SCHEMA.raw_metrics_daily ALTER date TYPE text",
            "ALTER TABLE SCHEMA.raw_trades_closed ALTER trade_date TYPE varchar(10)",
        ),
        (
            "raw_metrics_daily",
            "date",
            "raw_trades_closed",
            "trade_date",
            "text",
            "character varying(10)",
        ),
        after_migration=False,
    ),
    Case(
        "a view in the place of a table",
        (
            "ALTER TABLE SCHEMA.raw_trades_closed RENAME TO trades",
            "CREATE VIEW SCHEMA.raw_trades_closed AS SELECT * FROM SCHEMA.trades",
        ),
        ("raw_trades_closed", "view"),
    ),
    Case(
        "row-level security that hides rows",
        (_SECURED, "CREATE POLICY some_rows ON SCHEMA.raw_trades_closed USING (broker < 5)"),
        ("raw_trades_closed", "row-level security"),
        as_role=True,
    ),
    Case(
        "a policy that shows all rows and another that takes some away",
        (
            _SECURED,
            "CREATE POLICY all_rows ON SCHEMA.raw_trades_closed USING (true)",
            "CREATE POLICY fewer ON SCHEMA.raw_trades_closed AS RESTRICTIVE USING (broker < 5)",
        ),
        ("raw_trades_closed", "row-level security"),
        as_role=True,
    ),
    Case(
        "row-level security forced on the owner too",
        (
            "ALTER TABLE SCHEMA.raw_trades_closed OWNER TO SERVICE_ROLE",
            _SECURED,
            "ALTER TABLE SCHEMA.raw_trades_closed FORCE ROW LEVEL SECURITY",
        ),
        ("raw_trades_closed", "row-level security"),
        as_role=True,
    ),
    Case(
        "missing rights",
        (
            "REVOKE INSERT, DELETE ON SCHEMA.raw_trades_closed FROM SERVICE_ROLE",
            "REVOKE UPDATE ON SCHEMA.raw_trades_open FROM SERVICE_ROLE",
            "REVOKE SELECT ON SCHEMA.raw_metrics_daily FROM SERVICE_ROLE",
        ),
        (
            "raw_trades_closed",
            "INSERT, DELETE",
            "raw_trades_open",
            "UPDATE",
            "raw_metrics_daily",
            "SELECT",
        ),
        as_role=True,
    ),
    Case(
        "published without a replica identity",
        (
            "ALTER TABLE SCHEMA.raw_metrics_daily DROP CONSTRAINT raw_metrics_daily_pkey",
            "CREATE PUBLICATION to_the_lake FOR TABLE SCHEMA.raw_metrics_daily",
        ),
        ("raw_metrics_daily", "to_the_lake", "replica identity"),
    ),
    *(
        Case(
            f"published {what}",
            (f"CREATE PUBLICATION to_the_lake FOR TABLE SCHEMA.raw_metrics_daily {part}",),
            ("raw_metrics_daily", "to_the_lake", "change the publication"),
        )
        for what, part in (
            ("without a column of its key", "(account_id, num_trades)"),
            ("where another column is so and so", "WHERE (num_trades > 0)"),
        )
    ),
    Case(
        "a cascade into a table of the user's",
        (
            (
                "CREATE TABLE SCHEMA.notes (account_id varchar(255) REFERENCES"
                " SCHEMA.raw_metrics_alltime ON DELETE CASCADE, note text)"
            ),
            "CREATE TABLE SCHEMA.marks (account_id varchar(255), date date, hour integer)",
            _CASCADE,
        ),
        ("raw_metrics_alltime", "notes", "raw_metrics_hourly", "of_an_hour", "marks"),
    ),
    Case(
        "a rule on inserts",
        ("CREATE RULE elsewhere AS ON INSERT TO SCHEMA.raw_trades_closed DO INSTEAD NOTHING",),
        ("raw_trades_closed", "elsewhere"),
    ),
    Case(
        "a column that nothing fills",
        ("ALTER TABLE SCHEMA.raw_trades_closed ADD COLUMN desk text NOT NULL",),
        ("raw_trades_closed", "desk", "NOT NULL"),
    ),
    _of_state(
        "with states that are too short",
        f"{_ADD} reconciliation_status varchar(15)",
        says=("varying(15)", "20 characters"),
    ),
    _of_state(
        "with states in a domain that is too short",
        "CREATE DOMAIN SCHEMA.state AS varchar(12)",
        f"{_ADD} reconciliation_status SCHEMA.state",
        says=("reconciliation_status", "20 characters"),
    ),
    _of_state(
        "with signatures that are too short",
        f"{_ADD} explained_as varchar(63)",
        says=("explained_as", "64 characters"),
    ),
    _of_state(
        "with counts that are too narrow",
        f"{_ADD} num_trades_daily numeric(6, 0)",
        says=("num_trades_daily", "too narrow"),
    ),
    _of_state(
        "with a limit of failures",
        f"{_ADD} failed_attempts integer, ADD CONSTRAINT few CHECK (failed_attempts <= 3)",
        says=("few", "refuses what is written to failed_attempts"),
    ),
    _of_state(
        "with a CHECK on what runs find",
        f"{_ADD} num_trades_daily integer, ADD num_trades_hourly integer",
        f"{_ADD} CONSTRAINT same CHECK (num_trades_daily = num_trades_hourly)",
        says=("same", "num_trades_daily and num_trades_hourly"),
    ),
    _of_state(
        "with a domain that refuses",
        "CREATE DOMAIN SCHEMA.few AS integer CHECK (VALUE < 5)",
        f"{_ADD} failed_attempts SCHEMA.few",
        says=("failed_attempts", "few", "domain"),
    ),
    _of_state(
        "with a rule",
        "CREATE RULE kept AS ON DELETE TO SCHEMA.trade_recon DO INSTEAD NOTHING",
        says=("the rule", "kept"),
    ),
    _of_state(
        "with tables that inherit",
        "CREATE TABLE SCHEMA.more () INHERITS (SCHEMA.trade_recon)",
        says=("inherit",),
    ),
    _of_state(
        "published without a replica identity",
        "ALTER TABLE SCHEMA.trade_recon DROP CONSTRAINT trade_recon_pkey",
        "CREATE UNIQUE INDEX ON SCHEMA.trade_recon (account_id)",
        "CREATE PUBLICATION to_the_lake FOR ALL TABLES",
        says=("to_the_lake", "replica identity"),
    ),
    Case(
        "trade_recon in partitions",
        (
            (
                "CREATE TABLE SCHEMA.trade_recon (account_id varchar(255) PRIMARY KEY) PARTITION BY"
                " HASH (account_id)"
            ),
            (
                "CREATE TABLE SCHEMA.trade_recon_0 PARTITION OF SCHEMA.trade_recon FOR VALUES WITH"
                " (MODULUS 1, REMAINDER 0)"
            ),
        ),
        ("trade_recon", "is partitioned", "plain table"),
        after_migration=False,
    ),
    Case(
        "rows of trade_recon that have to be filled, and are refused",
        (
            (
                "CREATE TABLE SCHEMA.trade_recon (account_id varchar(255) PRIMARY KEY, has_daily"
                " boolean, since date)"
            ),
            (
                "INSERT INTO SCHEMA.trade_recon VALUES ('a', NULL, '2020-01-01'), ('b', true,"
                " '2020-01-01')"
            ),
            (
                "ALTER TABLE SCHEMA.trade_recon ADD CONSTRAINT young CHECK (since > '2021-01-01')"
                " NOT VALID"
            ),
        ),
        ("trade_recon", "young", "1 row of it do not meet"),
        after_migration=False,
    ),
    Case(
        "a read-only standby", (), ("read-only",), setting=("default_transaction_read_only", "on")
    ),
    Case(
        "several at once",
        (
            "ALTER TABLE SCHEMA.raw_metrics_hourly DROP COLUMN hour CASCADE",
            "CREATE RULE elsewhere AS ON INSERT TO SCHEMA.raw_metrics_daily DO INSTEAD NOTHING",
            "ALTER TABLE SCHEMA.raw_trades_closed ADD COLUMN desk text NOT NULL",
            "ALTER TABLE SCHEMA.raw_trades_open DROP COLUMN login CASCADE",
            "REVOKE DELETE ON SCHEMA.raw_trades_closed FROM SERVICE_ROLE",
        ),
        (
            "raw_metrics_hourly",
            "hour",
            "raw_metrics_daily",
            "elsewhere",
            "raw_trades_closed",
            "desk",
            "raw_trades_open",
            "login",
            "DELETE",
        ),
        as_role=True,
    ),
)
FITS = (
    Case("a role that owns none of the tables", (), as_role=True),
    Case(
        "a policy that shows all rows",
        (_SECURED, "CREATE POLICY all_rows ON SCHEMA.raw_trades_closed USING (true)"),
        as_role=True,
    ),
    Case(
        "a role above row-level security",
        (_SECURED, "ALTER ROLE SERVICE_ROLE BYPASSRLS"),
        as_role=True,
    ),
    Case(
        "row-level security of our own table",
        ("ALTER TABLE SCHEMA.raw_trades_closed OWNER TO SERVICE_ROLE", _SECURED),
        as_role=True,
    ),
    Case(
        "published with all its columns as replica identity",
        (
            "ALTER TABLE SCHEMA.raw_metrics_daily DROP CONSTRAINT raw_metrics_daily_pkey",
            "ALTER TABLE SCHEMA.raw_metrics_daily REPLICA IDENTITY FULL",
            "CREATE PUBLICATION to_the_lake FOR TABLE SCHEMA.raw_metrics_daily",
        ),
    ),
    Case(
        "published with its key, and where that is so and so",
        (
            (
                "CREATE PUBLICATION to_the_lake FOR TABLE SCHEMA.raw_metrics_daily (account_id,"
                " date, num_trades)"
            ),
            (
                "CREATE PUBLICATION to_the_pond FOR TABLE SCHEMA.raw_metrics_hourly WHERE (date >"
                " '2020-01-01')"
            ),
            (
                "CREATE PUBLICATION of_news FOR TABLE SCHEMA.raw_metrics_alltime (login) WITH"
                " (publish = 'insert')"
            ),
        ),
    ),
    Case(
        "a foreign key that refuses instead of cascading",
        (
            (
                "CREATE TABLE SCHEMA.notes (account_id varchar(255) REFERENCES"
                " SCHEMA.raw_metrics_alltime, note text)"
            ),
        ),
    ),
    _of_state(
        "with CHECKs that refuse nothing of ours",
        f"{_ADD} failed_attempts smallint, ADD num_trades_daily integer, ADD last_checked"
        " timestamptz, ADD note text",
        f"{_ADD} created_at timestamptz",
        f"{_ADD} CHECK (failed_attempts >= 0), ADD CHECK (num_trades_daily >= 0), ADD CHECK"
        " (last_checked > created_at - interval '1 day')",
        f"{_ADD} CONSTRAINT young CHECK (created_at > '2025-01-01')",
        f"{_ADD} CHECK (note IS NULL OR failed_attempts > 0), ADD CHECK (length(account_id) > 0 OR"
        " failed_attempts = 0)",
        "INSERT INTO SCHEMA.trade_recon (account_id, failed_attempts) VALUES ('a', 32767)",
    ),
    Case(
        "a further column with a default",
        ("ALTER TABLE SCHEMA.raw_trades_closed ADD COLUMN desk text NOT NULL DEFAULT 'fx'",),
    ),
    Case(
        "a further column that a trigger fills",
        ("ALTER TABLE SCHEMA.raw_trades_closed ADD COLUMN desk text NOT NULL", *_OF_ITS_OWN),
    ),
)


@pytest.fixture(scope="module")
async def plain(postgres: Server) -> AsyncIterator[str]:
    """The name of a database with plain raw tables, without trade-recon."""
    async for name in _template(postgres, migrated=False):
        yield name


@pytest.fixture(scope="module")
async def adopted(postgres: Server) -> AsyncIterator[str]:
    """The same, migrated."""
    async for name in _template(postgres, migrated=True):
        yield name


async def _template(postgres: Server, *, migrated: bool) -> AsyncIterator[str]:
    name = f"recon_plain_{secrets.token_hex(4)}"
    await postgres.execute(f"CREATE DATABASE {name}")
    database = Database(postgres.database(name), SCHEMA)
    place = Place(database, database, "nobody")
    await execute(place, ("CREATE SCHEMA THIS_SCHEMA", *_PLAIN))
    if migrated:
        await migrate(database.dsn, SCHEMA)
    yield name
    await postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def _prepare(place: Place, case: Case) -> Database:
    """The case's warehouse as trade-recon reaches it."""
    await execute(place, (*(_RIGHTS if case.as_role else ()), *case.statements))
    return with_setting(place.database, *case.setting) if case.setting else place.database


async def _everything(place: Place) -> object:
    async with place.owner.connect() as connection:
        return await dump_raw_tables(connection, SCHEMA), await dump_objects(connection)


async def _start(database: Database) -> None:
    async with open_store(Settings(database_url=SecretStr(database.dsn), recon_schema=SCHEMA)):
        pass


def _assert_says(error: ConfigurationError, case: Case) -> None:
    missing = [word for word in case.says if word not in str(error)]
    assert not missing, str(error)
    assert "nothing was changed" in str(error).lower()


@pytest.mark.parametrize("case", STOPS, ids=lambda case: case.name)
async def test_a_warehouse_that_does_not_fit_stops_the_migration_and_stays_as_it_is(
    postgres: Server, plain: str, case: Case
) -> None:
    async with new_database(postgres, SCHEMA, as_role=case.as_role, template=plain) as place:
        database = await _prepare(place, case)
        before = await _everything(place)
        with pytest.raises(ConfigurationError) as caught:
            await migrate(database.dsn, SCHEMA)
        _assert_says(caught.value, case)
        assert await _everything(place) == before


@pytest.mark.parametrize(
    "case", [case for case in STOPS if case.after_migration], ids=lambda case: case.name
)
async def test_a_warehouse_that_does_not_fit_any_more_stops_the_start(
    postgres: Server, adopted: str, case: Case
) -> None:
    async with new_database(postgres, SCHEMA, as_role=case.as_role, template=adopted) as place:
        database = await _prepare(place, case)
        before = await _everything(place)
        with pytest.raises(ConfigurationError) as caught:
            await _start(database)
        _assert_says(caught.value, case)
        assert await _everything(place) == before


async def test_a_role_that_only_has_rights_can_start(postgres: Server, adopted: str) -> None:
    async with new_database(postgres, SCHEMA, as_role=True, template=adopted) as place:
        # Whoever refreshes the list of accounts must own it.
        await execute(
            place,
            (*_RIGHTS, "ALTER MATERIALIZED VIEW SCHEMA.mv_all_account_ids OWNER TO SERVICE_ROLE"),
        )
        await _start(place.database)


@pytest.mark.parametrize("case", FITS, ids=lambda case: case.name)
async def test_what_does_no_harm_stops_nothing(postgres: Server, plain: str, case: Case) -> None:
    async with new_database(postgres, SCHEMA, as_role=case.as_role, template=plain) as place:
        database = await _prepare(place, case)
        async with place.owner.connect() as connection:
            before = await dump_raw_tables(connection, SCHEMA)
        await migrate(database.dsn, SCHEMA)
        await _start(database)
        async with place.owner.connect() as connection:
            assert await dump_raw_tables(connection, SCHEMA) == before
