"""`trade-recon doctor`, and what it and `migrate` say of columns that cannot hold what upstream
sends.
"""

import random
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.adoption import warehouse_notes
from app.domain.contract.tables import Endpoint
from app.domain.states import RunKind
from app.examination import Level, examine
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from app.settings.model import Settings
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Database
from tests.support.clock import TODAY
from tests.support.commands import Ended, access, run_command, settings_for
from tests.support.engine import difference, engine, fill, run
from tests.support.warehouses.catalogue import dump_objects, dump_raw_tables

CLOSED = "raw_trades_closed"


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    """An upstream of the test's own, which it may change."""
    async with SandboxServer(
        World.generate(12, seed=5, today=TODAY, trades_per_account=8, days=20, contradictory=False)
    ) as server:
        yield server


async def narrow(database: Database, column: str = "ticket", sql_type: str = "integer") -> None:
    """Make a column of the closed trades one of numbers, as some warehouses have it."""
    async with database.connect() as connection:
        await connection.execute(f"TRUNCATE {CLOSED}")
        await connection.execute(
            f"ALTER TABLE {CLOSED} ALTER COLUMN {column} TYPE {sql_type} USING {column}::{sql_type}"
        )
    await migrate(database.dsn, database.schema)


def send_texts(sandbox: SandboxServer, field: str, text: str, every: int = 5) -> None:
    """Let upstream send a text of its own in every so many trades."""
    for number, record in enumerate(sandbox.world.records(Endpoint.CLOSED)):
        if number % every == 0:
            record.row[field] = f"{text}{number}"
            record._encoded = None


def send(sandbox: SandboxServer, endpoint: Endpoint, field: str, value: float) -> None:
    """Let upstream send one value in each row of an endpoint."""
    for record in sandbox.world.records(endpoint):
        record.row[field] = value
        record._encoded = None


def levels(ended: Ended) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"ok": [], "note": [], "wrong": []}
    level = ""
    for line in ended.stdout.splitlines():
        if line.startswith(("ok ", "note ", "wrong ")):
            level, _, text = line.partition(" ")
            found[level].append(text.strip())
        else:
            found[level][-1] += f"\n{line}"
    return found


async def examined(
    database: Database, sandbox: SandboxServer | None = None
) -> dict[str, list[str]]:
    """What the doctor finds, within this process, by level."""
    settings = (
        Settings(database_url=SecretStr(database.dsn))
        if sandbox is None
        else settings_for(database.dsn, sandbox.base_url)
    )
    found: dict[str, list[str]] = {level.value: [] for level in Level}
    async for finding in examine(settings):
        found[finding.level].append(finding.text)
    return found


def alter_of(text: str) -> str:
    found = re.search(r"ALTER TABLE [^;]+;", text)
    assert found is not None, text
    return found[0]


async def test_of_a_healthy_warehouse_and_api_the_doctor_finds_all_in_order_and_changes_nothing(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with filled.connect() as connection:
        before = await dump_raw_tables(connection, filled.schema), await dump_objects(connection)
        written = await connection.fetchval(
            "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"
        )
        sandbox.log.reset()
        ended = await run_command(tmp_path, access(filled, sandbox), "doctor")
        assert (
            await dump_raw_tables(connection, filled.schema),
            await dump_objects(connection),
        ) == before
        quota = (
            "SELECT coalesce(sum(n_tup_upd), 0) FROM pg_stat_user_tables WHERE relname ="
            " 'recon_quota'"
        )
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        now = await connection.fetchval(
            "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"
        )
        assert now - written <= await connection.fetchval(quota)
    assert ended.code == 0, ended.stdout + ended.stderr
    found = levels(ended)
    assert found["wrong"] == []
    assert {f"The API answers for {endpoint.value}." for endpoint in Endpoint} <= set(found["ok"])
    assert any(line.startswith("PostgreSQL answers") for line in found["ok"])
    assert len(sandbox.log.requests) == len(Endpoint)


async def test_without_the_api_a_column_of_numbers_for_texts_is_a_note_with_the_alter(
    filled: Database, tmp_path: Path
) -> None:
    await narrow(filled)
    ended = await run_command(tmp_path, {"DATABASE_URL": filled.dsn}, "doctor")
    assert ended.code == 0, ended.stdout
    [note] = [text for text in levels(ended)["note"] if f"{CLOSED}.ticket" in text]
    assert "holds numbers alone" in note
    assert (
        alter_of(note)
        == f'ALTER TABLE "{filled.schema}"."{CLOSED}" ALTER COLUMN "ticket" TYPE varchar(255);'
    )
    migrated = await run_command(tmp_path, {"DATABASE_URL": filled.dsn}, "migrate")
    assert alter_of(migrated.stdout) == alter_of(note)


@pytest.mark.parametrize("seed", range(2))
async def test_of_tables_that_trade_recon_made_migrate_says_in_one_sentence_that_figures_beyond_the_documented_type_cost_no_row(
    seed: int, filled: Database, sandbox: SandboxServer
) -> None:
    rng = random.Random(seed)
    figures = {
        "meanProfit": "mean_profit",
        "profitFactor": "profit_factor",
        "gainToPain": "gain_to_pain",
        "relNetProfit": "rel_net_profit",
    }
    drawn = rng.sample([*figures], rng.randrange(1, 4))
    for field in drawn:
        send(sandbox, Endpoint.DAILY, field, 10 ** rng.randrange(17, 22))
    notes = [
        note
        for note in await warehouse_notes(settings_for(filled.dsn, sandbox.base_url))
        if "figure" in note
    ]
    [note] = notes
    assert f"raw_metrics_daily.{min(figures[field] for field in drawn)}" in note
    assert "Nothing has to be done now" in note
    assert "ALTER TABLE" not in note
    assert ("other column" in note) == (len(drawn) > 1)
    # Doctor tells all of it.
    [told] = [text for text in (await examined(filled, sandbox))["note"] if "too narrow" in text]
    for field in drawn:
        assert f"raw_metrics_daily.{figures[field]} (numeric(" in told
    assert told.count("such figures are stored as NULL, their rows come in") == len(drawn)
    async with filled.connect() as connection:
        await connection.execute("UPDATE recon_migrations SET adopted = true")
    assert told in await warehouse_notes(settings_for(filled.dsn, sandbox.base_url))


@pytest.mark.parametrize(
    ("column", "field", "sql_type"),
    [("ticket", "ticket", "integer"), ("position", "position", "bigint")],
)
async def test_texts_that_upstream_sends_are_wrong_until_the_printed_alter_was_run(
    column: str, field: str, sql_type: str, filled: Database, sandbox: SandboxServer
) -> None:
    await narrow(filled, column, sql_type)
    await fill(filled, sandbox)
    send_texts(sandbox, field, "W8994")
    [wrong] = (await examined(filled, sandbox))["wrong"]
    assert f"{CLOSED}.{column} ({sql_type})" in wrong
    assert "such as 'W89940'" in wrong
    notes = await warehouse_notes(settings_for(filled.dsn, sandbox.base_url))
    assert alter_of("\n".join(notes)) == alter_of(wrong)
    async with filled.connect() as connection:
        await connection.execute(alter_of(wrong))
        await connection.execute(f"TRUNCATE {CLOSED}")
    await migrate(filled.dsn, filled.schema)
    async with engine(filled, sandbox) as service:
        await run(service, RunKind.FULL)
    assert (await difference(filled, sandbox)).is_equal
    assert (await examined(filled, sandbox))["wrong"] == []


async def test_a_key_part_that_is_a_text_is_set_aside_as_such_and_the_doctor_knows_it_without_the_api(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    await narrow(filled)
    sent = [
        f"{sign}{random.Random(3).randrange(10**12)}"
        for sign in ("W", "N-", "1e", "0x", "#", "½", "1_")
    ]
    records = [
        record
        for record in sandbox.world.records(Endpoint.CLOSED)
        if record.day and record.day < TODAY
    ][: len(sent)]
    for text, record in zip(sent, records, strict=True):
        record.row["ticket"] = text
        record._encoded = None
    async with engine(filled, sandbox) as service:
        await run(service, RunKind.FULL)
    async with filled.connect() as connection:
        aside = [
            row["reason"]
            for row in await connection.fetch("SELECT reason FROM recon_set_aside_rows")
        ]
    assert len(aside) == len(sent)
    # What PostgreSQL reads as a number is one, though too large a one.
    assert sum("is a text" in reason for reason in aside) >= 4
    assert all(("is a text" in reason) != ("out of range" in reason) for reason in aside)
    ended = await run_command(tmp_path, {"DATABASE_URL": filled.dsn}, "doctor")
    assert ended.code == 1
    [wrong] = levels(ended)["wrong"]
    assert re.search(r"\d rows of \d+ accounts? were set aside", wrong)


OBSTACLES = {
    "view": (
        "CREATE VIEW own_tickets AS SELECT ticket FROM {t}",
        "DROP VIEW own_tickets CASCADE",
        "own_tickets stands",
    ),
    "list": (
        "CREATE MATERIALIZED VIEW own_list AS SELECT ticket FROM {t}",
        "DROP MATERIALIZED VIEW own_list",
        "own_list stands",
    ),
    "trigger": (
        (
            "CREATE TRIGGER own_watch BEFORE UPDATE OF ticket ON {t} FOR EACH ROW EXECUTE FUNCTION"
            " suppress_redundant_updates_trigger()"
        ),
        "DROP TRIGGER own_watch ON {t}",
        "trigger own_watch",
    ),
    "policy": (
        "CREATE POLICY own_rows ON {t} USING (ticket > 0)",
        "DROP POLICY own_rows ON {t}",
        "policy own_rows",
    ),
    "check": (
        "ALTER TABLE {t} ADD CONSTRAINT own_check CHECK (ticket > 0)",
        "ALTER TABLE {t} DROP CONSTRAINT own_check",
        "own_check",
    ),
    "index": (
        "CREATE INDEX own_index ON {t} ((ticket + 1))",
        "DROP INDEX own_index",
        "own_index is made again",
    ),
    "generated": (
        "ALTER TABLE {t} ADD COLUMN own_double bigint GENERATED ALWAYS AS (ticket * 2) STORED",
        "ALTER TABLE {t} DROP COLUMN own_double",
        "column own_double",
    ),
    "function": (
        (
            "CREATE FUNCTION own_count() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT"
            " sum(ticket) FROM {t}; END"
        ),
        "DROP FUNCTION own_count()",
        "own_count() stands",
    ),
}
"""What stands in the way of another type for the ticket, and how it is taken away."""


@pytest.mark.parametrize("seed", range(3))
async def test_what_stands_in_the_way_of_the_alter_is_named_and_without_it_the_alter_works(
    seed: int, filled: Database
) -> None:
    await narrow(filled)
    drawn = random.Random(seed).sample(sorted(OBSTACLES), 4)
    async with filled.connect() as connection:
        for name in drawn:
            await connection.execute(OBSTACLES[name][0].format(t=CLOSED))
        await connection.execute("CREATE VIEW own_beside AS SELECT login FROM raw_trades_closed")
        [note] = [text for text in (await examined(filled))["note"] if f"{CLOSED}.ticket" in text]
        for name, (_, away, said) in OBSTACLES.items():
            assert (said in note) == (name in drawn), note
            if name in drawn:
                await connection.execute(away.format(t=CLOSED))
        assert "own_beside" not in note
        await connection.execute(alter_of(note))


async def test_the_size_of_a_table_without_partitions_is_told_too(filled: Database) -> None:
    async with filled.connect() as connection:
        await connection.execute(
            "ALTER TABLE raw_metrics_alltime ALTER COLUMN trader_id TYPE bigint USING 1"
        )
    told = next(text for text in (await examined(filled))["note"] if "raw_metrics_alltime" in text)
    assert re.search(r"rewrites the table \(\d+ kB\) and blocks", told), told


async def test_a_table_that_is_partitioned_by_the_column_gets_no_alter(filled: Database) -> None:
    async with filled.connect() as connection:
        await connection.execute(f"DROP TABLE {CLOSED} CASCADE")
        await connection.execute(
            f"CREATE TABLE {CLOSED} (trade_date date NOT NULL, login varchar(255), platform"
            " integer, broker integer, account_id text, position varchar(255), ticket bigint NOT"
            " NULL, side text) PARTITION BY HASH (ticket)"
        )
        await connection.execute(
            f"CREATE TABLE closed_0 PARTITION OF {CLOSED} FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
        )
    [note] = [text for text in (await examined(filled))["note"] if f"{CLOSED}.ticket" in text]
    assert "partitioned by the column" in note
    assert "ALTER TABLE" not in note


async def test_what_does_not_work_is_wrong_and_keeps_the_rest_from_nothing(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    away = await run_command(
        tmp_path,
        {**access(filled, sandbox), "DATABASE_URL": "postgresql://127.0.0.1:1/none"},
        "doctor",
    )
    assert away.code == 1
    assert len(levels(away)["wrong"]) == 1
    assert sum("The API answers" in line for line in levels(away)["ok"]) == len(Endpoint)
    for settings in (
        settings_for(filled.dsn, sandbox.base_url, api_key="a-key-that-is-none"),
        settings_for(filled.dsn, f"{sandbox.base_url}/nowhere"),
    ):
        wrong = [
            finding.text async for finding in examine(settings) if finding.level is Level.WRONG
        ]
        assert "The API does not answer" in wrong[0]
        assert "check RISK_API_BASE_URL and RISK_API_KEY" in wrong[-1]
    async with filled.connect() as connection:
        await connection.execute("DELETE FROM recon_migrations WHERE name LIKE '0052%'")
    assert "run `trade-recon migrate`" in (await examined(filled))["wrong"][0]


async def test_an_api_that_does_not_answer_is_told_in_other_words_than_those_for_a_run(
    filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.adoption._SAMPLE_WAIT", 0.2)
    settings = settings_for(filled.dsn, "http://127.0.0.1:1")
    wrong = [finding.text async for finding in examine(settings) if finding.level is Level.WRONG]
    assert wrong[0].startswith(
        f"The API does not answer for {next(iter(Endpoint)).value}: no answer within 0.2 s."
    )
    assert not [text for text in wrong if "healed" in text or "Start again" in text]


async def test_a_lost_table_of_our_own_is_named_by_every_command_and_its_way_out_works(
    database: Database, tmp_path: Path
) -> None:
    lost = ("recon_quota", "recon_set_aside_rows")
    async with database.connect() as connection:
        await connection.execute(f"DROP TABLE {', '.join(lost)} CASCADE")
    wrong = (await examined(database))["wrong"][0]
    assert all(name in wrong for name in lost)
    assert (
        "are missing: restore them from a backup, or run what `trade-recon uninstall --print`"
        " writes" in wrong
    )
    variables = {"DATABASE_URL": database.dsn}
    for words in (("migrate",), ("report",), ("maintain",)):
        ended = await run_command(tmp_path, variables, *words)
        assert (ended.code, all(name in ended.stderr for name in lost)) == (2, True), words
    printed = await run_command(tmp_path, variables, "uninstall", "--print")
    async with database.connect() as connection:
        await connection.execute(printed.stdout)
    await migrate(database.dsn, database.schema)
    assert (await examined(database))["wrong"] == []


async def test_caps_that_name_no_column_are_told(database: Database) -> None:
    caps = "rel_*=1000,relx_*=5,raw_metrics_daly.*=7,numeric(10,6)=9999.999999,numeric(3,1)=99,raw_metrics_hourly.num_trades=3"
    settings = Settings(database_url=SecretStr(database.dsn), recon_caps=caps)
    (wrong,) = [
        finding.text
        for finding in [each async for each in examine(settings)]
        if finding.level is Level.WRONG
    ]
    named = "relx_*=5, raw_metrics_daly.*=7, numeric(3,1)=99, raw_metrics_hourly.num_trades=3"
    assert (
        wrong
        == f"RECON_CAPS: {named} name no column of the raw tables and no type of one: nothing is"
        " capped by that."
    )
    assert wrong in await warehouse_notes(settings)


async def test_a_role_without_print_is_wrong_use(database: Database, tmp_path: Path) -> None:
    ended = await run_command(
        tmp_path, {"DATABASE_URL": database.dsn}, "migrate", "--role", "reader"
    )
    assert (ended.code, "give --print" in ended.stderr) == (2, True)
