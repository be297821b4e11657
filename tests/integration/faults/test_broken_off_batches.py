"""A batch that breaks off in the middle is done again, and the record says what both passes found
and wrote together.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from app.domain.accounts.progress import Effort
from app.domain.ids import ClaimId
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.batch.record import count_broken_off
from app.engine.config import EngineConfig
from app.engine.service import ReconService
from app.sandbox.server.serving import SandboxServer
from app.store.claims.claim import Claim, Uncounted
from tests.conftest import Database
from tests.support.altered import AlteringApi, altering
from tests.support.engine import difference, engine, run
from tests.support.replicas import until
from tests.support.scripted import Arrival, Reply
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    import asyncpg

_CONFIG = EngineConfig(
    workers=1, poll_seconds=0.05, postpone_seconds=0, postpone_named_seconds=0, grace_seconds=0.2
)
_DEADLY = """
CREATE SEQUENCE deaths;
CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql SET search_path = prop_trading_model AS $$
BEGIN
    IF nextval('deaths') <= {times} THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER die BEFORE INSERT ON raw_trades_closed FOR EACH STATEMENT EXECUTE FUNCTION die();
"""


@dataclass(slots=True)
class _World:
    """A warehouse whose accounts need two rounds, of which the second can be broken off."""

    database: Database
    sandbox: SandboxServer
    api: AlteringApi
    proxy: TcpProxy
    dsn: str
    connection: "asyncpg.Connection[asyncpg.Record]"
    lost: dict[str, int]

    @asynccontextmanager
    async def service(self) -> AsyncIterator[ReconService]:
        async with engine(
            self.database, self.api.as_sandbox, config=_CONFIG, dsn=self.dsn
        ) as service:
            yield service

    async def refuse_after_death(self) -> None:
        """Let no session in for a moment once one was ended."""
        await until(self.connection, "SELECT is_called FROM deaths")
        self.proxy.refuses = True
        self.proxy.drop()
        await asyncio.sleep(0.5)
        self.proxy.refuses = False

    async def must_tell_all(self) -> None:
        """What the record says that was written is what was lost, and nothing was found healed by
        itself.
        """
        attempts = await self.connection.fetch(
            "SELECT account_id, outcome, rows_inserted, issues_found, requests FROM recon_attempts"
        )
        assert {row["outcome"] for row in attempts} == {"healed"}
        assert {row["account_id"]: row["rows_inserted"] for row in attempts} == self.lost
        assert all(row["issues_found"] and row["requests"] for row in attempts)
        closed = await self.connection.fetch(
            "SELECT closing_evidence::text AS told FROM recon_issue_history"
        )
        assert {json.loads(row["told"])["closed_as"] for row in closed} == {"healed"}
        assert await self.connection.fetchval("SELECT rows_inserted FROM recon_runs") == sum(
            self.lost.values()
        )
        assert (await difference(self.database, self.sandbox)).is_equal


@pytest.fixture
async def world(filled: Database, sandbox: SandboxServer) -> AsyncIterator[_World]:
    async with (
        filled.connect() as c,
        altering(sandbox) as api,
        TcpProxy.to_database(filled.dsn) as (proxy, dsn),
    ):
        lost: dict[str, int] = {}
        for table, column in (("raw_metrics_daily", "date"), ("raw_trades_closed", "trade_date")):
            statement = (
                f"DELETE FROM {table} AS t USING (SELECT account_id, min(trade_date) AS day FROM"
                " raw_trades_closed GROUP BY 1) AS d WHERE t.account_id = d.account_id AND"
                f" t.{column} = d.day RETURNING t.account_id"
            )
            for row in await c.fetch(statement):
                lost[row["account_id"]] = lost.get(row["account_id"], 0) + 1
        yield _World(filled, sandbox, api, proxy, dsn, c, lost)


@pytest.mark.parametrize(("times", "refuses"), [(1, False), (1, True), (4, False)])
async def test_what_was_written_before_a_session_was_lost_is_recorded(
    world: _World, times: int, *, refuses: bool
) -> None:
    await world.connection.execute(_DEADLY.format(times=times))
    async with world.service() as service, asyncio.TaskGroup() as beside:
        if refuses:
            beside.create_task(world.refuse_after_death())
        state = await run(service, RunKind.FULL)
    assert state["status"] == "succeeded"
    assert await world.connection.fetchval("SELECT last_value FROM deaths") > times
    await world.must_tell_all()


async def test_what_a_process_wrote_before_its_grace_time_ended_is_recorded_by_the_next(
    world: _World,
) -> None:
    written = "SELECT count(*) > 0 FROM recon_changes"

    def alter(arrival: Arrival, body: bytes) -> bytes | Reply:
        return Reply(200, body, delay=20) if "trades" in arrival.path else body

    world.api.alter = alter
    async with world.service() as service, service.pool.running():
        await service.start_run(RunRequest())
        await until(world.connection, written)
    world.api.alter = lambda _, body: body
    async with world.service() as service:
        (run_id,) = [
            row["run_id"] for row in await world.connection.fetch("SELECT run_id FROM recon_runs")
        ]
        await service.pool.run_until_finished(run_id)
    await world.must_tell_all()


async def test_what_is_counted_while_its_process_is_cancelled_is_counted_once(
    world: _World,
) -> None:
    waits = (
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND"
        " wait_event_type = 'Lock'"
    )
    async with world.service() as service, asyncio.timeout(PATIENCE):
        run_id = await service.start_run(RunRequest())
        store = service.store
        claim = Claim(ClaimId(uuid.uuid4()), run_id, ())
        claim.broken_off.uncounted.append(Uncounted([Effort(inserted=7)], 3, is_recording=False))
        async with world.connection.transaction():
            await world.connection.execute("SELECT FROM recon_runs FOR UPDATE")
            counting = asyncio.create_task(count_broken_off(store, claim))
            await until(world.connection, waits)
            world.proxy.freeze()
        # It is counted there, and this is not known here yet.
        await until(world.connection, "SELECT rows_inserted = 7 FROM recon_runs")
        counting.cancel()
        await asyncio.sleep(0.1)
        world.proxy.thaw()
        with pytest.raises(asyncio.CancelledError):
            await counting
        await count_broken_off(store, claim)
    assert await world.connection.fetchval("SELECT rows_inserted FROM recon_runs") == 7
