"""A publication of all tables, as Supabase or an ETL makes one, stops nothing: what trade-recon
makes has a replica identity.
"""

import pytest

from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from app.sandbox.witness.ingestion import ingest
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Database, Server
from tests.support.engine import engine, run
from tests.support.warehouses.building import execute
from tests.support.warehouses.heritage import SCHEMA
from tests.support.warehouses.way_back import earlier_system
from tests.support.warehouses.worlds import world

_UNIDENTIFIED = """
SELECT c.relname FROM pg_class AS c
WHERE c.relnamespace = quote_ident($1)::regnamespace AND c.relkind = 'r' AND c.relpersistence = 'p'
  AND NOT (c.relreplident = 'f' OR c.relreplident = 'd' AND EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary))
ORDER BY 1
"""

_KEPT = (
    """CREATE FUNCTION SCHEMA.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'kept'; END $$""",
    (
        "CREATE TRIGGER keep BEFORE DELETE ON SCHEMA.recon_few_hours FOR EACH ROW EXECUTE FUNCTION"
        " SCHEMA.keep()"
    ),
)


async def test_every_table_that_trade_recon_makes_has_a_replica_identity(
    database: Database, postgres: Server
) -> None:
    async with database.connect() as connection:
        assert [row[0] for row in await connection.fetch(_UNIDENTIFIED, database.schema)] == []
    async with earlier_system(postgres) as place:
        async with place.owner.connect() as connection:
            before = await connection.fetch(_UNIDENTIFIED, SCHEMA)
        await migrate(place.owner.dsn, SCHEMA)
        async with place.owner.connect() as connection:
            assert await connection.fetch(_UNIDENTIFIED, SCHEMA) == before


@pytest.mark.parametrize("what", ["FOR ALL TABLES", "FOR TABLES IN SCHEMA prop_trading_model"])
async def test_a_publication_of_all_tables_stops_no_maintenance(
    postgres: Server, what: str
) -> None:
    async with (
        earlier_system(postgres, f"CREATE PUBLICATION realtime {what}") as place,
        SandboxServer(world(accounts=12)) as sandbox,
    ):
        async with place.owner.connect() as connection:
            await ingest(sandbox.base_url, sandbox.api_key, connection, SCHEMA)
        await migrate(place.owner.dsn, SCHEMA)
        await execute(
            place,
            [
                "DELETE FROM SCHEMA.trade_recon",
                (
                    "UPDATE SCHEMA.raw_trades_closed SET account_id = NULL WHERE account_id >"
                    " 'acc-00004'"
                ),
            ],
        )
        async with engine(place.owner, sandbox) as service:
            state = await run(service, RunKind.FULL)
        assert (state["error"], state["maintenance"].get("incomplete")) == (None, None)  # type: ignore[attr-defined]
        async with place.owner.connect() as connection:
            assert await connection.fetchval("SELECT count(*) FROM trade_recon") == 12


async def test_a_run_whose_maintenance_was_not_completed_says_so(postgres: Server) -> None:
    async with earlier_system(postgres) as place, SandboxServer(world(accounts=12)) as sandbox:
        async with place.owner.connect() as connection:
            await ingest(sandbox.base_url, sandbox.api_key, connection, SCHEMA)
        await migrate(place.owner.dsn, SCHEMA)
        # What is noted of one account cannot be brought up to date, neither with all others nor
        # alone.
        await execute(
            place,
            [
                (
                    "INSERT INTO SCHEMA.recon_few_hours (account_id, dates) VALUES ('acc-00001',"
                    " '{2020-01-01}')"
                ),
                *_KEPT,
            ],
        )
        async with engine(place.owner, sandbox) as service:
            state = await run(service, RunKind.FULL)
        assert state["status"] == "completed_with_issues"
        assert "Maintenance before the run was not completed" in str(state["error"])
        assert "kept" in str(state["error"])
