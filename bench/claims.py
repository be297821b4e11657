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
import importlib
import importlib.metadata
import os
import platform
import tempfile
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from app.embedded_postgres.server import EmbeddedPostgres, create_database
from app.telemetry import configure_logging
from bench.claimed import Warehouse
from bench.contender import Contender, NothingToCompareError
from bench.job_queue import Queue, load_library
from bench.table import Ratio, at_least, figure, render

_TARGET = 5.0
_ROUNDS = 5
_LARGE, _SMALL = 5000, 250
_WAYS = ((1, 10), (5, 10), (1, 100), (2, 100), (5, 100), (1, 1000), (2, 1000))
"""Consumers and batch sizes in which pgqueuer is tried: its own benchmark's, and larger batches,
which its guide advises for short jobs.
"""
_NOT_FOR_KEEPS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


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
    library = load_library()
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
