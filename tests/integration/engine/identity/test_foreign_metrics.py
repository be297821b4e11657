"""A metrics row under another account's id: it is named, no trade is given away on its word, and
upstream's word heals it.
"""

import datetime as dt
import json
import random
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import SCHEMA, Database, Server
from tests.support.engine import TODAY, difference, engine, filled_copy, run

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_ONE_BY_ONE = EngineConfig(
    workers=1, batch_size=1, poll_seconds=0.05, postpone_seconds=0, postpone_named_seconds=0
)
_TOGETHER = EngineConfig(workers=1, poll_seconds=0.05, postpone_seconds=0, postpone_named_seconds=0)


def _small_world() -> World:
    return World.generate(
        8, seed=4, today=TODAY, trades_per_account=10, days=20, contradictory=False
    )


@pytest.fixture(scope="module")
async def foreign_template(postgres: Server, template: str) -> AsyncIterator[str]:
    async with filled_copy(postgres, template, "foreign", _small_world()) as name:
        yield name


@pytest.fixture
async def stored(postgres: Server, foreign_template: str) -> AsyncIterator[Database]:
    async with postgres.clone(foreign_template, "test") as name:
        yield Database(postgres.database(name), SCHEMA)


@pytest.fixture
async def upstream() -> AsyncIterator[SandboxServer]:
    async with SandboxServer(_small_world()) as server:
        yield server


async def _pair(connection: "Connection") -> tuple[str, str]:
    """Two accounts that trade, each with one natural key of its own."""
    rows = await connection.fetch(
        "SELECT account_id FROM raw_metrics_daily GROUP BY account_id HAVING count(DISTINCT (login,"
        " platform, broker)) = 1 AND sum(num_trades) >= 5 AND NOT EXISTS (SELECT FROM"
        " raw_metrics_daily o WHERE o.login = min(raw_metrics_daily.login) AND o.account_id <>"
        " raw_metrics_daily.account_id) ORDER BY 1"
    )
    return rows[0]["account_id"], rows[1]["account_id"]


async def _trading_days(connection: "Connection", account_id: str) -> list[dt.date]:
    rows = await connection.fetch(
        "SELECT date FROM raw_metrics_daily WHERE account_id = $1 AND num_trades > 0 ORDER BY 1",
        account_id,
    )
    return [row["date"] for row in rows]


async def _give_away(
    connection: "Connection", table: str, owner: str, other: str, day: dt.date, *, is_copy: bool
) -> None:
    """Let the owner's rows of a date carry the other's id, in place of the other's; the owner may
    keep his.
    """
    await connection.execute(f"DELETE FROM {table} WHERE account_id = $1 AND date = $2", other, day)
    await connection.execute(
        f"CREATE TEMP TABLE taken AS SELECT * FROM {table} WHERE account_id = '{owner}' AND date ="
        f" '{day}'"
    )
    await connection.execute("UPDATE taken SET account_id = $1", other)
    if not is_copy:
        await connection.execute(
            f"DELETE FROM {table} WHERE account_id = $1 AND date = $2", owner, day
        )
    await connection.execute(f"INSERT INTO {table} SELECT * FROM taken")
    await connection.execute("DROP TABLE taken")


async def _trades_under(connection: "Connection", account_id: str) -> int:
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM raw_trades_closed WHERE account_id = $1", account_id
        )
    )


@pytest.mark.parametrize("is_copy", [False, True])
@pytest.mark.parametrize("which", [0, 2, -1])
async def test_a_daily_row_under_another_accounts_id_is_named_gives_no_trade_away_and_is_healed(
    which: int, stored: Database, upstream: SandboxServer, *, is_copy: bool
) -> None:
    config = _TOGETHER if which else _ONE_BY_ONE
    async with stored.connect() as connection, engine(stored, upstream, config=config) as service:
        owner, other = await _pair(connection)
        day = (await _trading_days(connection, owner))[which]
        trades = await _trades_under(connection, owner), await _trades_under(connection, other)
        await _give_away(connection, "raw_metrics_daily", owner, other, day, is_copy=is_copy)
        await service.maintain()
        assert (
            await _trades_under(connection, owner),
            await _trades_under(connection, other),
        ) == trades
        issues = await connection.fetchval(
            "SELECT issues FROM trade_recon WHERE account_id = $1", other
        )
        (issue,) = [each for each in json.loads(issues) if each["type"] == "foreign_account_id"]
        (key,) = issue["metadata"]["natural_keys"]
        login = await connection.fetchval(
            "SELECT login FROM raw_metrics_alltime WHERE account_id = $1", owner
        )
        assert (key["table"], key["login"], key["holder"], key["candidates"]) == (
            "raw_metrics_daily",
            login,
            other,
            [owner],
        )
        assert key["dates"] == [day.isoformat()]
        assert f"raw_metrics_daily of {day}" in issue["description"]
        assert f"carries {other}" in issue["description"]
        states = [await run(service, RunKind.FULL) for _ in range(2)]
        assert (await difference(stored, upstream)).sample == ()
        assert states[1]["status"] == "succeeded"
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM recon_removed_rows WHERE table_name = 'raw_metrics_daily'"
            )
            >= 1
        )
        assert await connection.fetchval("SELECT count(*) FROM v_recon_mismatched") == 0


@pytest.mark.parametrize("seed", range(3))
async def test_metrics_rows_under_other_accounts_ids_are_healed_whichever_they_are(
    seed: int, stored: Database, upstream: SandboxServer
) -> None:
    rng = random.Random(seed)
    async with (
        stored.connect() as connection,
        engine(stored, upstream, config=rng.choice([_TOGETHER, _ONE_BY_ONE])) as service,
    ):
        owner, other = await _pair(connection)
        if rng.random() < 0.5:
            owner, other = other, owner
        for table in rng.sample(["raw_metrics_daily", "raw_metrics_hourly"], rng.choice([1, 2])):
            day = rng.choice(await _trading_days(connection, owner))
            await _give_away(connection, table, owner, other, day, is_copy=rng.random() < 0.5)
        states = [await run(service, RunKind.FULL) for _ in range(3)]
        assert (await difference(stored, upstream)).sample == (), seed
        assert states[-1]["status"] == "succeeded"


@pytest.mark.parametrize("is_copy", [False, True])
async def test_a_row_under_an_id_that_nobody_has_goes_back_to_the_account_of_its_key(
    stored: Database, upstream: SandboxServer, *, is_copy: bool
) -> None:
    async with stored.connect() as connection, engine(stored, upstream) as service:
        owner, _ = await _pair(connection)
        day = (await _trading_days(connection, owner))[0]
        trades = await _trades_under(connection, owner)
        await _give_away(
            connection, "raw_metrics_daily", owner, "acc-of-nobody", day, is_copy=is_copy
        )
        await service.maintain()
        assert await _trades_under(connection, owner) == trades
        await run(service, RunKind.FULL)
        assert (await difference(stored, upstream)).sample == ()
        assert await connection.fetchval("SELECT count(*) FROM v_recon_mismatched") == 0


async def test_an_alltime_row_under_another_accounts_id_is_healed(
    stored: Database, upstream: SandboxServer
) -> None:
    async with stored.connect() as connection, engine(stored, upstream) as service:
        owner, other = await _pair(connection)
        await connection.execute("DELETE FROM raw_metrics_alltime WHERE account_id = $1", other)
        await connection.execute(
            "UPDATE raw_metrics_alltime SET account_id = $2 WHERE account_id = $1", owner, other
        )
        for _ in range(2):
            await run(service, RunKind.FULL)
        assert (await difference(stored, upstream)).sample == ()


async def test_a_row_of_a_key_that_changed_hands_stays_with_the_account_that_held_it_then(
    stored: Database, upstream: SandboxServer
) -> None:
    async with stored.connect() as connection, engine(stored, upstream) as service:
        await service.maintain()
        assert await connection.fetchval("SELECT count(*) FROM recon_foreign_metrics") == 0
        assert await connection.fetchval("SELECT count(*) FROM recon_identity_findings") == 0
