"""Replicas that die or stop at a known point: another one goes on, nothing is lost or counted
twice, who wakes up late writes nothing.

The point is chosen without a hook in trade-recon: the test holds a lock that the step needs, or an
answer of upstream, and sees in PostgreSQL that the replica waits for it.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.states import Outcome
from app.sandbox.damage.damage import damage
from app.sandbox.damage.kinds import DamageKind
from app.sandbox.server.app import create_sandbox
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.support.engine import TODAY, difference, fill
from tests.support.replicas import (
    LEASE_SECONDS,
    Replica,
    Replicas,
    until,
    until_nothing_is_left,
    until_waiting_for,
)
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_TAKEN_OVER_SECONDS = LEASE_SECONDS + 5
_KINDS = (DamageKind.HOURLY_MISSING, DamageKind.SOME_CLOSED_MISSING, DamageKind.ALLTIME_COUNT)
_ENDED = "SELECT finished_at IS NOT NULL FROM recon_runs WHERE run_id = $1"
_CLAIMED = "SELECT EXISTS (SELECT FROM trade_recon WHERE claimed_by IS NOT NULL)"


class _Gate:
    """Holds requests to upstream before they are answered, for as long as the test wants."""

    def __init__(self) -> None:
        self._held: asyncio.Event | None = None
        self.waiting = 0

    def hold(self) -> None:
        """Every request that comes from now on waits."""
        self._held = asyncio.Event()

    def let_pass(self) -> Callable[[], None]:
        """Whoever comes from now on passes, whoever waits goes on waiting; what is given back lets
        them go.
        """
        held, self._held = self._held, None
        return held.set if held else lambda: None

    async def passed(self) -> None:
        if self._held:
            self.waiting += 1
            await self._held.wait()

    async def until_somebody_waits(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while not self.waiting:  # noqa: ASYNC110 - another process's event
                await asyncio.sleep(0.01)


class _Gated:
    """The sandbox behind a gate."""

    def __init__(self, app: ASGIApp, gate: _Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._gate.passed()
        await self._app(scope, receive, send)


@pytest.fixture
def gate() -> _Gate:
    return _Gate()


@pytest.fixture
async def sandbox(gate: _Gate) -> AsyncIterator[SandboxServer]:
    world = World.generate(
        12, seed=4, today=TODAY, trades_per_account=15, days=30, contradictory=False
    )
    app = create_sandbox(world)
    app.add_middleware(_Gated, gate=gate)
    async with SandboxServer(world, app=app) as server:
        yield server


@pytest.fixture
async def victims(database: Database, sandbox: SandboxServer) -> list[str]:
    """Accounts that were damaged, each in its way, in a warehouse that was equal to upstream."""
    await fill(database, sandbox)
    return await _damaged(database, _KINDS)


async def _damaged(database: Database, kinds: tuple[DamageKind, ...]) -> list[str]:
    async with database.connect() as connection:
        done = await damage(connection, database.schema, seed=1, kinds=kinds, accounts_per_kind=1)
    accounts = [each.account_ids[0] for each in done]
    assert len(set(accounts)) == len(kinds)
    return accounts


@pytest.fixture
def batch_size() -> str:
    """All accounts of a run in one batch, unless a test says otherwise."""
    return "100"


@pytest.fixture
async def replicas(
    database: Database, sandbox: SandboxServer, tmp_path: Path, batch_size: str
) -> AsyncIterator[Replicas]:
    # With one worker each, which goes through one batch after the other.
    async with Replicas(
        tmp_path, database, sandbox, RECON_WORKERS="1", RECON_BATCH_SIZE=batch_size
    ) as group:
        yield group


@contextlib.asynccontextmanager
async def _locking(database: Database, *statements: str) -> "AsyncIterator[Connection]":
    """A connection that holds what the statements lock, until it is told to ROLLBACK or the context
    ends.
    """
    async with database.connect() as connection:
        await connection.execute("; ".join(["BEGIN", *statements]))
        yield connection


_FEED = "SELECT pg_advisory_xact_lock(hashtext('trade-recon changes'), hashtext(current_schema()))"
_Die = Callable[[Database, _Gate, Replicas, list[str]], Awaitable[tuple[str, dt.datetime]]]
_Stop = Callable[
    [Database, _Gate, Replicas, list[str]], Awaitable[tuple[Replica, str, Callable[[], None]]]
]


async def _kill(replica: Replica, database: Database) -> dt.datetime:
    async with database.connect() as connection:
        moment: dt.datetime = await connection.fetchval("SELECT clock_timestamp()")
    await replica.kill()
    return moment


async def _at_claim(
    database: Database, gate: _Gate, replicas: Replicas, victims: list[str]
) -> tuple[str, dt.datetime]:
    """While the statement that claims waits for its lock: PostgreSQL completes it for the dead."""
    del gate
    doomed = await replicas.start()
    async with database.connect() as watch, database.connect() as claims:
        # Once before, so that the statement is prepared: what waits below is then complete, and
        # needs nobody to go on.
        healthy = await watch.fetchval(
            "SELECT account_id FROM raw_metrics_alltime WHERE account_id <> ALL($1) LIMIT 1",
            victims,
        )
        await until(watch, _ENDED, await doomed.start_run("full", [healthy]))
        await claims.execute("BEGIN")
        async with _locking(
            database, "LOCK TABLE recon_attempts IN SHARE ROW EXCLUSIVE MODE"
        ) as preparation:
            run_id = await doomed.start_run("full", victims)
            # The run's accounts are about to be put in; behind that, and before the claim, the next
            # lock waits in line.
            await until_waiting_for(watch, preparation)
            in_line = asyncio.create_task(
                claims.execute("LOCK TABLE recon_attempts IN EXCLUSIVE MODE")
            )
            await until(
                watch, "SELECT cardinality(pg_blocking_pids($1)) > 0", claims.get_server_pid()
            )
        await in_line
        await until_waiting_for(watch, claims)
        await replicas.start()
        return run_id, await _kill(doomed, database)


async def _at_fetch(
    database: Database, gate: _Gate, replicas: Replicas, victims: list[str]
) -> tuple[str, dt.datetime]:
    doomed, run_id = await _held_in_fetch(gate, replicas, victims)
    await replicas.start()
    killed_at = await _kill(doomed, database)
    gate.let_pass()()
    return run_id, killed_at


async def _at_apply(
    database: Database, gate: _Gate, replicas: Replicas, victims: list[str]
) -> tuple[str, dt.datetime]:
    """With rows written and not committed: the feed is locked last in the writing transaction."""
    del gate
    doomed = await replicas.start()
    async with _locking(database, _FEED) as feed, database.connect() as watch:
        run_id = await doomed.start_run("full", victims)
        await until(watch, _CLAIMED)
        await replicas.start()
        await until_waiting_for(watch, feed)
        return run_id, await _kill(doomed, database)


async def _at_verify(
    database: Database, gate: _Gate, replicas: Replicas, victims: list[str]
) -> tuple[str, dt.datetime]:
    """With a round committed and not looked at: the detection that follows reads what audits
    found.
    """
    doomed, run_id = await _held_in_fetch(gate, replicas, victims)
    await replicas.start()
    async with (
        _locking(database, "LOCK TABLE recon_drift IN ACCESS EXCLUSIVE MODE") as drift,
        database.connect() as watch,
    ):
        gate.let_pass()()
        await until_waiting_for(watch, drift)
        assert await watch.fetchval("SELECT count(*) FROM recon_changes") > 0
        return run_id, await _kill(doomed, database)


async def _at_record(
    database: Database, gate: _Gate, replicas: Replicas, victims: list[str]
) -> tuple[str, dt.datetime]:
    """With everything healed, in the middle of the transaction that records it."""
    doomed, run_id = await _held_in_fetch(gate, replicas, victims)
    await replicas.start()
    async with (
        _locking(database, "SELECT FROM recon_attempts FOR UPDATE") as attempts,
        database.connect() as watch,
    ):
        gate.let_pass()()
        await until_waiting_for(watch, attempts)
        return run_id, await _kill(doomed, database)


async def _held_in_fetch(
    gate: _Gate, replicas: Replicas, victims: list[str]
) -> tuple[Replica, str]:
    gate.hold()
    replica = await replicas.start()
    run_id = await replica.start_run("full", victims)
    await gate.until_somebody_waits()
    return replica, run_id


@pytest.mark.parametrize(
    "die",
    [_at_claim, _at_fetch, _at_apply, _at_verify, _at_record],
    ids=lambda die: die.__name__.lstrip("_"),
)
async def test_what_a_killed_replica_held_is_taken_over_soon_and_counts_once(
    database: Database,
    sandbox: SandboxServer,
    gate: _Gate,
    victims: list[str],
    replicas: Replicas,
    die: _Die,
) -> None:
    async with database.connect() as connection:
        lost = await _lost(connection, sandbox)
        run_id, killed_at = await die(database, gate, replicas, victims)
        await until(connection, _ENDED, run_id)
        # The time of the claim: when the record was made, less what the batch took.
        claimed_at = (
            "SELECT max(finished_at - make_interval(secs => seconds)) FROM recon_attempts WHERE"
            " run_id = $1"
        )
        assert (
            await connection.fetchval(claimed_at, run_id) - killed_at
        ).total_seconds() < _TAKEN_OVER_SECONDS
        assert (await difference(database, sandbox)).is_equal
        await _assert_counted_once(connection, run_id, len(victims), lost)
        await until_nothing_is_left(connection, _TAKEN_OVER_SECONDS)


async def _lost(connection: "Connection", sandbox: SandboxServer) -> int:
    """How many rows the warehouse lacks."""
    return sum(
        [
            len(sandbox.world.rows(endpoint))
            - await connection.fetchval(f"SELECT count(*) FROM {table.name}")
            for endpoint, table in TABLES.items()
        ]
    )


async def _assert_counted_once(
    connection: "Connection", run_id: str, accounts: int, lost: int
) -> None:
    run = await connection.fetchrow("SELECT * FROM recon_runs WHERE run_id = $1", run_id)
    assert run is not None
    assert run["status"] == "succeeded", run["error"]
    attempts = await connection.fetch(
        "SELECT outcome FROM recon_attempts WHERE run_id = $1", run_id
    )
    assert run["total"] == len(attempts) == accounts
    for outcome in Outcome:
        assert run[outcome.value] == sum(
            attempt["outcome"] == outcome.value for attempt in attempts
        )
    # What was healed and not recorded before the end is found in order by whoever takes over, and
    # still was healed by the run.
    assert run["healed"] == accounts
    assert await connection.fetchval("SELECT max(failed_attempts) FROM trade_recon") == 0
    # Each slice was written once, whoever did it; what the dead wrote and did not record is counted
    # by what was kept of it, never doubled.
    written = "SELECT account_id, table_name, unnest(days) AS days FROM recon_changes"
    assert (
        await connection.fetchval(
            f"SELECT count(*) - count(DISTINCT (account_id, table_name, days)) FROM ({written})"
            " AS w"
        )
        == 0
    )
    assert await connection.fetchval("SELECT count(*) FROM recon_removed_rows") == 1
    assert (run["rows_inserted"], run["rows_updated"]) == (lost, 1)
    each = await connection.fetchrow(
        "SELECT sum(rows_inserted), sum(rows_updated) FROM recon_attempts WHERE run_id = $1", run_id
    )
    assert tuple(each or ()) == (lost, 1)
    issues = (
        "SELECT count(*) FILTER (WHERE closed_at IS NULL), count(*) - count(DISTINCT (account_id,"
        " type)) FROM recon_issue_history"
    )
    assert tuple(await connection.fetchrow(issues) or ()) == (0, 0)


async def _stopped_in_fetch(
    database: Database, gate: _Gate, replicas: Replicas, victims: list[str]
) -> tuple[Replica, str, Callable[[], None]]:
    """With its answer on the way; it comes when the other one is done."""
    del database
    sleeper, run_id = await _held_in_fetch(gate, replicas, victims)
    release = gate.let_pass()
    sleeper.stop()
    return sleeper, run_id, release


async def _stopped_before_apply(
    database: Database, gate: _Gate, replicas: Replicas, victims: list[str]
) -> tuple[Replica, str, Callable[[], None]]:
    """With everything fetched and staged, about to write."""
    sleeper, run_id = await _held_in_fetch(gate, replicas, victims)
    stages = ", ".join(f"recon_stage_{name}" for name in ("alltime", "daily", "hourly", "closed"))
    async with (
        _locking(database, f"LOCK TABLE {stages} IN EXCLUSIVE MODE") as staging,
        database.connect() as watch,
    ):
        gate.let_pass()()
        await until_waiting_for(watch, staging)
        sleeper.stop()
    return sleeper, run_id, lambda: None


async def _stopped_in_transaction(
    database: Database, gate: _Gate, replicas: Replicas, victims: list[str]
) -> tuple[Replica, str, Callable[[], None]]:
    """With rows written and not committed, and all locks of that: PostgreSQL ends such a
    transaction after half a lease.
    """
    del gate
    sleeper = await replicas.start()
    async with database.connect() as watch:
        async with _locking(database, _FEED) as feed:
            run_id = await sleeper.start_run("full", victims)
            writer = await until_waiting_for(watch, feed)
            sleeper.stop()
        begun = await watch.fetchval("SELECT clock_timestamp()")
        await until(
            watch,
            "SELECT state = 'idle in transaction' FROM pg_stat_activity WHERE pid = $1",
            writer,
        )
        await until(watch, "SELECT NOT EXISTS (SELECT FROM pg_locks WHERE pid = $1)", writer)
        taken = (await watch.fetchval("SELECT clock_timestamp()") - begun).total_seconds()
        assert taken < LEASE_SECONDS
    return sleeper, run_id, lambda: None


@pytest.mark.parametrize("batch_size", ["1"])
@pytest.mark.parametrize(
    "stop",
    [_stopped_in_fetch, _stopped_before_apply, _stopped_in_transaction],
    ids=lambda stop: stop.__name__.lstrip("_"),
)
async def test_a_replica_that_was_stopped_past_its_lease_writes_nothing_of_what_it_was_at_and_goes_on_with_the_run(
    database: Database, sandbox: SandboxServer, gate: _Gate, replicas: Replicas, stop: _Stop
) -> None:
    await fill(database, sandbox)
    (victim,) = await _damaged(database, (DamageKind.HOURLY_MISSING,))
    async with database.connect() as connection:
        healthy = await connection.fetchval(
            "SELECT min(account_id) FROM raw_metrics_alltime WHERE account_id <> $1", victim
        )
        sleeper, run_id, release = await stop(database, gate, replicas, [victim, healthy])
        # Nobody gets the other account as long as this is locked, so the run is not over when the
        # sleeper wakes up.
        async with _locking(
            database, f"SELECT FROM recon_attempts WHERE account_id = '{healthy}' FOR UPDATE"
        ):
            other = await replicas.start()
            await until(
                connection,
                "SELECT outcome = 'healed' FROM recon_attempts WHERE account_id = $1",
                victim,
            )
            assert (await difference(database, sandbox)).is_equal
            before = await _written(connection, victim)
            release()
            sleeper.wake()
            assert await other.end() == 0
        # Alone, with one worker, it went through what it was at before it came to the other
        # account.
        await until(connection, _ENDED, run_id)
        assert await _written(connection, victim) == before
        run = await connection.fetchrow("SELECT * FROM recon_runs")
        assert run is not None
        assert (run["status"], run["total"], run["healed"], run["unchanged"]) == (
            "succeeded",
            2,
            1,
            1,
        )
        assert run["rows_inserted"] == len(
            [row for row in sandbox.world.rows(Endpoint.HOURLY) if row["accountId"] == victim]
        )
        await until_nothing_is_left(connection, _TAKEN_OVER_SECONDS)


async def test_a_replica_that_wakes_up_when_its_run_is_over_leaves_the_record_as_it_is_and_serves_the_next_run(
    database: Database, sandbox: SandboxServer, gate: _Gate, replicas: Replicas
) -> None:
    await fill(database, sandbox)
    (victim,) = await _damaged(database, (DamageKind.HOURLY_MISSING,))
    sleeper, run_id, release = await _stopped_in_fetch(database, gate, replicas, [victim])
    other = await replicas.start()
    async with database.connect() as connection:
        await until(connection, _ENDED, run_id)
        assert await other.end() == 0
        before = await _written(connection, victim), await _recorded(connection, run_id)
        release()
        sleeper.wake()
        await until(connection, _ENDED, await sleeper.start_run("full", [victim]))
        (attempts, *rows), run = (
            await _written(connection, victim),
            await _recorded(connection, run_id),
        )
        assert [attempt["outcome"] for attempt in attempts] == ["healed", "unchanged"]
        assert ((attempts[:1], *rows), run) == before


async def _written(connection: "Connection", account_id: str) -> tuple[list["asyncpg.Record"], ...]:
    """All that was recorded of an account and its issues, the versions of its rows, and the changes
    that were noted.
    """
    versions = [
        f"SELECT tableoid, ctid, xmin FROM {table.name} WHERE account_id = $1"
        for table in TABLES.values()
    ]
    return tuple(
        [
            await connection.fetch(query, account_id)
            for query in (
                "SELECT * FROM recon_attempts WHERE account_id = $1 ORDER BY finished_at",
                "SELECT * FROM recon_issue_history WHERE account_id = $1 ORDER BY issue_id",
                "SELECT * FROM recon_changes WHERE account_id = $1 ORDER BY change_id",
                " UNION ALL ".join(versions) + " ORDER BY 1, 2",
            )
        ]
    )


async def _recorded(connection: "Connection", run_id: str) -> dict[str, object]:
    """What stands of a run, but for the requests that were sent in vain and what they cost."""
    run = await connection.fetchrow("SELECT * FROM recon_runs WHERE run_id = $1", run_id)
    assert run is not None
    return {name: value for name, value in run.items() if name not in ("requests", "api", "phases")}


async def test_a_replica_that_was_away_for_longer_than_its_lease_asks_again_even_if_nobody_took_over(
    database: Database, sandbox: SandboxServer, gate: _Gate, replicas: Replicas
) -> None:
    await fill(database, sandbox)
    victims = await _damaged(database, (DamageKind.HOURLY_MISSING,))
    sleeper, run_id, _ = await _stopped_before_apply(database, gate, replicas, victims)
    async with database.connect() as connection:
        await until(
            connection,
            "SELECT max(heartbeat_at) < now() - make_interval(secs => $1) FROM recon_workers",
            LEASE_SECONDS,
        )
        asked = sandbox.log.total
        sleeper.wake()
        await until(connection, _ENDED, run_id)
        # What it had fetched is as old as its lease: the same was fetched anew, and written once.
        assert sandbox.log.total > asked
        assert (await difference(database, sandbox)).is_equal
        assert await connection.fetchval("SELECT count(*) FROM recon_changes") == 1
        assert await connection.fetchval(
            "SELECT (status, healed, failed) FROM recon_runs WHERE run_id = $1", run_id
        ) == ("succeeded", 1, 0)
        await until_nothing_is_left(connection, _TAKEN_OVER_SECONDS)
