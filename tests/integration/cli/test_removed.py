"""`trade-recon removed` as a person and a script meet it."""

import json
import re
import uuid
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from app.domain.contract.tables import TABLES, Endpoint
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.clock import SETTLED
from tests.support.commands import Ended, access, run_command
from tests.support.engine import difference

_ALLTIME = TABLES[Endpoint.ALLTIME]
_RUN = uuid.UUID(int=7)
_PINNED = "They are pinned: no run changes them until `trade-recon removed release`"


async def _removed(database: Database, folder: Path, *words: str) -> Ended:
    return await run_command(folder, {"DATABASE_URL": database.dsn}, "removed", *words)


async def _json(
    database: Database, folder: Path, *words: str
) -> tuple[list[dict[str, object]], int | None]:
    ended = await _removed(database, folder, "--format", "json", *words)
    assert ended.code == 0, ended.stderr
    listed = json.loads(ended.stdout, parse_float=Decimal)
    return listed["rows"], listed["next_before"]


@pytest.fixture
async def kept(database: Database) -> Sequence[int]:
    """Copies of three rows of alltime that are gone."""
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO raw_metrics_alltime (account_id, login, platform, broker, net_profit)"
            " SELECT 'account-' || n, '00' || n, 8, 1, 1234567890123456.10 FROM generate_series(1,"
            " 3) AS n"
        )
        rows = await connection.fetch(
            "INSERT INTO recon_removed_rows (run_id, account_id, table_name, reason, row_data)"
            " SELECT $1, account_id, 'raw_metrics_alltime', 'removed', to_jsonb(t) FROM"
            " raw_metrics_alltime AS t ORDER BY account_id RETURNING removed_id",
            _RUN,
        )
        await connection.execute("DELETE FROM raw_metrics_alltime")
    return [row["removed_id"] for row in rows]


async def test_the_list_tells_what_was_kept_and_how_it_comes_back(
    database: Database, kept: Sequence[int], tmp_path: Path
) -> None:
    ended = await _removed(database, tmp_path)
    assert ended.code == 0, ended.stderr
    lines = ended.stdout.splitlines()
    found = [line.split() for line in lines if "raw_metrics_alltime" in line]
    assert [int(words[0]) for words in found] == list(kept)[::-1]
    assert found[0][3:] == [
        "raw_metrics_alltime",
        "account-3",
        "-",
        "removed",
        str(_RUN),
        "account-3",
        "-",
    ]
    assert "`trade-recon removed restore ID` brings a row back, and pins it." in lines
    assert (await _removed(database, tmp_path, "restore", str(kept[2]))).code == 0
    again = [
        line.split()
        for line in (await _removed(database, tmp_path)).stdout.splitlines()
        if f"{kept[2]} " in line
    ]
    assert again[0][-2].startswith("20")


async def test_a_double_is_listed_as_removed_with_the_date_that_stays(
    database: Database, tmp_path: Path
) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO recon_removed_rows (account_id, table_name, date, reason, right_date,"
            " row_data) VALUES ('a', 'raw_trades_closed', '2024-01-31', 'removed', '2024-01-30',"
            " '{}'), ('a', 'raw_trades_closed', '2024-01-31', 'moved', NULL, '{}')"
        )
    shown = await _removed(database, tmp_path)
    assert re.findall(
        r"(removed\S*(?: double of \S+)?|moved)  ", shown.stdout.partition("reason")[2]
    ) == [
        "moved",
        "removed: double of 2024-01-30",
    ]
    rows, _ = await _json(database, tmp_path)
    assert [(row["reason"], row["right_date"]) for row in rows] == [
        ("moved", None),
        ("removed", "2024-01-30"),
    ]


async def test_json_holds_the_whole_rows_with_every_digit_page_by_page(
    database: Database, kept: Sequence[int], tmp_path: Path
) -> None:
    rows, following = await _json(database, tmp_path, "--limit", "2")
    assert ([row["id"] for row in rows], following) == ([kept[2], kept[1]], kept[1])
    row = rows[0]["row"]
    assert isinstance(row, dict)
    assert (row["login"], str(row["net_profit"])) == ("003", "1234567890123456.10")
    assert row.keys() == {field.column for field in (*_ALLTIME.fields, *_ALLTIME.own_columns)}
    rows, following = await _json(database, tmp_path, "--limit", "2", "--before", str(following))
    assert ([row["id"] for row in rows], following) == ([kept[0]], None)
    rows, _ = await _json(
        database,
        tmp_path,
        "--account",
        "account-2",
        "--table",
        "raw_metrics_alltime",
        "--run",
        str(_RUN),
    )
    assert [row["id"] for row in rows] == [kept[1]]
    assert await _json(database, tmp_path, "--reason", "moved") == ([], None)


async def test_the_exit_code_tells_whether_all_rows_came_back(
    database: Database, kept: Sequence[int], tmp_path: Path
) -> None:
    unknown = await _removed(database, tmp_path, "restore", str(kept[0]), "4711")
    assert (unknown.code, unknown.stdout) == (2, "")
    assert "No row is kept under 4711. Nothing was restored." in unknown.stderr
    first = await _removed(database, tmp_path, "restore", str(kept[0]))
    assert (
        first.code,
        f"{kept[0]}: raw_metrics_alltime account-1 is stored again." in first.stdout,
    ) == (0, True), first.stderr
    assert _PINNED in first.stdout
    some = await _removed(database, tmp_path, "restore", str(kept[0]), str(kept[1]))
    assert some.code == 1
    assert f"{kept[1]}: raw_metrics_alltime account-2 is stored again." in some.stdout
    assert (
        f"{kept[0]}: raw_metrics_alltime account-1 was not restored: it was restored already"
        in some.stdout
    )
    rest = await _removed(database, tmp_path, "restore", "--all-of-run", str(_RUN))
    assert (rest.code, "1 row stands as it was, 0 were not restored." in rest.stdout) == (
        0,
        True,
    ), rest.stderr
    assert (
        "The number of rows that the run inserted is not known any more: restoring leaves them"
        in rest.stdout
    )
    done = await _removed(database, tmp_path, "restore", "--all-of-run", str(_RUN))
    assert (done.code, "is restored already" in done.stdout) == (0, True), done.stderr
    nothing = await _removed(database, tmp_path, "restore", "--all-of-run", str(uuid.uuid4()))
    assert (nothing.code, nothing.stdout) == (2, "")


@pytest.mark.parametrize(
    ("inserted", "said"),
    [
        (0, None),
        (
            1,
            (
                "The run also inserted 1 row: restoring leaves it, and the next audit removes what"
                " upstream does not have"
            ),
        ),
        (
            42,
            (
                "The run also inserted 42 rows: restoring leaves them, and the next audit removes"
                " what upstream does not have"
            ),
        ),
    ],
)
async def test_restoring_a_run_says_how_many_rows_it_inserted_and_that_they_stay(
    database: Database, kept: Sequence[int], tmp_path: Path, inserted: int, said: str | None
) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO recon_runs (run_id, kind, status, rows_inserted) VALUES ($1, 'full',"
            " 'succeeded', $2)",
            _RUN,
            inserted,
        )
    for told in (f"{len(kept)} rows stand as they were", "is restored already"):
        restored = await _removed(database, tmp_path, "restore", "--all-of-run", str(_RUN))
        assert (restored.code, told in restored.stdout) == (0, True), restored.stderr
        assert (said in restored.stdout) if said else ("inserted" not in restored.stdout)
    one = await _removed(database, tmp_path, "restore", str(kept[0]))
    assert "inserted" not in one.stdout, "a single row is no run"


async def test_a_run_that_overwrote_and_moved_is_undone(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    damage = (
        # On dates that still move no count would be lowered.
        (
            "UPDATE raw_metrics_hourly SET net_profit = net_profit + 0.01, num_trades = num_trades"
            f" + 1 WHERE num_trades > 0 AND date <= '{SETTLED}'"
        ),
        (
            "UPDATE raw_trades_closed SET trade_date = trade_date - 1 WHERE ticket = (SELECT"
            " min(ticket) FROM raw_trades_closed)"
        ),
    )

    async def everything() -> dict[str, list[str]]:
        async with filled.connect() as connection:
            tables = (
                "raw_metrics_alltime",
                "raw_metrics_daily",
                "raw_metrics_hourly",
                "raw_trades_closed",
            )
            return {
                table: [
                    row[0]
                    for row in await connection.fetch(
                        f"SELECT t::text FROM {table} AS t ORDER BY 1"
                    )
                ]
                for table in tables
            }

    async with filled.connect() as connection:
        for statement in damage:
            await connection.execute(statement)
    before = await everything()
    for words in (("maintain",), ("reconcile",)):
        ended = await run_command(tmp_path, access(filled, sandbox), *words)
        assert ended.code == 0, ended.stderr
    assert (await difference(filled, sandbox)).is_equal
    rows, _ = await _json(filled, tmp_path, "--limit", "10000")
    assert {row["reason"] for row in rows} == {"overwritten", "moved"}
    restored = await _removed(filled, tmp_path, "restore", "--all-of-run", str(rows[0]["run_id"]))
    assert restored.code == 0, restored.stdout
    assert await everything() == before
    # What somebody undid stays undone, until it is released.
    for words in (("maintain",), ("reconcile",)):
        ended = await run_command(tmp_path, access(filled, sandbox), *words)
        assert ended.code == 0, ended.stderr
    assert await everything() == before
    assert (
        await _removed(filled, tmp_path, "release", "--all-of-run", str(rows[0]["run_id"]))
    ).code == 0
    healed = await run_command(tmp_path, access(filled, sandbox), "maintain")
    assert healed.code == 0
    healed = await run_command(tmp_path, access(filled, sandbox), "reconcile")
    assert healed.code == 0, healed.stderr
    assert (await difference(filled, sandbox)).is_equal


@pytest.mark.parametrize(
    "words",
    [
        ["--limit", "0"],
        ["--limit", "10001"],
        ["--table", "trade_recon"],
        ["--reason", "lost"],
        ["--run", "7"],
        ["--limit", "3", "restore", "1"],
        ["restore"],
        ["restore", "0"],
        ["restore", "9223372036854775808"],
        ["restore", "1", "--all-of-run", str(_RUN)],
    ],
)
async def test_wrong_words_end_with_2_before_the_database_is_asked(
    tmp_path: Path, words: list[str]
) -> None:
    ended = await run_command(
        tmp_path, {"DATABASE_URL": "postgresql://127.0.0.1:1/nothing"}, "removed", *words
    )
    assert (ended.code, ended.stdout) == (2, "")
    assert "Traceback" not in ended.stderr


async def test_a_dry_run_tells_what_a_restore_would_do_and_changes_nothing(
    database: Database, kept: Sequence[int], tmp_path: Path
) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO raw_metrics_alltime (account_id, login, platform, broker, net_profit)"
            " VALUES ('account-2', '9', 8, 1, 5)"
        )
    tried = await _removed(database, tmp_path, "restore", "--all-of-run", str(_RUN), "--dry-run")
    assert tried.code == 1, tried.stderr
    found = [
        line.split() for line in tried.stdout.splitlines() if line.startswith("raw_metrics_alltime")
    ]
    assert found == [
        ["raw_metrics_alltime", "account-1", "-", "1", "-", "-"],
        ["raw_metrics_alltime", "account-2", "-", "-", "-", "1"],
        ["raw_metrics_alltime", "account-3", "-", "1", "-", "-"],
    ]
    assert (
        f"{kept[1]}: raw_metrics_alltime account-2 would not be restored: another row has its"
        " key now" in tried.stdout
    )
    assert (
        "Of 3 rows 2 would be restored, 0 stand just so already, and 1 would be refused."
        in tried.stdout
    )
    assert "Nothing was changed." in tried.stdout
    rows, _ = await _json(database, tmp_path)
    assert [row["restored_at"] for row in rows] == [None] * 3
    async with database.connect() as connection:
        assert await connection.fetchval("SELECT count(*) FROM raw_metrics_alltime") == 1


async def test_restored_rows_are_pinned_unless_not_wanted_and_released_by_name(
    database: Database, kept: Sequence[int], tmp_path: Path
) -> None:
    restored = await _removed(
        database,
        tmp_path,
        "restore",
        str(kept[0]),
        str(kept[1]),
        "--reason",
        " the desk's\nfigures ",
    )
    assert (
        restored.code,
        "They are pinned: no run changes them until `trade-recon removed release`"
        in restored.stdout,
    ) == (0, True)
    assert (await _removed(database, tmp_path, "restore", str(kept[2]), "--no-pin")).code == 0
    async with database.connect() as connection:
        pins = await connection.fetch(
            "SELECT removed_id, account_id, row_key, run_id, reason FROM recon_pins ORDER BY"
            " removed_id"
        )
    assert [tuple(pin) for pin in pins] == [
        (
            kept[number],
            f"account-{number + 1}",
            [f"account-{number + 1}"],
            _RUN,
            "the desk's figures",
        )
        for number in range(2)
    ]
    one = await _removed(database, tmp_path, "release", str(kept[0]))
    assert (one.code, one.stdout.startswith("1 row is released; the next run")) == (0, True)
    rest = await _removed(database, tmp_path, "release", "--all-of-run", str(_RUN))
    assert (rest.code, rest.stdout.startswith("1 row is released")) == (0, True)
    none = await _removed(database, tmp_path, "release", "--account", "account-1")
    assert (none.code, none.stdout.strip()) == (
        1,
        "No row is pinned that fits. Nothing was changed.",
    )


@pytest.mark.parametrize(
    "words", [["release"], ["release", "0"], ["restore", "1", "--reason", "x" * 501]]
)
async def test_orders_that_cannot_be_end_with_2_and_change_nothing(
    tmp_path: Path, words: list[str]
) -> None:
    ended = await run_command(
        tmp_path, {"DATABASE_URL": "postgresql://127.0.0.1:1/nothing"}, "removed", *words
    )
    assert (ended.code, ended.stdout) == (2, "")
    assert "Traceback" not in ended.stderr
