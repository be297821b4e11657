"""Accounts for which upstream sends the id at one level of metrics and null at another: they are
one account, and healed like others.
"""

import itertools
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from app.domain.contract.tables import METRICS, TABLES, Endpoint
from app.domain.states import RunKind
from app.engine.preparation.maintenance import maintain
from app.sandbox.server.serving import SandboxServer
from app.sandbox.witness.comparison import Comparison, compare
from app.sandbox.world.generation import Contradictions
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.support.engine import TODAY, engine, fill, run

_TABLES = (*METRICS, Endpoint.CLOSED)
_HIDDEN = [levels for number in (1, 2, 3) for levels in itertools.combinations(METRICS, number)]
_LOST = [tables for number in (1, 2, 3) for tables in itertools.combinations(_TABLES, number)]
_EARLIER, _LATER = 10, 11
"""Two accounts of one natural key, one after the other."""


def _world(accounts: int = 14, seed: int = 7) -> World:
    return World.generate(
        accounts, seed=seed, today=TODAY, trades_per_account=5, days=20, contradictory=False
    )


def _with_one_key(world: World) -> list[str]:
    """Accounts with trades whose natural key no other account ever had."""
    holders = Counter(
        key for account_id in world.account_ids for key in world.natural_keys(account_id)
    )
    return [
        account_id
        for account_id in world.account_ids
        if world.trades(account_id)
        and len(keys := world.natural_keys(account_id)) == 1
        and holders[keys[0]] == 1
    ]


async def _against(truth: World, database: Database) -> Comparison:
    """The warehouse beside what upstream would send if it sent every id."""
    async with database.connect() as connection:
        return await compare(
            {endpoint: truth.rows(endpoint) for endpoint in Endpoint}, connection, database.schema
        )


async def _listed(database: Database) -> set[str]:
    async with database.connect() as connection:
        return {row[0] for row in await connection.fetch("SELECT account_id FROM trade_recon")}


async def _lose(database: Database, account_id: str, tables: Sequence[Endpoint]) -> None:
    async with database.connect() as connection:
        for endpoint in tables:
            await connection.execute(
                f"DELETE FROM {TABLES[endpoint].name} WHERE account_id = $1", account_id
            )


async def _shown(database: Database) -> dict[str, str]:
    """The issue of each account that has some."""
    async with database.connect() as connection:
        rows = await connection.fetch(
            "SELECT account_id, issue ->> 'type' AS type FROM trade_recon,"
            " jsonb_array_elements(issues) AS issue"
        )
    return {row["account_id"]: row["type"] for row in rows}


def _status(shown: dict[str, str]) -> str:
    return "completed_with_issues" if shown else "succeeded"


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", ["full", "retry", "audit", "named"])
async def test_whatever_level_comes_without_id_and_whatever_is_lost_here_every_kind_of_run_heals_the_account(
    kind: str, seed: int, database: Database
) -> None:
    chance = random.Random(f"{kind} {seed}")
    world, truth = _world(30), _world(30)
    cases = {
        account_id: (chance.choice(_HIDDEN), chance.choice(_LOST), chance.random() < 0.5)
        for account_id in chance.sample(_with_one_key(world), 16)
    }
    async with SandboxServer(world) as upstream, engine(database, upstream) as service:
        await fill(database, upstream)
        await maintain(service.store, TODAY)
        for account_id, (hidden, lost, findable) in cases.items():
            world.hide_id(account_id, *hidden, findable=findable)
            await _lose(database, account_id, lost)
        request = {"account_ids": tuple(cases)} if kind == "named" else {}
        state = await run(service, RunKind.FULL if kind == "named" else RunKind(kind), **request)
        # Who is named is compared row by row: stored rows of a level without ids that cannot be
        # found are not sent, as far as can be asked.
        unseen = (
            {account_id for account_id, (_, _, findable) in cases.items() if not findable}
            if kind == "named"
            else set()
        )
        shown = await _shown(database)
        assert set(shown) <= unseen
        assert set(shown.values()) <= {"absent_upstream"}
        assert (state["status"], (await _against(truth, database)).sample) == (
            _status(shown),
            (),
        ), cases
        state = await run(service, RunKind.AUDIT)
        assert (state["status"], (await _against(truth, database)).sample) == (
            "succeeded",
            (),
        ), cases
        assert await _listed(database) == set(truth.account_ids)


@pytest.mark.parametrize("findable", [True, False])
@pytest.mark.parametrize("level", METRICS)
async def test_an_account_whose_rows_come_without_id_is_healed_alone_too(
    level: Endpoint,
    findable: bool,  # noqa: FBT001
    database: Database,
) -> None:
    world, truth = _world(3), _world(3)
    account_id = _with_one_key(world)[0]
    async with SandboxServer(world) as upstream, engine(database, upstream) as service:
        await fill(database, upstream)
        world.hide_id(account_id, level, findable=findable)
        for lost in ((level,), (Endpoint.ALLTIME, level), METRICS):
            await _lose(database, account_id, lost)
            state = await run(service, RunKind.FULL)
            assert (state["status"], (await _against(truth, database)).sample) == (
                "succeeded",
                (),
            ), lost
        assert await _listed(database) == set(truth.account_ids)


async def test_audits_add_no_second_account_and_nothing_flaps(database: Database) -> None:
    world, truth = _world(), _world()
    account_id = _with_one_key(world)[0]
    async with (
        SandboxServer(world) as upstream,
        engine(database, upstream) as service,
        database.connect() as connection,
    ):
        await fill(database, upstream)
        world.hide_id(account_id, Endpoint.ALLTIME, findable=True)
        for _ in range(3):
            await _lose(database, account_id, [Endpoint.ALLTIME])
            state = await run(service, RunKind.AUDIT)
            assert (state["status"], (await _against(truth, database)).sample) == ("succeeded", ())
        assert await _listed(database) == set(truth.account_ids)
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM recon_removed_rows WHERE reason = 'removed'"
            )
            == 0
        )


@pytest.mark.parametrize("level", METRICS)
@pytest.mark.parametrize("number", [_EARLIER, _LATER])
async def test_a_natural_key_that_changed_hands_gives_rows_without_id_to_the_account_that_had_it_then(
    number: int, level: Endpoint, database: Database
) -> None:
    world, truth = _world(), _world()
    account_id = world.account_ids[number]
    async with SandboxServer(world) as upstream, engine(database, upstream) as service:
        await fill(database, upstream)
        await maintain(service.store, TODAY)
        world.hide_id(account_id, level, findable=True)
        for lost in ((level,), (Endpoint.CLOSED, level)):
            await _lose(database, account_id, lost)
            for kind in (RunKind.FULL, RunKind.AUDIT):
                state = await run(service, kind)
                assert (state["status"], (await _against(truth, database)).sample) == (
                    "succeeded",
                    (),
                ), (kind, lost)
        assert await _listed(database) == set(truth.account_ids)


@pytest.mark.parametrize("level", METRICS)
async def test_of_two_accounts_that_share_a_natural_key_nothing_is_doubled_or_lost(
    level: Endpoint, database: Database
) -> None:
    shared = Contradictions(0, 0, 1, 0)
    world, truth = (
        World.generate(9, seed=7, today=TODAY, trades_per_account=5, days=20, contradictions=shared)
        for _ in range(2)
    )
    first, second = world.contradictions
    async with (
        SandboxServer(world) as upstream,
        engine(database, upstream) as service,
        database.connect() as connection,
    ):
        await fill(database, upstream)
        await maintain(service.store, TODAY)
        for account_id in (first, second):
            world.hide_id(account_id, level, findable=True)
        await _lose(database, first, [level])
        for kind in (RunKind.FULL, RunKind.AUDIT):
            await run(service, kind)
        assert (await _against(truth, database)).sample == ()
        assert await _listed(database) == set(truth.account_ids)
        assert await connection.fetchval("SELECT count(*) FROM recon_removed_rows") == 0


@pytest.mark.parametrize("level", [Endpoint.ALLTIME, Endpoint.HOURLY])
async def test_an_account_that_gets_its_id_at_one_level_first_moves_there_with_all_its_rows(
    level: Endpoint, database: Database
) -> None:
    world, truth = _world(3), _world(3)
    account_id = _with_one_key(world)[0]
    async with (
        SandboxServer(world) as upstream,
        engine(database, upstream) as service,
        database.connect() as connection,
    ):
        world.hide_id(account_id)
        await fill(database, upstream)
        await run(service, RunKind.AUDIT)
        world.reveal_id(account_id)
        world.hide_id(account_id, *[each for each in METRICS if each is not level])
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE login = $1",
            world.account(account_id).current_key.login,
        )
        await run(service, RunKind.FULL)
        state = await run(service, RunKind.AUDIT)
        assert (state["status"], (await _against(truth, database)).sample) == ("succeeded", ())
        # Where its last row left the placeholder, maintenance takes that off the list.
        await maintain(service.store, TODAY)
        assert await _listed(database) == set(truth.account_ids)
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM recon_removed_rows WHERE reason = 'removed'"
            )
            == 0
        )
