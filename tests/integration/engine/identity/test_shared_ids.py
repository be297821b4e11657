"""An account id that upstream sends for several natural keys tells no account: nothing is merged,
removed or overwritten on its word.
"""

import json
from collections.abc import AsyncIterator, Callable

import pytest

from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import SCHEMA, Database, Server
from tests.integration.engine.guards.test_losses import _config
from tests.support.altered import altering
from tests.support.engine import TODAY, engine, fill, run

_RAW = (
    "raw_metrics_alltime",
    "raw_metrics_daily",
    "raw_metrics_hourly",
    "raw_trades_closed",
    "raw_trades_open",
)


def _world() -> World:
    return World.generate(12, seed=14, today=TODAY, trades_per_account=6, contradictory=False)


def _hidden(world: World) -> list[str]:
    """Three accounts that hold a natural key of their own each."""
    alone = [each for each in world.account_ids if len(world.natural_keys(each)) == 1]
    return [each for each in alone if len(world.holders(world.natural_keys(each)[0].login)) == 1][
        :3
    ]


@pytest.fixture(scope="module")
async def whole(postgres: Server, template: str) -> AsyncIterator[str]:
    """A filled warehouse in which three accounts stand under the MD5 of their natural key."""
    world = _world()
    async with postgres.clone(template, "shared") as name:
        database = Database(postgres.database(name), SCHEMA)
        async with SandboxServer(world) as sandbox:
            await fill(database, sandbox)
        async with database.connect() as c:
            for each in _hidden(world):
                key = world.natural_keys(each)[0]
                for table in _RAW:
                    await c.execute(
                        f"UPDATE {table} SET account_id = md5($2::text || '|' || $3::text || '|' ||"
                        " $4::text) WHERE account_id = $1",
                        each,
                        key.login,
                        str(key.platform),
                        str(key.broker),
                    )
        yield name


@pytest.fixture
async def warehouse(postgres: Server, whole: str) -> AsyncIterator[Database]:
    async with postgres.clone(whole, "test") as name:
        yield Database(postgres.database(name), SCHEMA)


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    """Upstream knows no ids for the three accounts."""
    world = _world()
    for each in _hidden(world):
        world.hide_id(each)
    async with SandboxServer(world) as server:
        yield server


def _with_id(text: object) -> Callable[[object, bytes], bytes]:
    """An alteration that writes the same id into each row without one."""

    def alter(_: object, body: bytes) -> bytes:
        answer = json.loads(body)
        for row in answer["Data"]["data"]:
            if "accountId" in row and row["accountId"] is None:
                row["accountId"] = text
        return json.dumps(answer).encode()

    return alter


async def _stored(database: Database) -> dict[str, list[str]]:
    """Each row with its account, by table."""
    async with database.connect() as c:
        return {
            table: [
                row[0]
                for row in await c.fetch(
                    f"SELECT (to_jsonb(t) - 'ingestion_timestamp')::text FROM {table} AS t ORDER"
                    " BY 1"
                )
            ]
            for table in _RAW
        }


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        (" ", (RunKind.AUDIT,)),
        ("null", (RunKind.FULL,)),
        ("0", (RunKind.AUDIT, RunKind.AUDIT)),
        ("0", (RunKind.FULL, RunKind.AUDIT, RunKind.FULL)),
        (0, (RunKind.AUDIT,)),
        ("unknown", (RunKind.AUDIT,)),
    ],
)
async def test_accounts_whose_missing_id_is_spelled_alike_are_healed_and_not_merged(
    warehouse: Database, sandbox: SandboxServer, text: object, kinds: tuple[RunKind, ...]
) -> None:
    before = await _stored(warehouse)
    async with (
        warehouse.connect() as c,
        altering(sandbox) as api,
        engine(warehouse, api.as_sandbox, config=_config()) as service,
    ):
        api.alter = _with_id(text)
        days = (
            "SELECT account_id, min(date) FROM raw_metrics_hourly WHERE char_length(account_id) ="
            " 32 GROUP BY 1"
        )
        lost = await c.execute(
            f"DELETE FROM raw_metrics_hourly WHERE (account_id, date) IN ({days})"
        )
        assert lost != "DELETE 0"
        for kind in kinds:
            await run(service, kind)
        after = await _stored(warehouse)
        assert {table: rows for table, rows in after.items() if rows != before[table]} == {}
        assert (
            await c.fetchval("SELECT count(*) FROM trade_recon WHERE account_id = $1", str(text))
            == 0
        )


async def test_an_id_is_believed_again_once_an_audit_sees_it_for_one_key(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with (
        warehouse.connect() as c,
        altering(sandbox) as api,
        engine(warehouse, api.as_sandbox, config=_config()) as service,
    ):
        api.alter = _with_id("0")
        await run(service, RunKind.AUDIT)
        assert await c.fetchval("SELECT array_agg(account_id) FROM recon_shared_ids") == ["0"]
        api.alter = lambda _, body: body
        await run(service, RunKind.AUDIT)
        assert await c.fetchval("SELECT count(*) FROM recon_shared_ids") == 0


async def test_an_account_whose_id_others_carry_for_a_while_keeps_its_rows(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    before = await _stored(warehouse)
    async with (
        altering(sandbox) as api,
        engine(warehouse, api.as_sandbox, config=_config()) as service,
    ):
        taken = next(each for each in sandbox.world.account_ids if each not in _hidden(_world()))
        api.alter = _with_id(taken)
        for kind in (RunKind.AUDIT, RunKind.FULL, RunKind.AUDIT):
            await run(service, kind)
        after = await _stored(warehouse)
        assert {table: rows for table, rows in after.items() if rows != before[table]} == {}
