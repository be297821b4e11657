"""That upstream has nothing of an account is said only where all that is stored of it was read and
nothing came, whatever is stored.
"""

import datetime as dt
import random
import uuid
from typing import TYPE_CHECKING

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.issues.codes import COUNTED_TABLES
from app.domain.states import RunKind
from app.engine.service import ReconService
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from app.store.restore.restore import RemovedRows
from tests.conftest import Database
from tests.support.engine import run
from tests.support.nights import NOW, TODAY, issues_of, service_at, small_world, status_of, traders

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_DAY = dt.timedelta(days=1)
_LONG_AGO = TODAY - dt.timedelta(days=60)
_METRICS = ("raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly")


async def _said_absent(connection: "Connection") -> set[str]:
    """The accounts of which anything says that upstream has nothing of them: open issues, the
    history, the outcomes of runs.
    """
    rows = await connection.fetch(
        "SELECT account_id FROM trade_recon, jsonb_array_elements(issues) AS issue WHERE issue ->>"
        " 'type' = 'absent_upstream' AND issue -> 'affected' @> to_jsonb($1::text[]) UNION SELECT"
        " account_id FROM recon_issue_history WHERE type = 'absent_upstream' AND evidence ->"
        " 'affected' @> to_jsonb($1::text[]) UNION SELECT account_id FROM recon_attempts WHERE"
        " detail LIKE '%has nothing for the account%'",
        list(COUNTED_TABLES),
    )
    return {row["account_id"] for row in rows}


def _lose_upstream(world: World, account_id: str, *endpoints: Endpoint) -> None:
    """Upstream has no rows of the account there any more, and everything else."""
    for endpoint in endpoints:
        world.records(endpoint, [account_id])
        world._records[endpoint, account_id] = []


async def _store_foreign_day(connection: "Connection", account_id: str, day: dt.date) -> None:
    """A daily row of a date on which upstream has nothing of the account."""
    await connection.execute(
        "SELECT recon_create_partitions('raw_metrics_daily', ARRAY[$1::date])", day
    )
    await connection.execute(
        "CREATE TEMP TABLE one AS SELECT * FROM raw_metrics_daily WHERE account_id = "
        f"'{account_id}' AND num_trades > 0 ORDER BY date LIMIT 1"
    )
    await connection.execute("UPDATE one SET date = $1", day)
    await connection.execute("INSERT INTO raw_metrics_daily SELECT * FROM one")
    await connection.execute("DROP TABLE one")


async def test_an_account_whose_foreign_row_somebody_deleted_is_not_called_absent_but_reconciled(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traders(sandbox.world)[0]
    async with warehouse.connect() as connection, service_at(warehouse, sandbox) as service:
        await _store_foreign_day(connection, account_id, _LONG_AGO)
        await run(service, RunKind.FULL)
        assert await issues_of(connection, account_id) == {"absent_upstream"}
        await connection.execute(
            "DELETE FROM raw_metrics_daily WHERE account_id = $1 AND date = $2",
            account_id,
            _LONG_AGO,
        )
        state = await run(service, RunKind.FULL)
        assert (
            await issues_of(connection, account_id),
            await status_of(connection, account_id),
        ) == (set(), "reconciled")
        assert state["status"] == "succeeded"
        assert await _said_absent(connection) == set()
        closed = await connection.fetch(
            "SELECT closing_evidence ->> 'closed_as' FROM recon_issue_history WHERE type ="
            " 'absent_upstream'"
        )
        assert [row[0] for row in closed] == ["gone"]


async def test_rows_that_were_given_back_make_no_account_absent(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    accounts = traders(sandbox.world)[:4]
    async with warehouse.connect() as connection, service_at(warehouse, sandbox) as service:
        for account_id in accounts:
            day = await connection.fetchval(
                "SELECT min(date) FROM raw_metrics_daily WHERE account_id = $1 AND num_trades > 0",
                account_id,
            )
            await connection.execute(
                "UPDATE raw_metrics_daily SET num_trades = num_trades + 2 WHERE account_id = $1 AND"
                " date = $2",
                account_id,
                day,
            )
            await connection.execute(
                "UPDATE raw_metrics_alltime SET num_trades = num_trades + 2 WHERE account_id = $1",
                account_id,
            )
            await connection.execute(
                "UPDATE raw_metrics_hourly SET num_trades = num_trades + 1 WHERE account_id = $1"
                " AND date = $2",
                account_id,
                day,
            )
        state = await run(service, RunKind.AUDIT)
        rows = RemovedRows(service.store.database, service.store.feed)
        given_back = await rows.waiting_of_run(state["run_id"])  # type: ignore[arg-type]
        assert [row.is_there async for row in rows.restore(given_back)]
        for kind in (RunKind.FULL, RunKind.RETRY, RunKind.FULL):
            await run(service, kind)
            assert await _said_absent(connection) == set()
        for account_id in accounts:
            assert (
                await issues_of(connection, account_id),
                await status_of(connection, account_id),
            ) == (set(), "reconciled")


async def test_an_account_without_an_alltime_row_upstream_is_shown_as_just_that_in_each_run(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traders(sandbox.world)[1]
    _lose_upstream(sandbox.world, account_id, Endpoint.ALLTIME)
    async with warehouse.connect() as connection:
        for night, kind in enumerate(
            (RunKind.AUDIT, RunKind.FULL, RunKind.FULL, RunKind.RETRY, RunKind.FULL, RunKind.AUDIT)
        ):
            async with service_at(warehouse, sandbox, NOW + 3 * night * _DAY) as service:
                await run(service, kind)
            assert await issues_of(connection, account_id) == {"absent_upstream"}
            assert (
                await connection.fetchval(
                    "SELECT issues #>> '{0,affected}' FROM trade_recon WHERE account_id = $1",
                    account_id,
                )
                == '["raw_metrics_alltime"]'
            )
        assert await _said_absent(connection) == set()


async def test_an_account_that_was_called_absent_is_asked_for_again_once_it_is_time(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traders(sandbox.world)[2]
    sandbox.world.forget(account_id)
    async with warehouse.connect() as connection, SandboxServer(small_world()) as well:
        async with service_at(warehouse, sandbox) as service:
            state = await run(service, RunKind.AUDIT)
            run_id = uuid.UUID(str(state["run_id"]))
            await service.confirm(run_id)
            await service.pool.run_until_finished(run_id)
        assert await _said_absent(connection) == {account_id}
        assert await status_of(connection, account_id) == "explained"
        async with service_at(warehouse, well, NOW + 2 * _DAY) as service:
            await run(service, RunKind.FULL)
            assert (
                await issues_of(connection, account_id),
                await status_of(connection, account_id),
            ) == (set(), "reconciled")


class _Hand:
    """Does to stored rows what people, ingestion and earlier systems do; upstream has all accounts
    all the time.
    """

    def __init__(self, connection: "Connection", accounts: list[str], rng: random.Random) -> None:
        self.connection = connection
        self.accounts = accounts
        self.rng = rng

    async def act(self) -> None:
        account_id, other = self.rng.sample(self.accounts, 2)
        act = self.rng.choice(
            [
                self.lose,
                self.lose_day,
                self.lose_all_but,
                self.foreign,
                self.clean,
                self.rename,
                self.inflate,
            ]
        )
        await act(account_id, other)

    async def lose(self, account_id: str, _: str) -> None:
        table = self.rng.choice([*_METRICS, "raw_trades_closed"])
        await self.connection.execute(f"DELETE FROM {table} WHERE account_id = $1", account_id)

    async def lose_day(self, account_id: str, _: str) -> None:
        table, day = self.rng.choice(
            [
                ("raw_metrics_daily", "date"),
                ("raw_metrics_hourly", "date"),
                ("raw_trades_closed", "trade_date"),
            ]
        )
        await self.connection.execute(
            f"DELETE FROM {table} WHERE account_id = $1 AND {day} = (SELECT max({day}) FROM {table}"
            " WHERE account_id = $1)",
            account_id,
        )

    async def lose_all_but(self, account_id: str, _: str) -> None:
        kept = self.rng.choice([*_METRICS, "raw_trades_closed"])
        for table in {*_METRICS, "raw_trades_closed"} - {kept}:
            await self.connection.execute(f"DELETE FROM {table} WHERE account_id = $1", account_id)

    async def foreign(self, account_id: str, _: str) -> None:
        day = _LONG_AGO + self.rng.randrange(5) * _DAY
        rows = "SELECT FROM raw_metrics_daily WHERE account_id = $1 AND"
        if await self.connection.fetchval(
            f"SELECT EXISTS ({rows} num_trades > 0) AND NOT EXISTS ({rows} date = $2)",
            account_id,
            day,
        ):
            await _store_foreign_day(self.connection, account_id, day)

    async def clean(self, account_id: str, _: str) -> None:
        await self.connection.execute(
            "DELETE FROM raw_metrics_daily WHERE account_id = $1 AND date < $2",
            account_id,
            _LONG_AGO + 20 * _DAY,
        )

    async def rename(self, account_id: str, _: str) -> None:
        """Rows under the placeholder of their own natural key."""
        table = self.rng.choice([*_METRICS, "raw_trades_closed"])
        await self.connection.execute(
            f"UPDATE {table} SET account_id = md5(login || '|' || platform || '|' || broker) WHERE"
            " account_id = $1",
            account_id,
        )

    async def inflate(self, account_id: str, _: str) -> None:
        table = self.rng.choice(_METRICS)
        await self.connection.execute(
            f"UPDATE {table} SET num_trades = num_trades + 1 WHERE account_id = $1", account_id
        )


async def _restore(service: ReconService, state: dict[str, object], rng: random.Random) -> None:
    rows = RemovedRows(service.store.database, service.store.feed)
    waiting = await rows.waiting_of_run(state["run_id"])  # type: ignore[arg-type]
    async for _ in rows.restore(rng.sample(waiting, rng.randint(0, len(waiting)))):
        pass


@pytest.mark.parametrize("seed", range(3))
async def test_no_account_that_upstream_has_is_ever_called_absent_whatever_is_stored(
    seed: int, warehouse: Database, sandbox: SandboxServer
) -> None:
    rng = random.Random(seed)
    accounts = traders(sandbox.world)
    sandbox.world.hide_id(accounts[0])
    _lose_upstream(sandbox.world, accounts[1], Endpoint.ALLTIME)
    async with warehouse.connect() as connection:
        hand = _Hand(connection, accounts[1:], rng)
        for night in range(5):
            for _ in range(rng.randint(1, 4)):
                await hand.act()
            async with service_at(warehouse, sandbox, NOW + night * 2 * _DAY) as service:
                state = await run(
                    service, rng.choice([RunKind.FULL, RunKind.FULL, RunKind.RETRY, RunKind.AUDIT])
                )
                assert await _said_absent(connection) <= {accounts[0]}, (seed, night)
                await _restore(service, state, rng)
