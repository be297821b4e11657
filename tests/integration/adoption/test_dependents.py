"""The head of the uninstall script names all of the owner's that stands on what goes: what stops
it, and what goes silently.
"""

import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.store.schema.migrations.migrate import migrate
from tests.conftest import Database, Server
from tests.support.warehouses.building import Place, execute, new_database
from tests.support.warehouses.heritage import FORMS, OLD_OBJECTS, SCHEMA
from tests.support.warehouses.way_back import ROWS, written

_FIRST, _WITH = "drop or change them first: ", "these go with it: "
_NOTHING = (
    "CREATE FUNCTION SCHEMA.nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW;"
    " END $$"
)
_CASES = {
    "a view of a column": (
        "{s}.own_status",
        "CREATE VIEW SCHEMA.own_status AS SELECT reconciliation_status FROM SCHEMA.trade_recon",
    ),
    "a list of a column": (
        "{s}.own_list",
        "CREATE MATERIALIZED VIEW SCHEMA.own_list AS SELECT claim_id FROM SCHEMA.trade_recon",
    ),
    "a generated column": (
        "the column is_done of {s}.trade_recon",
        (
            "ALTER TABLE SCHEMA.trade_recon ADD is_done boolean GENERATED ALWAYS AS"
            " (reconciliation_status = 'reconciled') STORED"
        ),
    ),
    "a policy": (
        "the policy done on {s}.trade_recon",
        "CREATE POLICY done ON SCHEMA.trade_recon USING (mismatched_days = 0)",
    ),
    "a trigger on updates of a column": (
        "the trigger watch on {s}.trade_recon",
        _NOTHING,
        (
            "CREATE TRIGGER watch BEFORE UPDATE OF mismatched_days ON SCHEMA.trade_recon FOR EACH"
            " ROW EXECUTE FUNCTION SCHEMA.nothing()"
        ),
    ),
    "a trigger with a condition": (
        'the trigger "When held" on {s}.trade_recon',
        _NOTHING,
        """CREATE TRIGGER "When held" BEFORE UPDATE ON SCHEMA.trade_recon FOR EACH ROW
            WHEN (NEW.reconciliation_status = 'needs_confirmation') EXECUTE FUNCTION SCHEMA.nothing()""",
    ),
    "a rule": (
        "the rule noted on {s}.trade_recon",
        (
            "CREATE RULE noted AS ON UPDATE TO SCHEMA.trade_recon WHERE NEW.claim_id IS NULL DO"
            " ALSO NOTHING"
        ),
    ),
    "a CHECK": (
        "the constraint few of {s}.trade_recon",
        "ALTER TABLE SCHEMA.trade_recon ADD CONSTRAINT few CHECK (mismatched_days < 9)",
    ),
    "an index": (
        "the index {s}.by_days",
        "CREATE INDEX by_days ON SCHEMA.trade_recon (mismatched_days)",
    ),
    "a part of an index": (
        "the index {s}.recon_days",
        "CREATE INDEX recon_days ON SCHEMA.trade_recon (account_id) WHERE mismatched_days > 0",
    ),
    "a unique key": (
        "the constraint once of {s}.trade_recon",
        "ALTER TABLE SCHEMA.trade_recon ADD CONSTRAINT once UNIQUE (account_id, claim_id)",
    ),
    "statistics": (
        "the statistics of_days",
        (
            "CREATE STATISTICS SCHEMA.of_days ON mismatched_days, failed_attempts FROM"
            " SCHEMA.trade_recon"
        ),
    ),
    "a publication of columns": (
        "the publication lake",
        "CREATE PUBLICATION lake FOR TABLE SCHEMA.trade_recon (account_id, mismatched_days)",
    ),
    "a function with an SQL body": (
        "{s}.open_days()",
        (
            "CREATE FUNCTION SCHEMA.open_days() RETURNS numeric RETURN (SELECT sum(mismatched_days)"
            " FROM SCHEMA.trade_recon)"
        ),
    ),
    "a foreign key to a table of ours": (
        "the foreign key of_a_run of {s}.own_runs",
        (
            "CREATE TABLE SCHEMA.own_runs (run_id uuid CONSTRAINT of_a_run REFERENCES"
            " SCHEMA.recon_runs)"
        ),
    ),
    "a default by a function of ours": (
        "the column stats of {s}.own_marks",
        (
            "CREATE TABLE SCHEMA.own_marks (stats boolean DEFAULT SCHEMA.recon_is_placeholder('1',"
            " '2', '3', '4'))"
        ),
    ),
    "an index by a function of ours": (
        "the index {s}.own_ids",
        (
            "CREATE INDEX own_ids ON SCHEMA.raw_trades_open"
            " (SCHEMA.recon_is_placeholder(account_id::text, login::text, '1', '2'))"
        ),
    ),
}


@pytest.fixture(scope="module")
async def moved_in(postgres: Server) -> AsyncIterator[str]:
    """The name of a database of the earlier system, migrated, that each case gets a copy of."""
    name = f"recon_moved_{secrets.token_hex(4)}"
    await postgres.execute(f"CREATE DATABASE {name}")
    database = Database(postgres.database(name), SCHEMA)
    place = Place(database, database, "nobody")
    await execute(
        place,
        ("CREATE SCHEMA THIS_SCHEMA", *FORMS["text tickets, partitioned"], *OLD_OBJECTS, ROWS),
    )
    await migrate(database.dsn, SCHEMA)
    assert _FIRST not in await written(place)
    yield name
    await postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("kind", _CASES)
async def test_what_stands_on_what_goes_is_named_as_what_becomes_of_it(
    postgres: Server, moved_in: str, kind: str
) -> None:
    name, *statements = _CASES[kind]
    async with new_database(postgres, SCHEMA, template=moved_in) as place:
        await execute(place, statements)
        script = await written(place)
        async with place.owner.connect() as connection:
            try:
                await connection.execute(script)
                stops = False
            except asyncpg.PostgresError:
                stops = True
    head = script.partition("BEGIN;")[0]
    [line] = [line for line in head.splitlines() if name.format(s=SCHEMA) in line]
    assert (_FIRST if stops else _WITH) in line
