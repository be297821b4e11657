"""Values drawn at random from all that the columns can hold: no statement over the warehouse fails,
and healthy accounts are healed.
"""

import random
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.holds.limits import HoldLimits
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.engine.preparation.maintenance import maintain
from app.sandbox.server.serving import SandboxServer
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Database, Server
from tests.integration.values.conftest import NOW, small_world
from tests.support.engine import engine, fill, run
from tests.support.plain import plain, plain_report
from tests.support.warehouses.building import execute, new_database
from tests.support.warehouses.ddl import DATED, raw_table

Connection = asyncpg.Connection

_CONFIG = EngineConfig(
    workers=1,
    poll_seconds=0.05,
    postpone_seconds=0,
    postpone_named_seconds=0,
    guard=HoldLimits(account_share=1.0),
)
"""Many accounts are made up and upstream has none of them, which is no reason to stop here."""

_LOOSE = {
    Endpoint.ALLTIME: {
        "num_trades": "bigint",
        "net_profit": "double precision",
        "total_lots": "real",
    },
    Endpoint.DAILY: {
        "num_trades": "numeric",
        "net_profit": "numeric",
        "total_lots": "double precision",
        "hour": "numeric",
    },
    Endpoint.HOURLY: {
        "num_trades": "double precision",
        "net_profit": "real",
        "total_lots": "numeric",
        "hour": "double precision",
    },
    Endpoint.CLOSED: {"ticket": "text", "position": "numeric", "profit": "double precision"},
    Endpoint.OPEN: {"ticket": "bigint", "position": "text"},
}
"""A firm's own tables: no keys, other types, everything may be NULL."""
_TEXTS = {"account_id": "text", "login": "text", "platform": "text", "broker": "text"}
_ODD: dict[str, tuple[str, ...]] = {
    "date": (
        "infinity",
        "-infinity",
        "0044-03-15 BC",
        "10000-01-01",
        "5874897-12-31",
        "0001-01-01",
        "9999-12-31",
        "2026-03-02",
    ),
    "timestamp without time zone": (
        "infinity",
        "-infinity",
        "4713-01-01 BC",
        "294276-12-31",
        "0001-01-01",
        "9999-12-31 23:59:59.999999",
    ),
    "bigint": ("9223372036854775807", "-9223372036854775808", "-1", "0", "4000000000"),
    "integer": ("2147483647", "-2147483648", "-1", "0", "3"),
    "numeric": ("NaN", "Infinity", "-Infinity", "1e200", "-0.5", "0"),
    "double precision": ("NaN", "Infinity", "-Infinity", "1.7e308", "-1.7e308", "2.5"),
    "real": ("NaN", "Infinity", "3.4e38", "-3.4e38", "0"),
    "text": ("", " ", "0", "é|,;'\"\\", "-1", "1e5", "NaN", "x" * 300, "8", "1"),
}


def _odd_value(chance: random.Random, sql_type: str, column: str, known: list[str]) -> str:
    """A literal: mostly something odd, sometimes NULL, and for ids sometimes one that exists."""
    if chance.random() < 0.2:
        return "NULL"
    if column in ("account_id", "login") and chance.random() < 0.4:
        return f"'{chance.choice(known)}'"
    base = sql_type.partition("(")[0]
    values = _ODD.get(base)
    if values is None:
        values = ("", "8", "1", "-1", "é") if base.startswith("character varying") else ("NULL",)
    if base == "numeric" and "(" in sql_type:
        values = ("NaN", "0", "-1")
    chosen = chance.choice(values)
    return "NULL" if chosen == "NULL" else "'" + chosen.replace("'", "''") + "'"


async def _spoil(
    connection: "Connection[asyncpg.Record]", chance: random.Random, rows: int
) -> None:
    """Rows in which every value is drawn, in each table; what a table's own constraints refuse is
    left out.
    """
    known = [
        str(row[0])
        for row in await connection.fetch(
            "SELECT account_id FROM raw_metrics_alltime WHERE account_id LIKE 'acc-%'"
        )
    ]
    known += [
        str(row[0])
        for row in await connection.fetch(
            "SELECT login FROM raw_metrics_alltime WHERE account_id LIKE 'acc-%'"
        )
    ]
    # Half of the accounts are left in peace, so that it shows whether they are healed.
    known = sorted(known)[: len(known) // 4]
    for table in TABLES.values():
        columns = await connection.fetch(
            "SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute"
            " WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped",
            table.name,
        )
        for _ in range(rows):
            values = ", ".join(
                _odd_value(chance, row["type"], row["attname"], known) for row in columns
            )
            names = ", ".join(f'"{row["attname"]}"' for row in columns)
            try:
                await connection.execute(f"INSERT INTO {table.name} ({names}) VALUES ({values})")
            except (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError):
                continue


@pytest.fixture(scope="module")
async def shapes(postgres: Server, values_template: str) -> AsyncIterator[dict[str, str]]:
    """Templates: our own tables with default partitions, and a firm's own without keys; both
    filled.
    """
    async with new_database(postgres, "prop_trading_model") as place:
        await execute(
            place,
            [raw_table(endpoint, types={**_TEXTS, **_LOOSE[endpoint]}) for endpoint in Endpoint],
        )
        await migrate(place.owner.dsn, place.owner.schema)
        async with SandboxServer(small_world()) as sandbox:
            await fill(place.owner, sandbox)
        name = urlsplit(place.owner.dsn).path.removeprefix("/")
        yield {"ours": values_template, "loose": name}


def _cases() -> Iterator[tuple[str, int]]:
    for seed in (1, 2):
        yield "ours", seed
        yield "loose", seed


@pytest.mark.parametrize(("shape", "seed"), list(_cases()))
async def test_any_value_that_a_column_holds_is_survived(
    postgres: Server, shapes: dict[str, str], shape: str, seed: int
) -> None:
    chance = random.Random(seed)
    async with (
        postgres.clone(shapes[shape], "odd") as name,
        SandboxServer(small_world()) as sandbox,
        engine(
            database := Database(postgres.database(name), "prop_trading_model"),
            sandbox,
            config=_CONFIG,
            now=lambda: NOW,
        ) as service,
        database.connect() as connection,
    ):
        healthy = [
            row[0]
            for row in await connection.fetch(
                "SELECT account_id FROM raw_metrics_alltime ORDER BY 1"
            )
        ][15:]
        if shape == "ours":
            for endpoint in DATED:
                await connection.execute(
                    f"CREATE TABLE {TABLES[endpoint].name}_rest PARTITION OF"
                    f" {TABLES[endpoint].name} DEFAULT"
                )
        # What makes the first run look at everything, and the second one only at what changed.
        first = await run(service, RunKind.FULL)
        assert first["status"] in ("succeeded", "completed_with_issues"), first
        await _spoil(connection, chance, 60)
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = ANY($1) AND date < '2026-02-20'",
            healthy,
        )
        await maintain(service.store, NOW.date())
        inspected = plain(await service.readings.run_state(await service.inspect()))
        assert inspected["status"] == "completed_with_issues", inspected
        for kind, request in (
            (RunKind.FULL, {"changed_only": True}),
            (RunKind.FULL, {}),
            (RunKind.AUDIT, {}),
        ):
            state = await run(service, kind, **request)
            assert state["status"] in ("succeeded", "completed_with_issues"), (kind, request, state)
        assert plain_report(await service.readings.report())
        await connection.execute("SELECT update_trade_recon_stats(account_id) FROM trade_recon")
        for view in (
            "v_recon_days",
            "v_recon_stats",
            "v_reconciliation_progress",
            "get_issue_statistics()",
            "v_recon_mismatched",
        ):
            await connection.fetch(f"SELECT v::text FROM {view} AS v")
        left = await connection.fetch(
            "SELECT account_id, issues::text FROM trade_recon WHERE account_id = ANY($1) AND issues"
            " <> '[]'",
            healthy,
        )
        assert left == []
        named = await connection.fetch(
            "SELECT DISTINCT account_id FROM raw_metrics_daily JOIN trade_recon AS r USING"
            " (account_id) WHERE (date > '9999-12-31' OR date < '0001-01-01' OR date IS NULL) AND"
            " r.issues::text NOT LIKE '%impossible_date%'"
        )
        assert named == []
