"""The sandbox's ingestion, witness and damage on a real warehouse, through a real socket."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol, TypeAlias

import asyncpg
import pytest

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.issues.codes import IssueCode
from app.sandbox.damage.damage import HEALABLE_KINDS, Damage, damage
from app.sandbox.damage.kinds import DamageKind
from app.sandbox.server.serving import SandboxServer
from app.sandbox.witness.comparison import compare
from app.sandbox.witness.ingestion import ingest
from app.sandbox.witness.reading import read_upstream
from app.sandbox.world.world import World
from tests.support.clock import TODAY

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Place(Protocol):
    """What the fixture `database` gives."""

    @property
    def dsn(self) -> str: ...
    @property
    def schema(self) -> str: ...


@pytest.fixture
async def connection(database: Place) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(database.dsn)
    yield opened
    await opened.close()


async def fill(world: World, connection: Connection, schema: str) -> None:
    async with SandboxServer(world) as sandbox:
        written = await ingest(sandbox.base_url, sandbox.api_key, connection, schema)
    assert written == {endpoint: len(world.rows(endpoint)) for endpoint in Endpoint}


async def differences(world: World, connection: Connection, schema: str) -> int:
    return (
        await compare({endpoint: world.rows(endpoint) for endpoint in Endpoint}, connection, schema)
    ).differences


async def test_an_ingested_warehouse_equals_upstream(
    database: Place, connection: Connection
) -> None:
    world = World.generate(60, seed=3, today=TODAY, trades_per_account=12)
    async with SandboxServer(world, rate=500, burst=5) as sandbox:
        await ingest(sandbox.base_url, sandbox.api_key, connection, database.schema)
        rows = await read_upstream(sandbox.base_url, sandbox.api_key)
    found = await compare(rows, connection, database.schema)
    assert found.is_equal, found.sample
    assert {endpoint: table.warehouse_rows for endpoint, table in found.tables.items()} == {
        endpoint: len(world.rows(endpoint)) for endpoint in Endpoint
    }


async def test_ingestion_gives_every_trade_its_owner_or_none_where_two_accounts_fit(
    database: Place, connection: Connection
) -> None:
    world = World.generate(60, seed=4, today=TODAY, trades_per_account=12)
    await fill(world, connection, database.schema)
    owners = {
        (
            str(row["login"]),
            str(row["position"]),
            str(row["ticket"]),
            str(row["platform"]),
        ): world.owner_of_trade(row)
        for row in world.rows(Endpoint.CLOSED)
    }
    ambiguous = {
        account_id
        for account_id, kind in world.contradictions.items()
        if kind.name == "SAME_NATURAL_KEY"
    }
    assert ambiguous
    nobody = set()
    for row in await connection.fetch(
        "SELECT login, position, ticket, platform::text, account_id FROM"
        f" {database.schema}.raw_trades_closed"
    ):
        owner = owners[row["login"], row["position"], row["ticket"], row["platform"]]
        assert row["account_id"] in (owner, None)
        if row["account_id"] is None:
            nobody.add(owner)
    assert nobody == ambiguous


async def test_ingesting_again_changes_nothing(database: Place, connection: Connection) -> None:
    world = World.generate(12, seed=5, today=TODAY, trades_per_account=6)
    await fill(world, connection, database.schema)
    await fill(world, connection, database.schema)
    assert await differences(world, connection, database.schema) == 0


async def test_ingestion_of_some_accounts_leaves_out_those_that_share_their_login(
    database: Place, connection: Connection
) -> None:
    world = World.generate(12, seed=5, today=TODAY, trades_per_account=6, contradictory=False)
    account_id = "acc-00004"
    async with SandboxServer(world) as sandbox:
        assert len(world.holders(world.natural_keys(account_id)[0].login)) == 2
        written = await ingest(
            sandbox.base_url, sandbox.api_key, connection, database.schema, account_ids=[account_id]
        )
    assert written[Endpoint.CLOSED] == len(
        [trade for trade in world.trades(account_id) if not trade.is_open]
    )
    for table in TABLES.values():
        ids = await connection.fetch(
            f"SELECT DISTINCT account_id FROM {database.schema}.{table.name}"
        )
        assert {row["account_id"] for row in ids} <= {account_id}


async def test_the_witness_names_missing_surplus_and_differing_rows_with_their_accounts(
    database: Place, connection: Connection
) -> None:
    world = World.generate(12, seed=6, today=TODAY, trades_per_account=9, contradictory=False)
    await fill(world, connection, database.schema)
    raw = f"{database.schema}.raw"
    await connection.execute(f"DELETE FROM {raw}_metrics_alltime WHERE account_id = 'acc-00001'")
    await connection.execute(
        f"UPDATE {raw}_metrics_daily SET max_drawdown = -1, country = 'XX' WHERE account_id ="
        " 'acc-00002'"
    )
    await connection.execute(
        f"INSERT INTO {raw}_metrics_hourly (account_id, date, hour, login, platform, broker) SELECT"
        f" 'made-up', date, hour, login, platform, broker FROM {raw}_metrics_hourly WHERE"
        " account_id = 'acc-00003' LIMIT 1"
    )
    await connection.execute(
        f"UPDATE {raw}_trades_closed SET account_id = 'acc-00001' WHERE account_id = 'acc-00005'"
    )
    found = await compare(
        {endpoint: world.rows(endpoint) for endpoint in Endpoint}, connection, database.schema
    )
    assert (found.tables[Endpoint.ALLTIME].missing, found.tables[Endpoint.HOURLY].surplus) == (1, 1)
    daily = found.tables[Endpoint.DAILY]
    assert daily.differing == daily.differences > 0
    assert daily.sample[0].columns == ("country", "max_drawdown")
    assert found.tables[Endpoint.CLOSED].sample[0].columns == ("account_id",)
    assert found.account_ids == {"acc-00001", "acc-00002", "made-up", "acc-00005"}


async def test_the_witness_samples_differences_but_names_all_accounts(
    database: Place, connection: Connection
) -> None:
    world = World.generate(12, seed=6, today=TODAY, trades_per_account=9, contradictory=False)
    found = await compare(
        {endpoint: world.rows(endpoint) for endpoint in Endpoint},
        connection,
        database.schema,
        sample=3,
    )
    assert len(found.tables[Endpoint.DAILY].sample) == 3
    assert found.tables[Endpoint.ALLTIME].account_ids == set(world.account_ids)
    assert found.differences == sum(len(world.rows(endpoint)) for endpoint in Endpoint)


async def fill_and_damage(
    world: World, connection: Connection, schema: str, **options: object
) -> list[Damage]:
    await fill(world, connection, schema)
    return await damage(connection, schema, seed=1, **options)  # type: ignore[arg-type]


async def test_every_kind_of_damage_is_done_and_seen_by_the_witness(
    database: Place, connection: Connection
) -> None:
    world = World.generate(120, seed=7, today=TODAY, trades_per_account=20)
    done = await fill_and_damage(world, connection, database.schema, accounts_per_kind=2)
    assert {each.kind for each in done} == set(DamageKind)
    hit = [each.account_ids[0] for each in done]
    assert len(hit) == len(set(hit))
    assert not set(hit) & set(world.contradictions)
    found = await compare(
        {endpoint: world.rows(endpoint) for endpoint in Endpoint}, connection, database.schema
    )
    harmless = {each.account_ids[0] for each in done if each.kind is DamageKind.SECOND_HOLDER}
    assert set(hit) - harmless <= found.account_ids
    assert {each.code for each in done} >= {
        IssueCode.FOREIGN_ACCOUNT_ID,
        IssueCode.UPSTREAM_DRIFT,
        IssueCode.AMBIGUOUS_IDENTITY,
    }


async def test_ingesting_again_heals_what_only_overwrites_or_deletes(
    database: Place, connection: Connection
) -> None:
    world = World.generate(40, seed=8, today=TODAY, trades_per_account=20, contradictory=False)
    await fill_and_damage(
        world,
        connection,
        database.schema,
        kinds=HEALABLE_KINDS
        - {
            DamageKind.SURPLUS_TRADE,
            DamageKind.TRADE_DOUBLED,
            DamageKind.TRADE_ON_OTHER_DATE,
            DamageKind.MD5_DAILY_ROWS,
        },
    )
    assert await differences(world, connection, database.schema) > 0
    await fill(world, connection, database.schema)
    assert await differences(world, connection, database.schema) == 0


async def test_the_same_seed_damages_the_same_rows(database: Place, connection: Connection) -> None:
    world = World.generate(40, seed=8, today=TODAY, trades_per_account=20)
    await fill(world, connection, database.schema)
    found = []
    for _ in range(2):
        transaction = connection.transaction()
        await transaction.start()
        found.append(await damage(connection, database.schema, seed=9))
        await transaction.rollback()
    assert found[0] == found[1]


async def test_drift_leaves_every_count_in_agreement(
    database: Place, connection: Connection
) -> None:
    world = World.generate(20, seed=10, today=TODAY, trades_per_account=20, contradictory=False)
    done = await fill_and_damage(
        world, connection, database.schema, kinds=[DamageKind.DRIFT_TRADE], accounts_per_kind=4
    )
    assert len(done) == 4
    rows = await connection.fetch(
        f"SELECT * FROM {database.schema}.v_recon_stats WHERE account_id = ANY($1::text[])",
        [each.account_ids[0] for each in done],
    )
    assert all(
        row["alltime"] == row["daily"] == row["hourly"] == row["closed"]
        and row["mismatched_days"] == 0
        for row in rows
    )
    assert await differences(world, connection, database.schema) > 0


async def test_a_small_warehouse_of_real_trades_takes_every_kind_that_fits_it(
    database: Place, connection: Connection, shared_trades: Path
) -> None:
    world = World.from_csv(shared_trades)
    await fill(world, connection, database.schema)
    assert await differences(world, connection, database.schema) == 0
    done = await damage(connection, database.schema, seed=2)
    # It has no open trades.
    assert {each.kind for each in done} >= set(DamageKind) - {
        DamageKind.NULL_OPEN_IDS,
        DamageKind.CLOSED_MISSING,
    }
    alone = [each.account_ids[0] for each in done if not each.is_healable]
    assert all(each.account_ids[0] not in alone for each in done if each.is_healable)
