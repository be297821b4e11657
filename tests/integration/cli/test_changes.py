"""What became of rows, over HTTP and on the command line: old and new side by side, the run, the
issues, and pages that end.
"""

import datetime as dt
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.domain.states import RunKind
from app.engine.restore import Restoring
from app.sandbox.server.serving import SandboxServer
from app.store.restore.changed_rows import ChangedRows, Picked, nulled_values
from app.store.restore.restore import RemovedRows
from tests.conftest import Database
from tests.support.commands import run_command, served, settings_for
from tests.support.engine import engine, run

_DAY = dt.date(2024, 3, 4)


async def _changed_twice(database: Database) -> None:
    """Two runs overwrite one daily row, and a third removes an hourly one; somebody writes the
    daily row afterwards.
    """
    async with database.connect() as connection:
        for table in ("raw_metrics_daily", "raw_metrics_hourly"):
            await connection.execute(
                "SELECT recon_create_partitions($1, ARRAY[$2::date])", table, _DAY
            )
        await connection.execute(
            "INSERT INTO raw_metrics_daily (account_id, date, num_trades, net_profit, login) VALUES"
            " ('a', $1, 4, 1.25, '007')",
            _DAY,
        )
        await connection.execute(
            "INSERT INTO raw_metrics_hourly (account_id, date, hour, num_trades) VALUES ('a', $1,"
            " 9, 4)",
            _DAY,
        )
        for number, figures in ((1, "num_trades = 5"), (2, "num_trades = 6, net_profit = NULL")):
            run_id = f"00000000-0000-0000-0000-00000000000{number}"
            await connection.execute(
                "INSERT INTO recon_runs (run_id, kind, status) VALUES ($1, 'full', 'succeeded')",
                run_id,
            )
            await connection.execute(
                "INSERT INTO recon_issue_history (account_id, type, severity, opened_at, evidence,"
                " closed_at) VALUES ('a', 'hourly_daily_mismatch', 3, now() - interval '1 minute',"
                " $1, NULL), ('a', 'upstream_drift', 2, now() - interval '1 minute', '{}', NULL)",
                json.dumps({"missing_dates": [_DAY.isoformat()]}),
            )
            async with connection.transaction():
                await connection.execute(
                    "INSERT INTO recon_removed_rows (run_id, account_id, table_name, date, reason,"
                    " row_data) SELECT $1, 'a', 'raw_metrics_daily', date, 'overwritten',"
                    " to_jsonb(t) FROM raw_metrics_daily AS t",
                    run_id,
                )
                await connection.execute(f"UPDATE raw_metrics_daily SET {figures}")
            await connection.execute(
                "UPDATE recon_issue_history SET closed_at = clock_timestamp() WHERE closed_at IS"
                " NULL"
            )
        async with connection.transaction():
            await connection.execute(
                "INSERT INTO recon_removed_rows (run_id, account_id, table_name, date, reason,"
                " row_data) SELECT $1, 'a', 'raw_metrics_hourly', date, 'removed', to_jsonb(t) FROM"
                " raw_metrics_hourly AS t",
                "00000000-0000-0000-0000-000000000003",
            )
            await connection.execute("DELETE FROM raw_metrics_hourly")


async def _told(database: Database, folder: Path, *words: str) -> str:
    """What people are shown."""
    ended = await run_command(folder, {"DATABASE_URL": database.dsn}, "changes", *words)
    assert ended.code == 0, ended.stderr
    return ended.stdout


async def _changes(database: Database, folder: Path, *words: str) -> Mapping[str, Any]:
    ended = await run_command(
        folder, {"DATABASE_URL": database.dsn}, "changes", "--format", "json", *words
    )
    assert ended.code == 0, ended.stderr
    shown: Mapping[str, Any] = json.loads(ended.stdout)
    return shown


async def test_each_change_shows_the_columns_that_differ_the_run_and_the_issues_of_its_date(
    database: Database, tmp_path: Path
) -> None:
    await _changed_twice(database)
    shown = await _changes(database, tmp_path, "--account", "a", "--date", str(_DAY))
    removed, second, first = shown["rows"]
    assert (first["columns"], first["new_from"]) == (
        [{"name": "num_trades", "old": "4", "new": "5"}],
        "copy",
    )
    assert (second["columns"], second["new_from"], second["is_written_since"]) == (
        [
            {"name": "net_profit", "old": "1.25", "new": None},
            {"name": "num_trades", "old": "5", "new": "6"},
        ],
        "stored",
        False,
    )
    assert (first["issues"], first["run_kind"], first["run_id"][-1]) == (
        ["hourly_daily_mismatch"],
        "full",
        "1",
    )
    assert (removed["reason"], removed["new_from"], removed["issues"]) == ("removed", "gone", [])
    assert {"name": "num_trades", "old": "4", "new": None} in removed["columns"]
    assert shown["next"] is None
    async with database.connect() as connection:
        await connection.execute(
            "UPDATE raw_metrics_daily SET num_trades = 7, ingestion_timestamp = '2030-01-01'"
        )
    [again] = (
        await _changes(
            database, tmp_path, "--run", second["run_id"], "--table", "raw_metrics_daily"
        )
    )["rows"]
    assert again["is_written_since"] is True
    read = [await _changes(database, tmp_path, "--account", "a", "--limit", "2")]
    read.append(
        await _changes(
            database, tmp_path, "--account", "a", "--limit", "2", "--before", str(read[0]["next"])
        )
    )
    assert [row["id"] for page in read for row in page["rows"]] == [
        row["id"] for row in (removed, second, first)
    ]
    assert read[1]["next"] is None
    people = await run_command(
        tmp_path,
        {"DATABASE_URL": database.dsn},
        "changes",
        "--account",
        "a",
        "--table",
        "raw_metrics_daily",
    )
    assert people.code == 0
    lines = [line.split() for line in people.stdout.splitlines()]
    assert ["net_profit", "1.25", "NULL"] in lines
    assert "(full), asked for by hourly_daily_mismatch." in people.stdout
    nothing = await run_command(
        tmp_path, {"DATABASE_URL": database.dsn}, "changes", "--account", "b"
    )
    assert (nothing.code, nothing.stdout.strip()) == (0, "No change of a row is kept that fits.")
    wrong = await run_command(tmp_path, {"DATABASE_URL": database.dsn}, "changes")
    assert (wrong.code, wrong.stdout) == (2, "")


async def test_a_heal_and_its_undoing_show_as_each_other_turned_round(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    """Every value that a run wrote is what the change before it shows as new, for rows of all
    tables that it overwrote.
    """
    async with filled.connect() as connection:
        await connection.execute(
            "UPDATE raw_metrics_alltime SET num_trades = num_trades + 1, net_profit = 1 WHERE"
            " account_id = $1",
            sandbox.world.account_ids[0],
        )
        damaged = await connection.fetchrow(
            "SELECT * FROM raw_metrics_alltime WHERE account_id = $1", sandbox.world.account_ids[0]
        )
    async with engine(filled, sandbox) as service:
        state = await run(service, RunKind.AUDIT)
        changed = ChangedRows(service.store.database)
        rows = await changed.page(Picked(run_id=state["run_id"]), 200)  # type: ignore[arg-type]
        [of_alltime] = [row for row in rows if row.copy.table == "raw_metrics_alltime"]
        columns = {column.name: column for column in of_alltime.columns}
        assert damaged is not None
        assert columns["net_profit"].old == "1.00" or columns["net_profit"].old == str(
            damaged["net_profit"]
        )
        assert "upstream_drift" in of_alltime.issues
        waiting = await RemovedRows(service.store.database, service.store.feed).waiting_of_run(
            state["run_id"]  # type: ignore[arg-type]
        )
        assert all([each.is_there async for each in Restoring(service.store).restore(waiting)])
        undone = await changed.page(
            Picked(account_id=of_alltime.copy.account_id, table="raw_metrics_alltime"), 1
        )
        assert {column.name: (column.new, column.old) for column in undone[0].columns} == {
            column.name: (column.old, column.new) for column in of_alltime.columns
        }
        assert undone[0].copy.run_id is None
    words = ("--account", str(of_alltime.copy.account_id), "--table", "raw_metrics_alltime")
    newest = await _told(filled, tmp_path, *words, "--limit", "1")
    assert "UTC by a restore" in newest
    assert "There may be older ones: --before" in newest
    older = newest.split("--before ")[1].split(".")[0]
    assert "It was restored at" in await _told(filled, tmp_path, *words, "--before", older)


def test_a_value_that_was_stored_as_null_is_named_with_what_was_sent() -> None:
    reason = (
        "stored with NULL, since the value cannot be held: stop_loss, open_time; stored with U+FFFD"
        " for characters: comment"
    )
    sent = '{"stopLoss": "many", "openTime": "yesterday", "comment": "x"}'
    assert nulled_values("raw_trades_closed", reason, sent) == {
        "stop_loss": "many",
        "open_time": "yesterday",
    }
    assert nulled_values("raw_trades_closed", "refused", sent) == {}


async def test_over_http_pages_are_bounded_and_what_cannot_be_is_refused(
    database: Database, sandbox: SandboxServer
) -> None:
    await _changed_twice(database)
    async with served(settings_for(database.dsn, sandbox.base_url)) as client:
        page = (
            await client.get(
                "/changes/rows", params={"account_id": "a", "date": str(_DAY), "limit": 2}
            )
        ).json()
        rest = (
            await client.get(
                "/changes/rows", params={"account_id": "a", "limit": 2, "before": page["next"]}
            )
        ).json()
        assert [row["reason"] for row in page["rows"] + rest["rows"]] == [
            "removed",
            "overwritten",
            "overwritten",
        ]
        assert (rest["next"], rest["nulled"]) == (None, [])
        assert (await client.get("/changes/rows", params={"run_id": str(uuid.uuid4())})).json()[
            "rows"
        ] == []
        for wrong in (
            {"limit": 201},
            {"limit": 0},
            {"table": "trade_recon"},
            {"date": "yesterday"},
            {"run_id": "7"},
            {"account": "a"},
        ):
            assert (await client.get("/changes/rows", params=wrong)).status_code == 422, wrong
        # The feed is what it was.
        assert set((await client.get("/changes")).json()) == {"changes", "next", "more"}
