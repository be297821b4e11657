"""What a person who moves in gets wrong is told: another schema, months that were detached or
dropped, what stands on columns of ours.
"""

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.adoption import print_uninstall, warehouse_notes
from app.settings.model import Settings
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Database, Server
from tests.support.commands import run_command, served, settings_for
from tests.support.warehouses.building import execute, new_database
from tests.support.warehouses.heritage import FORMS, OLD_OBJECTS, SCHEMA


@pytest.mark.parametrize("typo", ["prop_trading_modell", "Prop_Trading_Model", "raw"])
async def test_a_schema_that_is_not_there_is_not_made_beside_the_one_of_the_tables(
    database: Database, tmp_path: Path, typo: str
) -> None:
    variables = {"DATABASE_URL": database.dsn, "RECON_SCHEMA": typo}
    for command in ("migrate", "doctor"):
        ended = await run_command(tmp_path, variables, command)
        said = (
            f"The schema {typo} does not exist, and raw tables stand in {SCHEMA}: set RECON_SCHEMA"
        )
        assert (ended.code, said in ended.stdout + ended.stderr) == (
            2 if command == "migrate" else 1,
            True,
        ), ended.stderr
    async with database.connect() as connection:
        assert await connection.fetchval("SELECT to_regnamespace(quote_ident($1)) IS NULL", typo)
        await connection.execute(f'CREATE SCHEMA "{typo}"')
    assert (await run_command(tmp_path, variables, "migrate")).code == 0


async def test_months_that_were_dropped_or_detached_are_told_with_what_to_set(
    postgres: Server,
) -> None:
    async with new_database(postgres, SCHEMA) as place:
        await execute(place, (*FORMS["integer tickets, partitioned"], *OLD_OBJECTS))
        await migrate(place.owner.dsn, SCHEMA)
        settings = Settings(database_url=SecretStr(place.owner.dsn))
        async with place.owner.connect() as connection:
            months = await connection.fetch(
                "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent ="
                " 'raw_trades_closed'::regclass ORDER BY 1"
            )
            detached = months[len(months) // 2]["name"]
            await connection.execute(f"ALTER TABLE raw_trades_closed DETACH PARTITION {detached}")
            await connection.execute(
                "CREATE TABLE raw_trades_closed_2020_13 (LIKE raw_trades_closed)"
            )
            await connection.execute("CREATE TABLE raw_trades_closed_copy (LIKE raw_trades_closed)")
        said = [
            note
            for note in await warehouse_notes(settings)
            if "detached" in note or "partitions begin" in note
        ]
        assert len(said) == 2, said
        assert "RECON_HISTORY_FROM is not set" in said[0]
        assert said[1].startswith(
            f"{detached} stands beside raw_trades_closed like a detached partition"
        )


async def test_the_head_of_the_way_back_names_what_reads_columns_of_ours(postgres: Server) -> None:
    async with new_database(postgres, SCHEMA) as place:
        await execute(place, (*FORMS["integer tickets, partitioned"], *OLD_OBJECTS))
        await migrate(place.owner.dsn, SCHEMA)
        settings = Settings(database_url=SecretStr(place.owner.dsn))
        before = await print_uninstall(settings, "trade_recon")
        assert "stand on what goes" not in before
        async with place.owner.connect() as connection:
            await connection.execute(
                "CREATE VIEW waiting AS SELECT account_id, next_attempt_at FROM trade_recon"
            )
            await connection.execute(
                "CREATE VIEW known AS SELECT account_id, last_checked FROM trade_recon"
            )
            await connection.execute("CREATE INDEX by_attempt ON trade_recon (next_attempt_at)")
        head = (await print_uninstall(settings, "trade_recon")).split("BEGIN;")[0]
        (line,) = [line for line in head.splitlines() if "stand on what goes" in line]
        assert "waiting" in line
        assert "the index " in line
        assert "by_attempt" in line
        assert "known" not in line


async def test_whatever_an_earlier_system_left_among_the_issues_the_report_is_given_at_every_face(
    database: Database, tmp_path: Path
) -> None:
    odd: list[dict[str, object]] = [
        {"type": "daily_without_hourly", "severity": severity}
        for severity in ("HIGH", [1], 2.5, None, 1e30, 0, 6, -1, True, "3", {"level": 2})
    ]
    kinds: tuple[object, ...] = (7, None, {"a": 1}, [], True, "", "ein Text")
    odd += [{"type": kind, "severity": 2} for kind in kinds]
    entries: list[object] = [
        *odd,
        {},
        {"severity": 2},
        "words",
        None,
        5,
        [],
        [1],
        {"type": "x", "description": 3, "affected": "raw", "metadata": []},
    ]
    async with database.connect() as connection:
        for number, entry in enumerate(entries):
            await connection.execute(
                "INSERT INTO trade_recon (account_id, issues) VALUES ($1, $2::text::jsonb)",
                f"acc-{number}",
                json.dumps([entry]),
            )
        assert await connection.fetchval(
            "SELECT sum(account_count) FROM get_issue_statistics()"
        ) == len(entries)
    for words in (("report",), ("report", "--format", "json"), ("legacy", "--report")):
        ended = await run_command(tmp_path, {"DATABASE_URL": database.dsn}, *words)
        assert (ended.code, "Traceback" in ended.stderr) == (0, False), ended.stderr[-600:]
    async with served(settings_for(database.dsn, "http://127.0.0.1:1")) as client:
        answer = await client.get("/report")
        assert answer.status_code == 200
        assert sum(each["account_count"] for each in answer.json()["issues_by_type"]) == len(
            entries
        )
        for number, entry in enumerate(entries):
            account = await client.get(f"/accounts/acc-{number}")
            assert account.status_code == 200, (entry, account.text)
