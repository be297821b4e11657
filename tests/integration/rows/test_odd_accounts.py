"""Accounts of every sort are compared whole by name: explained ones, those without an id, and those
of which upstream lacks rows.
"""

import datetime as dt
import hashlib
import json

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.runs.request import RunRequest
from app.domain.states import Outcome, RunKind
from app.engine.service import ReconService
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.generation import Contradictions
from app.sandbox.world.world import World
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Database
from tests.support.clock import SETTLED, TODAY
from tests.support.engine import difference, engine, fill, reconcile, run
from tests.support.plain import plain


def _most(sandbox: SandboxServer) -> str:
    """The account with the most closed trades."""
    trades = [record.account_id for record in sandbox.world.records(Endpoint.CLOSED)]
    return max(sandbox.world.account_ids, key=trades.count)


async def test_a_stored_row_that_upstream_does_not_send_is_kept_and_shown_until_a_comparison_of_rows_finds_it_gone(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = _most(sandbox)
    async with (
        warehouse.connect() as connection,
        engine(warehouse, sandbox) as service,
        service.pool.running(),
    ):
        days = {
            row["date"]
            for row in await connection.fetch(
                "SELECT date FROM raw_metrics_daily WHERE account_id = $1", account_id
            )
        }
        day = next(
            each
            for number in range(60)
            if (each := SETTLED - dt.timedelta(days=number)) not in days
        )
        await connection.execute(
            "SELECT recon_create_partitions('raw_metrics_daily', ARRAY[$1::date])", day
        )
        await connection.execute(
            "INSERT INTO raw_metrics_daily (account_id, date, login, platform, broker, num_trades)"
            " SELECT account_id, $2, login, platform, broker, 0 FROM raw_metrics_alltime WHERE"
            " account_id = $1",
            account_id,
            day,
        )
        result = await reconcile(service, account_id)
        issues = result["issues"]
        assert isinstance(issues, list)
        (issue,) = issues
        assert (result["outcome"], issue["type"]) == (Outcome.EXPLAINED, "absent_upstream")
        assert (issue["dates"], issue["total_dates"]) == ([day.isoformat()], 1)
        assert "missing_dates" not in issue
        assert "no longer" not in issue["description"]
        # Once it is time to ask again a run that compares counts asks for the rows, too, and closes
        # nothing that it did not see.
        await connection.execute(
            "UPDATE trade_recon SET ask_again_at = now() WHERE account_id = $1", account_id
        )
        await _full_run(service)
        (left,) = plain(await service.readings.account(account_id))["issues"]
        assert left["type"] == "absent_upstream"
        await connection.execute(
            "DELETE FROM raw_metrics_daily WHERE account_id = $1 AND date = $2", account_id, day
        )
        assert (await reconcile(service, account_id))["issues"] == []
    assert (await difference(warehouse, sandbox)).is_equal


async def _full_run(service: ReconService) -> None:
    await service.wait_for_run(await service.start_run(RunRequest(RunKind.FULL)))


async def test_rows_without_trades_come_back_by_name(database: Database) -> None:
    upstream_world = World.generate(20, seed=4, today=TODAY)
    async with (
        SandboxServer(upstream_world) as upstream,
        database.connect() as connection,
        engine(database, upstream) as service,
    ):
        await fill(database, upstream)
        lost = [
            *await connection.fetch(
                "DELETE FROM raw_metrics_daily WHERE num_trades = 0 RETURNING account_id"
            ),
            *await connection.fetch(
                "DELETE FROM raw_metrics_hourly WHERE num_trades = 0 RETURNING account_id"
            ),
        ]
        assert len(lost) > 20
        named = tuple(sorted({row["account_id"] for row in lost}))
        state = await run(service, RunKind.FULL, account_ids=named)
        assert (await difference(database, upstream)).is_equal
        assert state["compared"]["differing"] == len(lost)  # type: ignore[index]
        issues = await connection.fetch(
            "SELECT account_id, evidence FROM recon_issue_history WHERE type = 'value_drift'"
        )
    assert {row["account_id"] for row in issues} == set(named)
    kinds = [
        kinds
        for row in issues
        for kinds in json.loads(row["evidence"])["metadata"]["rows"].values()
    ]
    assert {kind for each in kinds for kind in each} == {"missing"}
    assert sum(each["missing"] for each in kinds) == len(lost)


async def test_an_account_without_an_id_upstream_is_compared_by_login(database: Database) -> None:
    world = World.generate(
        6, seed=7, today=TODAY, trades_per_account=9, days=30, contradictory=False
    )
    hidden = world.account_ids[0]
    assert len(world.natural_keys(hidden)) == 1
    account_id = hashlib.md5(
        "|".join(map(str, world.account(hidden).current_key)).encode(), usedforsecurity=False
    ).hexdigest()
    world.hide_id(hidden)
    async with (
        SandboxServer(world) as upstream,
        database.connect() as connection,
        engine(database, upstream) as service,
    ):
        await fill(database, upstream)
        await service.maintain()
        for table in ("raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly"):
            await connection.execute(
                f"UPDATE {table} SET total_lots = total_lots + 1 WHERE account_id = $1", account_id
            )
        await connection.execute(
            "UPDATE raw_trades_closed SET swap = swap + 1 WHERE account_id = $1", account_id
        )
        async with service.pool.running():
            result = await reconcile(service, account_id)
        assert result["outcome"] == Outcome.HEALED
        assert (await difference(database, upstream)).is_equal


@pytest.mark.parametrize("kind", [kind for kind in RunKind if kind is not RunKind.INSPECT])
async def test_accounts_that_upstream_contradicts_are_compared_whole_though_it_is_not_time_to_ask_again(
    kind: RunKind, database: Database
) -> None:
    world = World.generate(
        16,
        seed=4,
        today=TODAY,
        trades_per_account=9,
        days=30,
        contradictions=Contradictions(1, 1, 1, 1),
    )
    named = tuple(world.contradictions)
    assert named
    async with (
        SandboxServer(world) as upstream,
        database.connect() as connection,
        engine(database, upstream) as service,
    ):
        await fill(database, upstream)
        await run(service, RunKind.AUDIT)
        look = (
            "SELECT account_id, ask_again_at, (SELECT array_agg(i ->> 'type') FROM"
            " jsonb_array_elements(issues) AS i) AS types"
        )
        look += " FROM trade_recon WHERE account_id = ANY($1) ORDER BY 1"
        before = await connection.fetch(look, named)
        assert any(row["types"] for row in before)
        await connection.execute(
            "UPDATE raw_metrics_hourly SET net_profit = net_profit + 1 WHERE account_id = ANY($1)",
            named,
        )
        await connection.execute(
            "UPDATE raw_trades_closed SET commission = commission + 1 WHERE account_id = ANY($1)",
            named,
        )
        await run(service, kind, account_ids=named)
        assert (await difference(database, upstream)).is_equal
        after = await connection.fetch(look, named)
    assert [row["types"] for row in after] == [row["types"] for row in before]
    assert after == before or kind is RunKind.RETRY


async def test_tables_without_a_key_and_with_types_of_their_own_are_compared_whole(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = _most(sandbox)
    async with warehouse.connect() as connection:
        for table in ("raw_metrics_daily", "raw_trades_closed"):
            await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey")
        await connection.execute(
            "ALTER TABLE raw_trades_closed ALTER COLUMN broker DROP NOT NULL, ALTER COLUMN profit"
            " TYPE double precision"
        )
        await connection.execute(
            "ALTER TABLE raw_metrics_daily ALTER COLUMN net_profit TYPE double precision, DROP"
            " COLUMN total_lots"
        )
        await connection.execute(
            "UPDATE raw_metrics_daily SET net_profit = 1 WHERE account_id = $1 AND num_trades > 0",
            account_id,
        )
        await connection.execute(
            "UPDATE raw_trades_closed SET profit = profit + 1 WHERE account_id = $1", account_id
        )
        await connection.execute(
            "INSERT INTO raw_metrics_daily SELECT * FROM raw_metrics_daily WHERE account_id = $1"
            " AND num_trades > 0 AND date < $2 LIMIT 1",
            account_id,
            SETTLED,
        )
        await migrate(warehouse.dsn, warehouse.schema)
        async with engine(warehouse, sandbox) as service, service.pool.running():
            result = await reconcile(service, account_id)
            assert result["outcome"] == Outcome.HEALED
            assert "value_drift" in result["issues_found"]  # type: ignore[operator]
            assert (await reconcile(service, account_id))["outcome"] == Outcome.UNCHANGED
        assert await connection.fetchval(
            "SELECT count(*) = count(DISTINCT date) FROM raw_metrics_daily WHERE account_id = $1",
            account_id,
        ), "the row that was stored twice is stored once"
