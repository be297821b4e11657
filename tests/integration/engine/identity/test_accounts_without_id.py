"""Accounts for which upstream sends no id: they stand under the MD5 of their natural key, and are
healed like others.
"""

import hashlib
import random
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.domain.contract.tables import Endpoint
from app.domain.states import RunKind
from app.sandbox.damage.damage import HEALABLE_KINDS, damage
from app.sandbox.damage.kinds import DamageKind
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.support.engine import TODAY, difference, engine, fill, run

_BY_AUDIT_ALONE = {DamageKind.DRIFT_TRADE, DamageKind.DRIFT_MONEY, DamageKind.WRONG_DAY}
_EARLIER, _LATER = 10, 11
"""Two accounts of one natural key, one after the other."""


def _placeholder(world: World, account_id: str) -> str:
    return hashlib.md5(
        "|".join(map(str, world.account(account_id).current_key)).encode(), usedforsecurity=False
    ).hexdigest()


def _world(hidden: Iterable[int], accounts: int = 14) -> World:
    world = World.generate(
        accounts, seed=7, today=TODAY, trades_per_account=9, days=30, contradictory=False
    )
    for number in hidden:
        # Those that moved had two natural keys, and would be two accounts.
        if len(world.natural_keys(world.account_ids[number])) == 1:
            world.hide_id(world.account_ids[number])
    return world


def _known(world: World) -> set[str]:
    """The ids under which the warehouse should list upstream's accounts."""
    return {_placeholder(world, account_id) for account_id in world.without_id} | (
        set(world.account_ids) - world.without_id
    )


async def _listed(database: Database) -> set[str]:
    async with database.connect() as connection:
        return {row[0] for row in await connection.fetch("SELECT account_id FROM trade_recon")}


@pytest.mark.parametrize("kind", [RunKind.FULL, RunKind.AUDIT])
async def test_accounts_without_an_id_are_healed_like_others(
    kind: RunKind, database: Database
) -> None:
    # Damage may leave nothing that tells the earlier holder of a key from rows of the later one
    # without an id: then only a scan does.
    world = _world({0, 2, 4, 6, 8, 12} | ({_EARLIER} if kind is RunKind.AUDIT else set()))
    async with (
        SandboxServer(world) as upstream,
        database.connect() as connection,
        engine(database, upstream) as service,
    ):
        await fill(database, upstream)
        kinds = HEALABLE_KINDS - _BY_AUDIT_ALONE if kind is RunKind.FULL else HEALABLE_KINDS
        assert await damage(connection, database.schema, seed=3, kinds=kinds, accounts_per_kind=1)
        state = await run(service, kind)
        assert (await difference(database, upstream)).sample == ()
        assert state["status"] == "succeeded"
        assert await _listed(database) == _known(world)
        assert (
            not {_placeholder(world, account_id) for account_id in world.without_id}
            & upstream.log.ids()
        )
        assert await run(service, RunKind.FULL)
        assert (await difference(database, upstream)).sample == ()


@pytest.mark.parametrize("left", ["raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly"])
async def test_one_table_of_metrics_is_enough_to_heal_an_account_without_an_id(
    left: str, database: Database
) -> None:
    world = _world([0, 3])
    hidden = [_placeholder(world, account_id) for account_id in world.without_id]
    async with (
        SandboxServer(world) as upstream,
        database.connect() as connection,
        engine(database, upstream) as service,
    ):
        await fill(database, upstream)
        for table in {"raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly"} - {left}:
            await connection.execute(f"DELETE FROM {table} WHERE account_id = ANY($1)", hidden)
        await connection.execute(
            "UPDATE raw_trades_closed SET account_id = NULL WHERE account_id = $1", hidden[0]
        )
        await connection.execute("DELETE FROM raw_trades_closed WHERE account_id = $1", hidden[1])
        state = await run(service, RunKind.FULL)
        assert (await difference(database, upstream)).sample == ()
        assert state["status"] == "succeeded"


async def test_an_audit_brings_back_an_account_without_an_id_of_which_nothing_is_left(
    database: Database,
) -> None:
    world = _world([0, 3])
    hidden = [_placeholder(world, account_id) for account_id in world.without_id]
    async with (
        SandboxServer(world) as upstream,
        database.connect() as connection,
        engine(database, upstream) as service,
    ):
        await fill(database, upstream)
        for table in (
            "raw_metrics_alltime",
            "raw_metrics_daily",
            "raw_metrics_hourly",
            "raw_trades_closed",
        ):
            await connection.execute(f"DELETE FROM {table} WHERE account_id = ANY($1)", hidden)
        # An earlier system gave some of the trades to an account that has nothing to do with them.
        await connection.execute(
            "UPDATE raw_trades_open SET account_id = $2 WHERE account_id = ANY($1)",
            hidden,
            world.account_ids[1],
        )
        await run(service, RunKind.AUDIT)
        assert (await difference(database, upstream)).sample == ()
        assert await _listed(database) == _known(world)


@pytest.mark.parametrize("kind", [RunKind.FULL, RunKind.AUDIT])
async def test_an_account_that_upstream_gives_an_id_keeps_its_rows_under_that(
    kind: RunKind, database: Database
) -> None:
    world = _world([0, 3])
    hidden = {account_id: _placeholder(world, account_id) for account_id in world.without_id}
    async with (
        SandboxServer(world) as upstream,
        database.connect() as connection,
        engine(database, upstream) as service,
    ):
        await fill(database, upstream)
        await run(service, RunKind.AUDIT)
        for account_id in hidden:
            world.reveal_id(account_id)
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = ANY($1)", list(hidden.values())
        )
        states = [await run(service, each) for each in (kind, RunKind.FULL)]
        assert (await difference(database, upstream)).sample == ()
        assert [state["accounts"]["needs_confirmation"] for state in states] == [0, 0]  # type: ignore[index]
        assert await _listed(database) == set(world.account_ids)
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM recon_removed_rows WHERE reason = 'removed'"
            )
            == 0
        )


@pytest.mark.parametrize("hidden", [[_EARLIER], [_LATER]])
async def test_a_natural_key_that_changed_hands_belongs_to_each_in_its_time_with_an_id_or_without(
    hidden: list[int], database: Database
) -> None:
    world = _world(hidden)
    async with (
        SandboxServer(world) as upstream,
        engine(database, upstream) as service,
        database.connect() as connection,
    ):
        await fill(database, upstream)
        await connection.execute(
            "UPDATE raw_trades_closed SET account_id = NULL WHERE ticket::bigint % 3 = 0"
        )
        # That upstream sends the key without an id too, beside one with, only a scan tells.
        for kind in (RunKind.AUDIT, RunKind.AUDIT, RunKind.FULL):
            await run(service, kind)
        assert (await difference(database, upstream)).sample == ()
        assert await _listed(database) == _known(world)


_TABLES = """
SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') FROM pg_tables
WHERE schemaname = $1 AND tablename <> 'recon_migrations' AND tablename !~ '_[0-9]{4}_[0-9]{2}$'
"""


@settings(
    max_examples=5,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    accounts=st.integers(2, 14),
    seed=st.integers(0, 10_000),
    hidden=st.sets(st.integers(0, 13)),
    hexadecimal=st.booleans(),
    kinds=st.sets(st.sampled_from(sorted(HEALABLE_KINDS)), min_size=1, max_size=6),
)
async def test_no_account_is_lost_and_no_trade_is_given_to_one_before_its_first_day(
    database: Database,
    *,
    accounts: int,
    seed: int,
    hidden: set[int],
    hexadecimal: bool,
    kinds: set[DamageKind],
) -> None:
    async with database.connect() as connection:
        await connection.execute(f"TRUNCATE {await connection.fetchval(_TABLES, database.schema)}")
    world = World.generate(
        accounts, seed=seed, today=TODAY, trades_per_account=8, days=20, contradictory=False
    )
    chance = random.Random(seed)
    names = {
        each: f"{chance.getrandbits(128):032x}" if hexadecimal else each
        for each in world.account_ids
    }
    taken = [names[world.account_ids[number]] for number in sorted(hidden & set(range(accounts)))]
    world = world.renamed(names)
    for account_id in taken:
        if len(world.natural_keys(account_id)) == 1:
            world.hide_id(account_id)
    async with (
        SandboxServer(world) as upstream,
        engine(database, upstream) as service,
        database.connect() as connection,
    ):
        await fill(database, upstream)
        done = await damage(
            connection, database.schema, seed=seed, kinds=kinds, accounts_per_kind=2
        )
        # Ids that trades carry by mistake, and an entry of an earlier system for them.
        await connection.execute(
            "UPDATE raw_trades_closed SET account_id = login WHERE hashtext(ticket::text) % 7 = 0"
            " AND account_id IS NOT NULL"
        )
        await connection.execute(
            "INSERT INTO trade_recon (account_id) SELECT DISTINCT login FROM raw_trades_closed ON"
            " CONFLICT DO NOTHING"
        )
        for kind in (RunKind.FULL, RunKind.AUDIT, RunKind.FULL):
            await run(service, kind)
            assert await _listed(database) >= _known(world), (
                f"after {[each.description for each in done]}"
            )
        assert (await difference(database, upstream)).sample == (), (
            f"after {[each.description for each in done]}"
        )
        assert await _listed(database) == _known(world)
        first_days = {
            row["account_id"]: row["first"]
            for row in await connection.fetch(
                "SELECT account_id, min(date) AS first FROM raw_metrics_daily GROUP BY 1"
            )
        }
        for row in await connection.fetch(
            "SELECT account_id, min(trade_date) AS first FROM raw_trades_closed GROUP BY 1"
        ):
            assert row["account_id"] is None or row["first"] >= first_days[row["account_id"]]
        assert {
            endpoint: upstream.log.ids(endpoint) & _known(world) - set(world.account_ids)
            for endpoint in Endpoint
        } == {endpoint: frozenset() for endpoint in Endpoint}
