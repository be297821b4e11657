"""Claims as a contender: a warehouse of accounts that need nothing, claimed and recorded."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import asyncpg
from pydantic import SecretStr

from app.domain.accounts.progress import Effort
from app.domain.ids import RunId
from app.domain.issues.codes import IssueCode
from app.domain.runs.request import RunRequest
from app.domain.states import Outcome, RunKind
from app.domain.verdict.backoff import next_attempt
from app.engine.config import EngineConfig
from app.engine.preparation.maintenance import maintain
from app.engine.repositories import Repositories
from app.engine.service import ReconService
from app.store.claims.claim import FirstPass
from app.store.database.pool import Database
from app.store.results.account_result import AccountResult, Terms
from app.store.schema.migrations.migrate import migrate
from app.upstream.client import UpstreamClient
from app.upstream.config import UpstreamConfig
from bench.contender import Contender
from bench.stage import SCHEMA

_NO_UPSTREAM = UpstreamConfig("http://127.0.0.1:9", SecretStr("unused"))
"""Accounts that need nothing ask nothing; a request would fail the run."""
_DAY = "date '2026-03-04'"
_WORLD = f"""
INSERT INTO {SCHEMA}.raw_metrics_alltime (account_id, login, platform, broker, num_trades)
SELECT 'acc-' || lpad(n::text, 7, '0'), n, 1, 1, 2 FROM generate_series(1, {{accounts}}) AS n;
INSERT INTO {SCHEMA}.raw_metrics_daily (date, account_id, login, platform, broker, num_trades)
SELECT {_DAY}, account_id, login, 1, 1, 2 FROM {SCHEMA}.raw_metrics_alltime;
INSERT INTO {SCHEMA}.raw_metrics_hourly (date, hour, account_id, login, platform, broker, num_trades)
SELECT {_DAY}, 9, account_id, login, 1, 1, 2 FROM {SCHEMA}.raw_metrics_alltime;
INSERT INTO {SCHEMA}.raw_trades_closed (trade_date, broker, platform, ticket, position, login, account_id)
SELECT {_DAY}, 1, 1, ticket, ticket, login, account_id FROM {SCHEMA}.raw_metrics_alltime, generate_series(1, 2) AS ticket;
"""
"""Accounts with two trades each, on one day, on which all tables agree."""


@dataclass(frozen=True, slots=True)
class Warehouse:
    """Our side: a warehouse of accounts that need nothing; `runs` holds the run that is played."""

    connection: "asyncpg.Connection[asyncpg.Record]"
    store: Repositories
    client: UpstreamClient
    runs: list[RunId] = field(default_factory=list)

    @classmethod
    @contextlib.asynccontextmanager
    async def filled(cls, dsn: str, accounts: int) -> AsyncIterator["Warehouse"]:
        """A migrated warehouse with so many accounts."""
        await migrate(dsn, SCHEMA)
        async with (
            Database.open(dsn, SCHEMA) as database,
            UpstreamClient.open(_NO_UPSTREAM) as client,
        ):
            connection = await asyncpg.connect(dsn)
            try:
                for table in ("raw_metrics_daily", "raw_metrics_hourly", "raw_trades_closed"):
                    await connection.execute(
                        f"SELECT {SCHEMA}.recon_create_partitions('{table}', ARRAY[{_DAY}])"
                    )
                await connection.execute(_WORLD.format(accounts=accounts))
                await connection.execute("VACUUM ANALYZE")
                store = await Repositories.build(database, EngineConfig().lease_seconds)
                await maintain(store, dt.date(2026, 1, 1))
                yield cls(connection, store, client)
            finally:
                await connection.close()

    def contender(self, name: str, work: Callable[[], Awaitable[None]]) -> Contender:
        """One way to work on a run of all accounts."""
        return Contender(name, self._queue, work, self._done)

    async def claims(self, batch: int) -> None:
        """Claim and record until nothing is left, as many at once as a process has workers."""
        await self.store.claims.beat()
        await asyncio.gather(
            *(self._claim_and_record(batch) for _ in range(EngineConfig().workers))
        )

    async def pool(self, batch: int) -> None:
        """Let a worker pool do it all."""
        service = ReconService(
            self.store, self.client, EngineConfig(batch_size=batch), lambda: dt.datetime.now(dt.UTC)
        )
        await service.pool.run_until_finished(self.runs[-1])

    async def _queue(self) -> None:
        await self.connection.execute(f"TRUNCATE {SCHEMA}.recon_attempts, {SCHEMA}.recon_runs")
        run_id = await self.store.runs.create(RunRequest(RunKind.RETRY))
        await self.connection.execute(
            f"INSERT INTO {SCHEMA}.recon_attempts (run_id, account_id, position) SELECT $1,"
            f" account_id, row_number() OVER (ORDER BY account_id) FROM {SCHEMA}.trade_recon",
            run_id,
        )
        await self.connection.execute(
            f"UPDATE {SCHEMA}.recon_runs SET status = 'running', started_at = now(), prepared_at ="
            f" now(), total = (SELECT count(*) FROM {SCHEMA}.recon_attempts) WHERE run_id = $1",
            run_id,
        )
        await self.connection.execute("VACUUM ANALYZE")
        self.runs.append(run_id)

    async def _done(self) -> int:
        return int(
            await self.connection.fetchval(
                f"SELECT unchanged FROM {SCHEMA}.recon_runs WHERE run_id = $1", self.runs[-1]
            )
        )

    async def _claim_and_record(self, batch: int) -> None:
        config, nothing, never = EngineConfig(), Effort(), FirstPass()
        terms = Terms(
            config.max_attempts,
            lambda failures: next_attempt(failures, dt.datetime.now(dt.UTC), jitter=0),
            config.postpone_seconds,
            config.postpone_named_seconds,
            config.lease_seconds,
        )
        while (claim := await self.store.claims.claim(self.runs[-1], batch)) is not None:
            results = [
                AccountResult(
                    account_id,
                    Outcome.UNCHANGED,
                    (),
                    (),
                    nothing,
                    failing=False,
                    signature="",
                    detail=None,
                    before=never,
                )
                for account_id in claim.account_ids
            ]
            await self.store.results.record(
                claim, results, seconds=0, requests=0, terms=terms, judged=sorted(IssueCode)
            )
