"""`trade-recon uninstall --print`: what it writes takes all of trade-recon away and leaves the
catalogue as it was before.
"""

import json
import random
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from app.adoption import print_advice, print_uninstall
from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from app.sandbox.witness.ingestion import ingest
from app.sandbox.witness.raw_sql import in_schema
from app.sandbox.world.world import World
from app.settings.model import Settings
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Database, Server
from tests.support.clock import TODAY
from tests.support.commands import run_command
from tests.support.engine import engine, run
from tests.support.scripts import statements
from tests.support.warehouses.building import Place, execute, new_database, with_setting
from tests.support.warehouses.catalogue import Dump, dump_schema
from tests.support.warehouses.ddl import DATED
from tests.support.warehouses.heritage import FORMS, GRANTS, OLD_OBJECTS, SCHEMA

_DAYS = 20
OLD_ROWS = (
    (
        "INSERT INTO SCHEMA.trade_recon (account_id, issues, failed_attempts,"
        " trades_recon_checksum) VALUES ('acc-00001', NULL, NULL, NULL)"
    ),
    (
        "INSERT INTO SCHEMA.trade_recon (account_id, has_daily, issues) VALUES ('acc-00002', true,"
        ' \'[{"type": "odd"}]\')'
    ),
    (
        "INSERT INTO SCHEMA.trade_recon (account_id, issues) VALUES (md5('1|2|3'), '{}'), ('gone',"
        " '[7]')"
    ),
    "COMMENT ON COLUMN SCHEMA.trade_recon.issues IS 'what is wrong'",
    "ALTER TABLE SCHEMA.trade_recon SET (fillfactor = 90, autovacuum_enabled = false)",
    (
        "CREATE TRIGGER own_watch BEFORE UPDATE ON SCHEMA.trade_recon FOR EACH ROW EXECUTE FUNCTION"
        " suppress_redundant_updates_trigger()"
    ),
    "REFRESH MATERIALIZED VIEW SCHEMA.mv_all_account_ids",
)
"""What the earlier system had recorded."""


def _world() -> World:
    return World.generate(
        10, seed=7, today=TODAY, trades_per_account=6, days=_DAYS, contradictory=False
    )


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer(_world()) as server:
        yield server


async def _seen(place: Place) -> tuple[Dump, list[str]]:
    """The catalogue of the schema, and the rows of trade_recon, if there is one."""
    async with place.owner.connect() as connection:
        dump = await dump_schema(connection, place.owner.schema)
        rows = []
        if "trade_recon" in dump:
            query = in_schema(
                "SELECT to_jsonb(t)::text AS row FROM SCHEMA.trade_recon AS t ORDER BY 1",
                place.owner.schema,
            )
            rows = [row["row"] for row in await connection.fetch(query)]
        return dump, rows


def _settings(database: Database) -> Settings:
    return Settings(database_url=SecretStr(database.dsn), recon_schema=database.schema)


async def _uninstall(place: Place, role: str = "trade_recon") -> str:
    script = await print_uninstall(_settings(place.owner), role)
    async with place.owner.connect() as connection:
        await connection.execute(script)
    return script


async def _live(place: Place, sandbox: SandboxServer) -> None:
    """Migrate, damage, and run."""
    await migrate(place.database.dsn, place.owner.schema)
    await execute(
        place,
        (
            (
                "DELETE FROM SCHEMA.raw_metrics_hourly WHERE account_id IN ('acc-00001',"
                " 'acc-00002', 'acc-00003')"
            ),
            "UPDATE SCHEMA.raw_trades_closed SET account_id = NULL WHERE account_id > 'acc-00004'",
        ),
    )
    async with engine(place.database, sandbox) as service:
        states = [await run(service, kind) for kind in (RunKind.FULL, RunKind.AUDIT)]
    assert states[0]["rows"]["inserted"] > 0  # type: ignore[index]


async def _filled(place: Place, sandbox: SandboxServer) -> None:
    async with place.owner.connect() as connection:
        await ingest(sandbox.base_url, sandbox.api_key, connection, place.owner.schema)


async def test_after_migrations_and_runs_it_leaves_an_earlier_system_as_it_was(
    postgres: Server, sandbox: SandboxServer
) -> None:
    """In one of the forms of its schema; test_moving_in.py comes back out of each."""
    async with new_database(postgres, SCHEMA) as place:
        await execute(place, (*FORMS["integer tickets, partitioned"], *OLD_OBJECTS, *GRANTS))
        await _filled(place, sandbox)
        await execute(place, OLD_ROWS)
        before = await _seen(place)
        await _live(place, sandbox)
        script = await _uninstall(place)
        after = await _seen(place)
        assert {
            name: lines ^ before[0].get(name, frozenset())
            for name, lines in after[0].items()
            if lines != before[0].get(name)
        } == {}
        assert after == before
        assert "in one transaction" in script.splitlines()[0]
        # What remains can be moved into again.
        await migrate(place.owner.dsn, SCHEMA)
        await _uninstall(place)
        assert await _seen(place) == before


async def test_it_leaves_a_warehouse_without_an_earlier_system_as_it_was(
    postgres: Server, sandbox: SandboxServer
) -> None:
    async with new_database(postgres, "Odd_Schema") as place:
        await execute(place, FORMS["text tickets, partitioned"])
        await _filled(place, sandbox)
        before = await _seen(place)
        await _live(place, sandbox)
        await _uninstall(place)
        assert await _seen(place) == before


async def test_where_an_older_version_kept_no_copy_trade_recon_keeps_its_rows_and_loses_our_columns(
    postgres: Server,
) -> None:
    async with new_database(postgres, SCHEMA) as place:
        await execute(
            place, (*FORMS["text tickets, partitioned"], *OLD_OBJECTS, *GRANTS, *OLD_ROWS)
        )
        before = await _seen(place)
        await migrate(place.owner.dsn, SCHEMA)
        await execute(place, ["DROP TABLE SCHEMA.recon_earlier, SCHEMA.recon_earlier_trade_recon"])
        script = await _uninstall(place)
        after = await _seen(place)
        assert "no copy of it was kept" in script
        assert {name for name in after[0] if after[0][name] != before[0].get(name)} == {
            "trade_recon"
        }
        assert after[0].keys() == before[0].keys()
        columns = {
            json.loads(line)[2]
            for line in after[0]["trade_recon"]
            if json.loads(line)[0] == "column"
        }
        assert not columns & {"claim_id", "mismatched_days", "whole_copy", "explained_as"}
        assert len(after[1]) == len(before[1])


async def test_tables_that_trade_recon_made_stay_with_their_rows(
    database: Database, sandbox: SandboxServer
) -> None:
    place = Place(database, database, "none")
    await _filled(place, sandbox)
    script = await _uninstall(place)
    left = (await _seen(place))[0]
    assert {name for name in left if not name.startswith("raw_")} == {SCHEMA}
    assert len(left) > len(DATED) + 1
    async with database.connect() as connection:
        assert await connection.fetchval("SELECT count(*) FROM raw_trades_closed") > 0
        [drop] = [
            line.removeprefix("-- ")
            for line in script.splitlines()
            if line.startswith("-- DROP TABLE")
        ]
        await connection.execute(drop)


@pytest.mark.parametrize("seed", range(2))
async def test_copies_that_later_migrations_of_the_earlier_system_left_go_and_others_stay(
    seed: int, postgres: Server
) -> None:
    async with new_database(postgres, SCHEMA) as place:
        await execute(
            place, (*FORMS["text tickets, partitioned"], *OLD_OBJECTS, *GRANTS, *OLD_ROWS)
        )
        before = await _seen(place)
        await migrate(place.owner.dsn, SCHEMA)
        progress = next(sql for sql in OLD_OBJECTS if "VIEW SCHEMA.v_reconciliation" in sql)
        overload = (
            "CREATE OR REPLACE FUNCTION SCHEMA.update_trade_recon_stats(p_account_id varchar)"
            " RETURNS void LANGUAGE sql AS 'SELECT {}'"
        )
        again = [
            "DROP VIEW SCHEMA.v_reconciliation_progress",
            progress,
            overload.format(random.Random(seed).randrange(9)),
        ]
        await execute(place, again)
        if seed == 0:
            # Not put right yet: a function of theirs in a new form stays; a view in the form that
            # was put aside gives way to it.
            script = await _uninstall(place)
            after = await _seen(place)
            assert "since they are not trade-recon's own any more" in script
            function = "update_trade_recon_stats"
            assert {name for name in after[0] if after[0][name] != before[0].get(name)} == {
                function,
                f"{function}_before_trade_recon",
            }
            assert before[0].keys() <= after[0].keys()
            assert not any(name.startswith("recon_") for name in after[0])
            return
        await migrate(place.owner.dsn, SCHEMA)
        script = await _uninstall(place)
        after = await _seen(place)
        assert "update_trade_recon_stats_before_trade_recon_2" in script
        assert {
            name: lines for name, lines in after[0].items() if not name.endswith("_2")
        } == before[0]


async def test_a_role_of_its_own_loses_its_rights_and_what_it_owned_goes_back(
    postgres: Server, sandbox: SandboxServer
) -> None:
    role = f"recon_role_{secrets.token_hex(4)}"
    async with new_database(postgres, SCHEMA) as place:
        await execute(place, (*FORMS["text tickets, partitioned"], *OLD_OBJECTS, *GRANTS))
        await _filled(place, sandbox)
        await execute(place, OLD_ROWS)
        before = await _seen(place)
        try:
            async with place.owner.connect() as connection:
                for statement in statements(await print_advice(_settings(place.owner), role)):
                    await connection.execute(statement)
            owned = Place(place.owner, with_setting(place.owner, "role", role), role)
            await _live(owned, sandbox)
            script = await _uninstall(place, role)
            assert f'DROP ROLE "{role}"' in script
            assert await _seen(place) == before
        finally:
            async with place.owner.connect() as connection:
                await connection.execute(f'DROP OWNED BY "{role}"')
                await connection.execute(f'DROP ROLE "{role}"')


async def test_it_names_what_stands_on_ours_and_changes_nothing_while_a_process_works(
    database: Database, tmp_path: Path
) -> None:
    async with database.connect() as connection:
        await connection.execute("CREATE VIEW own_days AS SELECT account_id FROM v_recon_days")
        printed = await run_command(
            tmp_path, {"DATABASE_URL": database.dsn}, "uninstall", "--print"
        )
        assert printed.code == 0, printed.stderr
        assert (
            "yours and stand on what goes; drop or change them first: prop_trading_model.own_days"
            in printed.stdout
        )
        with pytest.raises(asyncpg.DependentObjectsStillExistError):
            await connection.execute(printed.stdout)
        await connection.execute("ROLLBACK")
        await connection.execute("DROP VIEW own_days")
        await connection.execute(
            "INSERT INTO recon_workers (worker_id, host, pid) VALUES (gen_random_uuid(), 'here', 1)"
        )
        with pytest.raises(asyncpg.RaiseError, match="A process of trade-recon works here"):
            await connection.execute(printed.stdout)
        await connection.execute("ROLLBACK")
        assert await connection.fetchval("SELECT count(*) FROM recon_migrations") > 0


async def test_without_print_or_without_an_installation_it_says_so(
    postgres: Server, database: Database, tmp_path: Path
) -> None:
    refused = await run_command(tmp_path, {"DATABASE_URL": database.dsn}, "uninstall")
    assert (refused.code, refused.stdout) == (2, "")
    assert "give --print" in refused.stderr
    async with new_database(postgres, SCHEMA) as place:
        nothing = await run_command(
            tmp_path, {"DATABASE_URL": place.owner.dsn}, "uninstall", "--print"
        )
        assert (nothing.code, nothing.stdout) == (2, "")
        assert "not installed" in nothing.stderr


async def test_a_name_of_several_lines_stays_within_its_comment(database: Database) -> None:
    role = f"odd_{secrets.token_hex(4)}\nSELECT 'said by a role';"
    async with database.connect() as connection:
        await connection.execute(
            "CREATE VIEW public.\"of\nSELECT 'said by a view';\r\\! id\" AS SELECT issues FROM"
            f' trade_recon; CREATE ROLE "{role}"; GRANT SELECT ON raw_trades_open TO "{role}"'
        )
        script = await print_uninstall(_settings(database), role)
        assert "of SELECT 'said by a view'; \\! id" in script
        assert 'the role U&"odd_' in script
        parts = re.split(r"[\r\n]", script)
        assert not [part for part in parts if part.startswith(("SELECT 'said", "\\"))]
        await connection.execute(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')
