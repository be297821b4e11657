"""The earlier system is told before it is put aside, and its migrations, run again later, are found
and put right.
"""

import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.errors import WriteConflict
from app.examination import Level, examine
from app.sandbox.witness.raw_sql import in_schema
from app.settings.model import Settings
from app.store.schema.migrations import files as migration_files
from app.store.schema.migrations import migrate as migrations
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Server
from tests.support.commands import run_command
from tests.support.warehouses.building import Place, execute, new_database
from tests.support.warehouses.heritage import GRANTS, OLD_OBJECTS, SCHEMA, TABLES_OF_HERITAGE

OWN = """
SELECT kind, name, definition FROM SCHEMA.recon_definitions WHERE kind <> 'trigger' ORDER BY 1, 2
"""
_OVERLOAD = (
    "CREATE OR REPLACE FUNCTION SCHEMA.update_trade_recon_stats(p_account_id varchar, force"
    " boolean) RETURNS void LANGUAGE sql AS 'SELECT'"
)
_AGAIN = """
CREATE OR REPLACE FUNCTION SCHEMA.update_trade_recon_stats(p_account_id varchar) RETURNS void LANGUAGE sql AS $$
    UPDATE SCHEMA.trade_recon SET last_checked = now() WHERE account_id = p_account_id
$$
"""
_OTHER_PROGRESS = """
CREATE OR REPLACE VIEW SCHEMA.v_reconciliation_progress AS
SELECT count(*) AS total_accounts, 0::bigint AS reconciled, 0::bigint AS needs_reconciliation, 0::bigint AS has_failures,
       0::bigint AS has_issues, 0.0::numeric AS reconciliation_percentage, max(last_checked) AS last_activity,
       min(last_checked) AS oldest_unreconciled
FROM SCHEMA.trade_recon
"""
_PROGRESS = next(sql for sql in OLD_OBJECTS if "VIEW SCHEMA.v_reconciliation" in sql)
_STATISTICS = next(sql for sql in OLD_OBJECTS if "get_issue_statistics" in sql)
_LIST = (
    "CREATE MATERIALIZED VIEW SCHEMA.mv_all_account_ids AS SELECT DISTINCT account_id FROM"
    " SCHEMA.raw_metrics_alltime"
)
AGAIN: Mapping[str, tuple[tuple[str, ...], str]] = {
    "function": (
        (_AGAIN,),
        "update_trade_recon_stats(character varying) is not trade-recon's any more",
    ),
    "overload": (
        (_OVERLOAD,),
        "update_trade_recon_stats(character varying, boolean) stands beside",
    ),
    "statistics": (
        ("DROP FUNCTION SCHEMA.get_issue_statistics()", _STATISTICS),
        "get_issue_statistics() is not trade-recon's any more",
    ),
    "progress": (
        ("DROP VIEW SCHEMA.v_reconciliation_progress CASCADE", _PROGRESS),
        "v_reconciliation_progress is not trade-recon's any more",
    ),
    "progress in place": (
        (_OTHER_PROGRESS,),
        "v_reconciliation_progress is not trade-recon's any more",
    ),
    "list": (
        (
            "DROP MATERIALIZED VIEW SCHEMA.mv_all_account_ids CASCADE",
            _LIST,
            (
                "CREATE UNIQUE INDEX mv_all_account_ids_account_id ON SCHEMA.mv_all_account_ids"
                " (account_id)"
            ),
        ),
        "mv_all_account_ids is not trade-recon's any more",
    ),
    "gone": (
        ("DROP VIEW SCHEMA.v_recon_mismatched",),
        "v_recon_mismatched of trade-recon's is missing",
    ),
    "columns": (
        (
            (
                "ALTER TABLE SCHEMA.trade_recon ALTER COLUMN issues DROP NOT NULL, ALTER COLUMN"
                " last_checked SET DEFAULT now()"
            ),
            "INSERT INTO SCHEMA.trade_recon (account_id, issues) VALUES ('half', NULL)",
        ),
        "column issues of trade_recon has another type, default or NOT NULL",
    ),
    "state": (
        ("DROP TABLE SCHEMA.trade_recon CASCADE", OLD_OBJECTS[0]),
        "column claim_id of trade_recon of trade-recon's is missing",
    ),
}
"""What the earlier system's migrations do when they are run again, and what is said of it."""


@pytest.fixture
async def place(postgres: Server) -> AsyncIterator[Place]:
    """The earlier system's warehouse, before trade-recon."""
    async with new_database(postgres, SCHEMA) as made:
        await execute(made, (*TABLES_OF_HERITAGE, *OLD_OBJECTS, *GRANTS))
        await execute(
            made,
            (
                (
                    "INSERT INTO SCHEMA.raw_metrics_alltime (account_id, login, platform, broker,"
                    " num_trades) VALUES ('a', '7', 8, 1, 5)"
                ),
                (
                    "INSERT INTO SCHEMA.trade_recon (account_id, issues) VALUES ('a', NULL), ('7',"
                    " '[]'), (md5('7|8|1'), '[]')"
                ),
            ),
        )
        yield made


async def _own(place: Place) -> list[tuple[object, ...]]:
    async with place.owner.connect() as connection:
        return [tuple(row) for row in await connection.fetch(in_schema(OWN, SCHEMA))]


async def _wrong(dsn: str) -> list[str]:
    """What the doctor finds wrong."""
    found = [finding async for finding in examine(Settings(database_url=SecretStr(dsn)))]
    return [finding.text for finding in found if finding.level is Level.WRONG]


async def test_what_is_put_aside_and_altered_is_told_before_and_after(
    place: Place, tmp_path: Path
) -> None:
    ended = await run_command(tmp_path, {"DATABASE_URL": place.owner.dsn}, "migrate")
    assert ended.code == 0, ended.stderr
    before, _, after = ended.stdout.partition("applied ")
    for name in (
        "function update_trade_recon_stats(character varying)",
        "function get_issue_statistics()",
    ):
        assert f"The {name} of an earlier system will be put aside" in before
    for name in ("view v_reconciliation_progress", "materialized view mv_all_account_ids"):
        assert f"The {name} of an earlier system will be put aside" in before
    assert "trade_recon keeps its 3 rows and gets the columns reconciliation_status, " in before
    assert "in 1 row what is empty becomes" in before or "in 3 rows what is empty becomes" in before
    assert "2 rows of trade_recon are under ids that stand in for unknown ones" in before
    told = ended.stdout.splitlines()
    for name in (
        "function get_issue_statistics_before_trade_recon()",
        "function update_trade_recon_stats_before_trade_recon(character varying)",
        "materialized view mv_all_account_ids_before_trade_recon",
        "view v_reconciliation_progress_before_trade_recon",
    ):
        assert f"Put aside: {name}." in told
    assert not any(line.startswith("Found") for line in told)
    async with place.owner.connect() as connection:
        # Whoever called them goes on: by the argument's name, and with the rights that there were.
        await connection.execute("SELECT update_trade_recon_stats(p_account_id => 'a')")
        execute_right = (
            "SELECT has_function_privilege($1,"
            " 'prop_trading_model.update_trade_recon_stats(varchar)', 'EXECUTE')"
        )
        assert await connection.fetchval(execute_right, place.role)
    again = await run_command(tmp_path, {"DATABASE_URL": place.owner.dsn}, "migrate")
    assert "aside" not in again.stdout.replace("set aside", "")
    assert "Found" not in again.stdout
    assert after


@pytest.mark.parametrize("seed", range(4))
async def test_earlier_migrations_that_run_again_are_found_by_doctor_and_put_right_by_migrate(
    seed: int, place: Place
) -> None:
    dsn = place.owner.dsn
    await migrate(dsn, SCHEMA)
    kept = await _own(place)
    names = sorted(AGAIN)
    drawn = (
        random.Random(seed).sample([name for name in names if name != "state"], 3)
        if seed
        else ["state", "function", "overload", "list"]
    )
    if {"progress", "progress in place"} <= {*drawn}:
        drawn.remove("progress in place")
    await execute(place, [statement for name in drawn for statement in AGAIN[name][0]])
    examined = await _wrong(dsn)
    said: list[str] = []
    await migrate(dsn, SCHEMA, tell=said.append)
    for name in drawn:
        assert AGAIN[name][1] in "\n".join(said), (name, said)
        assert AGAIN[name][1] in "\n".join(examined)
    assert await _own(place) == kept
    async with place.owner.connect() as connection:
        await connection.execute("SELECT update_trade_recon_stats('a'::varchar)")
        row = await connection.fetchrow(
            "SELECT has_alltime, num_trades_alltime, claim_id FROM trade_recon WHERE account_id"
            " = 'a'"
        )
        assert tuple(row or ()) == (True, 5, None)
        await connection.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY mv_all_account_ids")
        assert await connection.fetchval("SELECT count(*) FROM v_recon_mismatched") > 0
        privilege = (
            "SELECT has_table_privilege($1, 'prop_trading_model.v_reconciliation_progress',"
            " 'SELECT')"
        )
        assert await connection.fetchval(privilege, place.role)
    again: list[str] = []
    await migrate(dsn, SCHEMA, tell=again.append)
    assert again == []
    assert await _wrong(dsn) == []


async def test_migrations_that_run_again_every_night_leave_one_copy_aside(place: Place) -> None:
    await migrate(place.owner.dsn, SCHEMA)
    for _ in range(3):
        await execute(place, (*AGAIN["function"][0], *AGAIN["progress"][0]))
        await migrate(place.owner.dsn, SCHEMA)
    async with place.owner.connect() as connection:
        aside = [
            row["name"]
            for row in await connection.fetch(
                "SELECT proname AS name FROM pg_proc WHERE proname ~ '_before_trade_recon'"
            )
        ]
        views = [
            row["name"]
            for row in await connection.fetch(
                "SELECT relname AS name FROM pg_class WHERE relkind = 'v' AND relname ~ '_before_'"
            )
        ]
    assert sorted(aside) == [
        "get_issue_statistics_before_trade_recon",
        "update_trade_recon_stats_before_trade_recon",
        "update_trade_recon_stats_before_trade_recon_2",
    ]
    assert views == ["v_reconciliation_progress_before_trade_recon"]


async def test_a_trigger_that_is_new_on_a_table_of_ours_is_named_and_stays(place: Place) -> None:
    await migrate(place.owner.dsn, SCHEMA)
    function = "suppress_redundant_updates_trigger()"
    await execute(
        place,
        [
            (
                "CREATE TRIGGER own_watch BEFORE UPDATE ON SCHEMA.trade_recon FOR EACH ROW EXECUTE"
                f" FUNCTION {function}"
            )
        ],
    )
    said: list[str] = []
    await migrate(place.owner.dsn, SCHEMA, tell=said.append)
    assert [line for line in said if "own_watch on trade_recon is new" in line] == said


async def test_the_columns_that_are_watched_are_all_that_migrations_add(place: Place) -> None:
    await migrate(place.owner.dsn, SCHEMA)
    async with place.owner.connect() as connection:
        columns = await connection.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'trade_recon'::regclass AND attnum >"
            " 1 AND NOT attisdropped"
        )
    assert {row["attname"] for row in columns} == {
        str(name) for kind, name, _ in await _own(place) if kind == "column"
    }


async def test_what_a_migration_of_ours_replaced_is_ours_even_if_it_broke_off_right_after(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate(place.owner.dsn, SCHEMA)
    newer = tmp_path / "9999_newer.sql"
    newer.write_text(_OTHER_PROGRESS.replace("SCHEMA.", "prop_trading_model."), encoding="utf-8")

    async def breaks_off(*_: object) -> None:
        raise WriteConflict("others hold locks")

    monkeypatch.setattr(migration_files, "later_files", lambda: [newer])
    monkeypatch.setattr(migrations, "_PAUSE_SECONDS", 0)
    with monkeypatch.context() as broken:
        broken.setattr(migrations, "fit_staging", breaks_off)
        with pytest.raises(WriteConflict):
            await migrate(place.owner.dsn, SCHEMA)
    said: list[str] = []
    await migrate(place.owner.dsn, SCHEMA, tell=said.append)
    assert said == []
    async with place.owner.connect() as connection:
        assert (
            await connection.fetchval(
                "SELECT reconciliation_percentage FROM v_reconciliation_progress"
            )
            == 0
        )
