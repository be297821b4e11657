"""How many accounts a second go from claim to record when there is nothing to heal, beside
pgqueuer's jobs: `python -m bench.claims`.

Needs pgqueuer, which the product does not: `uv pip install 'pgqueuer>=1.6,<2'` (the dependency
group `bench`).

What is compared, on one embedded server, from one Python process each time, one after the other in
several rounds:

- pgqueuer: `PgQueuer.run` with its asyncpg driver drains a queue of jobs that do nothing. A job is
  dequeued, run, deleted and
  logged as successful. Set up as its guide to performance says: `pgq autovac` applied, short jobs
  in larger batches, one connection
  for each consumer, no concurrency limits. Durability is its default `durable`: logged tables, as
  ours are. Several numbers of
  consumers and batch sizes are tried first, and the fastest one is its entry.
- claims: `Claims.claim`, then `Runs.record` of `unchanged` results, until the run has no account
  left, by two workers. An account is
  claimed, its attempt, its state and its run's counters are written, and it is released. Batches of
  5,000, the default, and of 250.
- worker pool: `WorkerPool.run_until_finished` on a run whose accounts agree in all tables: claim,
  detect in the raw tables, plan
  nothing, record; batches of 5,000. Here an account also costs its detection, which has no
  counterpart in a queue.

Work is queued, tables are vacuumed and a checkpoint is made before the clock starts; it stops when
the last job is logged or the last account recorded, and both are counted afterwards. The server
does not wait for the disk unless `--durable` says so; that favours who commits more often, which is
pgqueuer. The ratio is that of the medians; the target is for claims in batches of 5,000.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import importlib
import importlib.metadata
import os
import platform
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import asyncpg
from pydantic import SecretStr

from app.domain.accounts.progress import Effort
from app.domain.ids import RunId
from app.domain.issues.codes import IssueCode
from app.domain.runs.request import RunRequest
from app.domain.states import Outcome, RunKind
from app.domain.verdict.backoff import next_attempt
from app.embedded_postgres.server import EmbeddedPostgres, create_database
from app.engine.config import EngineConfig
from app.engine.preparation.maintenance import maintain
from app.engine.repositories import Repositories
from app.engine.service import ReconService
from app.store.claims.claim import FirstPass
from app.store.database.pool import Database
from app.store.results.account_result import AccountResult, Terms
from app.store.schema.migrate import migrate
from app.telemetry import configure_logging
from app.upstream.client import UpstreamClient
from app.upstream.config import UpstreamConfig
from bench.stage import SCHEMA
from bench.table import Ratio, at_least, figure, render

_TARGET = 5.0
_ROUNDS = 5
_LARGE, _SMALL = 5000, 250
_JOB = "nothing"
_ENQUEUED_AT_ONCE = 5000
_WAYS = ((1, 10), (5, 10), (1, 100), (2, 100), (5, 100), (1, 1000), (2, 1000))
"""Consumers and batch sizes in which pgqueuer is tried: its own benchmark's, and larger batches,
which its guide advises for short jobs.
"""
_NOT_FOR_KEEPS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
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
class Contender:
    """`queue` makes the work ready, unmeasured; `work` does it; `done` counts what is on record as
    done; `rates` are one a round.
    """

    name: str
    queue: Callable[[], Awaitable[None]]
    work: Callable[[], Awaitable[None]]
    done: Callable[[], Awaitable[int]]
    rates: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Pieces of work a second."""
        return statistics.median(self.rates)

    async def play(self, server: "asyncpg.Connection[asyncpg.Record]", pieces: int) -> None:
        """One round. Raises RuntimeError unless every piece was done."""
        await self.queue()
        await server.execute("CHECKPOINT")
        begun = time.perf_counter()
        await self.work()
        seconds = time.perf_counter() - begun
        done = await self.done()
        if done != pieces:
            raise RuntimeError(
                f"{self.name}: {done} of {pieces} were done; the round says nothing."
            )
        self.rates.append(pieces / seconds)


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


@dataclass(frozen=True, slots=True)
class Queue:
    """Their side: pgqueuer's tables in a database of their own, and as many jobs in each round as
    we have accounts.
    """

    dsn: str
    connection: "asyncpg.Connection[asyncpg.Record]"
    library: ModuleType
    jobs: int

    @classmethod
    @contextlib.asynccontextmanager
    async def installed(cls, dsn: str, library: ModuleType, jobs: int) -> AsyncIterator["Queue"]:
        """The library's tables, with the settings for autovacuum that it recommends."""
        connection = await asyncpg.connect(dsn)
        try:
            queue = cls(dsn, connection, library, jobs)
            await queue._queries.install()
            await queue._queries.optimize_autovacuum()
            yield queue
        finally:
            await connection.close()

    @property
    def _queries(self) -> Any:  # noqa: ANN401 - a class of a library that may be absent
        return self.library.Queries.from_asyncpg_connection(self.connection)

    def contender(self, consumers: int, batch: int) -> Contender:
        """One way to drain the queue."""
        return Contender(
            f"pgqueuer, {consumers} x {batch}",
            self._queue,
            lambda: self._drain(consumers, batch),
            self._done,
        )

    async def _queue(self) -> None:
        await self.connection.execute("TRUNCATE pgqueuer, pgqueuer_log, pgqueuer_statistics")
        for begin in range(0, self.jobs, _ENQUEUED_AT_ONCE):
            count = min(_ENQUEUED_AT_ONCE, self.jobs - begin)
            await self._queries.enqueue([_JOB] * count, [None] * count, [0] * count)
        await self.connection.execute("VACUUM ANALYZE")

    async def _done(self) -> int:
        return int(
            await self.connection.fetchval(
                "SELECT count(DISTINCT job_id) FROM pgqueuer_log WHERE status = 'successful' AND"
                " NOT EXISTS (SELECT FROM pgqueuer)"
            )
        )

    async def _drain(self, consumers: int, batch: int) -> None:
        async with contextlib.AsyncExitStack() as connections:
            runs = []
            for _ in range(consumers):
                connection = await asyncpg.connect(self.dsn)
                connections.push_async_callback(connection.close)
                queuer = self.library.PgQueuer.from_asyncpg_connection(connection)
                queuer.entrypoint(_JOB)(_do_nothing)
                runs.append(
                    queuer.run(batch_size=batch, mode=self.library.types.QueueExecutionMode.drain)
                )
            await asyncio.gather(*runs)


async def _do_nothing(_job: object) -> None:
    """The job."""


class NothingToCompareError(Exception):
    """pgqueuer is not installed."""


def _library() -> ModuleType:
    """pgqueuer, imported by name so that types hold with and without it.

    Raises NothingToCompareError if it is not there.
    """
    try:
        library = importlib.import_module("pgqueuer")
        importlib.import_module("pgqueuer.types")
    except ModuleNotFoundError as error:
        if error.name != "pgqueuer":
            raise
        raise NothingToCompareError(
            "pgqueuer is not installed, so there is nothing to compare claims with. trade-recon"
            " itself does not need it. Install it into this environment with uv pip install"
            " 'pgqueuer>=1.6,<2' (the dependency group bench of pyproject.toml), and start again."
        ) from None
    return library


async def _facts(server: "asyncpg.Connection[asyncpg.Record]") -> Mapping[str, object]:
    settings = {
        name: await server.fetchval(f"SHOW {name}")
        for name in ("server_version", *_NOT_FOR_KEEPS, "shared_buffers")
    }
    return {
        "cores": (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        ),
        "Python": platform.python_version(),
        "PostgreSQL": settings.pop("server_version"),
        **{name: importlib.metadata.version(name) for name in ("asyncpg", "pgqueuer")},
        **settings,
    }


async def measure(accounts: int, rounds: int = _ROUNDS, *, durable: bool = False) -> list[Ratio]:
    """Play all rounds and print what came of them; the lines of the table.

    Raises NothingToCompareError if pgqueuer is not there.
    """
    library = _library()
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="trade-recon-bench-"))
        server = await EmbeddedPostgres.start(Path(folder), {} if durable else _NOT_FOR_KEEPS)
        stack.push_async_callback(server.stop)
        for name in ("bench_queue", "bench_warehouse"):
            await create_database(server.dsn(), name)
        connection = await asyncpg.connect(server.dsn())
        stack.push_async_callback(connection.close)
        print(", ".join(f"{name} {value}" for name, value in (await _facts(connection)).items()))
        queue = await stack.enter_async_context(
            Queue.installed(server.dsn("bench_queue"), library, accounts)
        )
        warehouse = await stack.enter_async_context(
            Warehouse.filled(server.dsn("bench_warehouse"), accounts)
        )
        theirs = await _fastest(connection, queue)
        ours = warehouse.contender("claims, batches of 5000", lambda: warehouse.claims(_LARGE))
        contenders = (
            theirs,
            ours,
            warehouse.contender("claims, batches of 250", lambda: warehouse.claims(_SMALL)),
            warehouse.contender("worker pool, batches of 5000", lambda: warehouse.pool(_LARGE)),
        )
        print(f"\n{accounts} accounts or jobs a round; in a second:")
        for number in range(1, rounds + 1):
            for contender in contenders:
                await contender.play(connection, accounts)
            print(
                f"round {number}: "
                + "   ".join(f"{each.name}: {each.rates[-1]:,.0f}" for each in contenders),
                flush=True,
            )
        print()
        for each in contenders:
            print(
                f"{each.name:30} median {each.median:9,.0f}   {each.median / theirs.median:5.2f}"
                " times pgqueuer"
            )
        return [
            figure("pgqueuer, its fastest way", theirs.median, "jobs/s"),
            at_least(f"{ours.name} / pgqueuer", ours.median / theirs.median, _TARGET),
            *(
                figure(f"{each.name} / pgqueuer", each.median / theirs.median, "x")
                for each in contenders
                if each not in (theirs, ours)
            ),
        ]


async def _fastest(connection: "asyncpg.Connection[asyncpg.Record]", queue: Queue) -> Contender:
    """Try pgqueuer in several ways; the fastest one, with no round played yet."""
    tried = {}
    print(f"\npgqueuer's ways, consumers x batch size, {queue.jobs} jobs, in a second:")
    for consumers, batch in _WAYS:
        each = queue.contender(consumers, batch)
        await each.play(connection, queue.jobs)
        tried[consumers, batch] = each.median
        print(f"{each.name:22} {each.median:9,.0f}", flush=True)
    return queue.contender(*max(tried, key=lambda way: tried[way]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--accounts", type=int, default=50_000, help="accounts, and jobs, in a round (50000)"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=_ROUNDS,
        help=f"rounds of all, of which medians are taken ({_ROUNDS})",
    )
    parser.add_argument(
        "--durable",
        action="store_true",
        help="each commit waits for the disk, as on a server that matters",
    )
    chosen = parser.parse_args()
    configure_logging(level="WARNING")
    try:
        measured = asyncio.run(measure(chosen.accounts, chosen.rounds, durable=chosen.durable))
    except NothingToCompareError as error:
        raise SystemExit(str(error)) from None
    print(render({f"{chosen.accounts:,} accounts": measured}))
    raise SystemExit(not all(each.is_met in (True, None) for each in measured))
