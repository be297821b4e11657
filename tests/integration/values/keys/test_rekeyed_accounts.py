"""Accounts that upstream knows under another login, broker or platform: all of their rows follow,
or none of it is called in order.
"""

import datetime as dt
import json
import random
import uuid
from dataclasses import replace

import pytest

from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.trades import NaturalKey
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.integration.values.conftest import NOW, small_world
from tests.support.altered import altering
from tests.support.engine import difference, engine, run
from tests.support.plain import plain
from tests.support.scripted import Arrival

_LATER = NOW + dt.timedelta(days=3)
"""All dates are settled then: on those that move nothing is removed."""
_CONFIG = EngineConfig(workers=1, poll_seconds=0.05, postpone_seconds=0, postpone_named_seconds=0)
_OPEN = "raw_trades_open"
_RAW = ("raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly", "raw_trades_closed")


def _other(key: NaturalKey, names: list[str]) -> NaturalKey:
    """The natural key with other values in the parts that are named."""
    return NaturalKey(
        f"77{key.login}" if "login" in names else key.login,
        key.platform + 50 if "platform" in names else key.platform,
        key.broker + 50 if "broker" in names else key.broker,
    )


def _rekeyed(world: World, moved: list[str], names: list[str]) -> World:
    """The world with other parts of the natural key of some accounts, at all times."""
    accounts = [
        (
            replace(
                account,
                tenures=tuple(
                    replace(tenure, key=_other(tenure.key, names)) for tenure in account.tenures
                ),
            )
            if account.account_id in moved
            else account
        )
        for account in map(world.account, world.account_ids)
    ]
    trades = [
        replace(trade, key=_other(trade.key, names)) if account_id in moved else trade
        for account_id in world.account_ids
        for trade in world.trades(account_id)
    ]
    return World(accounts, trades, seed=11, today=world.today)


async def _left(warehouse: Database, upstream: SandboxServer) -> set[str]:
    """Accounts that differ from upstream in any table but that of open trades, which are snapshots
    of ingestion's.
    """
    tables = (await difference(warehouse, upstream)).tables.values()
    return {each for table in tables if table.table != _OPEN for each in table.account_ids}


@pytest.mark.parametrize(
    "names", [["login"], ["broker"], ["platform"], ["login", "broker", "platform"]]
)
async def test_all_rows_of_an_account_follow_its_natural_key(
    warehouse: Database, names: list[str]
) -> None:
    old = small_world()
    moved = random.Random(str(names)).sample(old.account_ids, 2)
    async with (
        warehouse.connect() as c,
        SandboxServer(_rekeyed(old, moved, names)) as upstream,
        engine(warehouse, upstream, now=lambda: _LATER, config=_CONFIG) as service,
    ):
        await c.execute(
            "DELETE FROM raw_metrics_hourly WHERE date < '2026-03-05' AND account_id = $1", moved[0]
        )
        await run(service, RunKind.FULL)
        state = await run(service, RunKind.AUDIT)
        assert state["accounts"]["unchanged"] == 28  # type: ignore[index]
        assert await _left(warehouse, upstream) == set()
        again = await run(service, RunKind.AUDIT)
        assert again["accounts"]["healed"] == 0  # type: ignore[index]
        assert not await c.fetchval("SELECT count(*) FROM recon_descents")


async def test_other_natural_keys_of_too_many_accounts_are_not_believed_until_confirmed(
    warehouse: Database,
) -> None:
    old = small_world()
    async with (
        warehouse.connect() as c,
        SandboxServer(_rekeyed(old, old.account_ids, ["platform"])) as upstream,
        engine(warehouse, upstream, now=lambda: _LATER, config=_CONFIG) as service,
    ):
        keys = "SELECT DISTINCT account_id, login, platform, broker FROM {} ORDER BY 1, 2, 3, 4"
        before = [await c.fetch(keys.format(table)) for table in _RAW]
        state = await run(service, RunKind.AUDIT)
        assert state["status"] == "needs_confirmation"
        assert state["accounts"]["unchanged"] == 0  # type: ignore[index]
        assert "30 of the 30 accounts compared have another login, platform or broker" in str(
            state["error"]
        )
        assert [await c.fetch(keys.format(table)) for table in _RAW] == before
        run_id = uuid.UUID(str(state["run_id"]))
        for _ in range(3):
            await service.confirm(run_id)
            await service.pool.run_until_finished(run_id)
            if plain(await service.readings.run_state(run_id))["status"] != "needs_confirmation":
                break
        assert await _left(warehouse, upstream) == set()


@pytest.mark.parametrize("seed", [1, 2])
async def test_one_night_of_other_natural_keys_leaves_nothing_behind(
    warehouse: Database, sandbox: SandboxServer, seed: int
) -> None:
    drawn = random.Random(seed)
    world = small_world()
    moved = drawn.sample(world.account_ids, 2)
    part = drawn.choice(["login", "mt_version", "broker"])

    def alter(_: Arrival, body: bytes) -> bytes:
        answer = json.loads(body)
        for row in answer["Data"]["data"]:
            row.update({part: f"9{row[part]}"} if row.get("accountId") in moved else {})
        return json.dumps(answer).encode()

    async with (
        altering(sandbox) as api,
        engine(warehouse, api.as_sandbox, now=lambda: _LATER, config=_CONFIG) as service,
    ):
        api.alter = alter
        await run(service, RunKind.AUDIT)
        api.alter = lambda _, body: body
        for _ in range(2):
            await run(service, RunKind.AUDIT)
        assert await _left(warehouse, sandbox) == set(), part
