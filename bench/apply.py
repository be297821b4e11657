"""How fast pages of the API get into the warehouse: `python -m bench.apply`.

An embedded PostgreSQL with its normal durability, answers of 1,000 rows made before the clock
starts, two tasks with a connection each. In each round, on the same rows, one after the other:

- path: from the bytes of the answers to the committed rows, with everything that a heal does in
  between (decoding, staging, proof,
  sealing, checks, write, forgetting);
- stage: the same up to the proven and sealed fetch;
- apply: a sealed fetch into the indexed, partitioned raw table, when all rows are new, when 1 %
  differ, when all are equal;
- plain: `INSERT ... SELECT` of the same columns of the same staged rows into the same table,
  nothing else.

After the equal rows were applied, place, version and locks of every row are compared with those
before.

`--sets 1 10 300 2850` measures something else: the same rows of one read, of which each leaves out
fields at random, drawn from so many different sets of fields. What a row costs must not follow
their number.
"""

import argparse
import asyncio
import contextlib
import random
import statistics
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.holds.limits import HoldLimits
from app.domain.holds.run_guard import RunGuard
from app.domain.ids import ClaimId, RunId
from app.engine.repositories import Repositories
from app.store.apply.context import WriteContext
from app.store.apply.fingerprints import Fingerprints
from app.store.staging.sink import StageSink
from app.store.table_sql.statements import table_tokens
from app.telemetry import configure_logging
from app.upstream.paging.whole import fetch_whole
from app.upstream.response import Answer, decode
from bench.opened import SCHEMA, opened
from bench.pages import Prepared, accounts_named, prepare, templates, thinned
from bench.table import Ratio, at_least, at_most, figure, show, spread

if TYPE_CHECKING:
    import asyncpg

_CONNECTIONS = 2
_LEASE_SECONDS = 3600.0
_PATH_TARGET = 15.0
_DIFFERENCE_TARGET = 1.25
_EQUAL_WAL_TARGET = 0.1
"""WAL of equal rows beside that of new ones: nothing is written about a row; what is left are the
claims' locks, whose pages are written whole after a checkpoint, and weighs less the more pages
there are.
"""
_SET_PAGES = 3
_SHOWN = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_level",
    "shared_buffers",
    "max_wal_size",
)


@dataclass(frozen=True, slots=True)
class Shape:
    """How the pages of a case are asked for: `pages` of one read, which names so many accounts."""

    name: str
    endpoint: Endpoint
    pages: int
    accounts: int


SHAPES = (
    Shape("hourly, 10 pages a read, 7 accounts", Endpoint.HOURLY, 10, 7),
    Shape("hourly, 1 page a read, 50 accounts", Endpoint.HOURLY, 1, 50),
    Shape("closed trades, 10 pages a read, 20 accounts", Endpoint.CLOSED, 10, 20),
)


@dataclass(frozen=True, slots=True)
class _Bench:
    """A warehouse, the parts of the service that write into it, and a connection to look at it."""

    store: Repositories
    looker: "asyncpg.Connection[asyncpg.Record]"
    writer: WriteContext


async def measure(pages: int, rounds: int, only: str = "") -> list[Ratio]:
    """Play every shape with about so many pages a round; the figures, medians over the rounds."""
    found: list[Ratio] = []
    async with _opened() as bench:
        for name in _SHOWN:
            print(f"{name} = {await bench.looker.fetchval(f'SHOW {name}')}", end="; ")
        print(f"{_CONNECTIONS} connections, {rounds} rounds of about {pages} pages", flush=True)
        for shape in SHAPES:
            if only in shape.name:
                found += await _play(bench, shape, pages, rounds)
    return found


async def measure_sets(counts: Sequence[int], rounds: int) -> list[Ratio]:
    """Stage and apply a read whose rows have one of so many sets of fields; the milliseconds of a
    row, medians over the rounds.
    """
    shape, found = SHAPES[0], []
    async with _opened() as bench:
        rows = templates(shape.endpoint)
        whole = prepare(shape.endpoint, rows, accounts_named("sets", shape.accounts), _SET_PAGES)
        await _claim(bench, [whole])
        for count in counts:
            read = thinned(whole, count, random.Random(count))
            spent: dict[str, list[float]] = defaultdict(list)
            for number in range(rounds + 1):
                await _empty(bench, shape)
                playing = _Round(bench, shape, [read])
                took = {"stage": await playing.stage(), "new": await playing.apply()}
                await bench.looker.execute(
                    f"UPDATE {SCHEMA}.{TABLES[shape.endpoint].name} SET net_profit ="
                    " coalesce(net_profit, 0) + 1"
                )
                took |= {"differ": await playing.apply(), "equal": await playing.apply()}
                for sink in playing.sinks.values():
                    await sink.forget()
                for name, seconds in took.items() if number else ():  # the first one warms up
                    spent[name].append(1000 * seconds / read.rows)
            for name, each in spent.items():
                found.append(
                    figure(f"{count} sets of fields: {name}", statistics.median(each), "ms/row")
                )
                print(show(found[-1]), flush=True)
    return found


async def _play(bench: _Bench, shape: Shape, pages: int, rounds: int) -> list[Ratio]:
    rows = templates(shape.endpoint)
    reads = max(_CONNECTIONS, round(pages / shape.pages))
    reads -= reads % _CONNECTIONS
    each = [
        accounts_named(f"{shape.endpoint.name[0]}{shape.pages}r{number}", shape.accounts)
        for number in range(reads)
    ]
    prepared = [prepare(shape.endpoint, rows, accounts, shape.pages) for accounts in each]
    await _claim(bench, prepared)
    count = sum(read.rows for read in prepared)
    total_pages = sum(len(read.bodies) for read in prepared)
    bodies = sum(len(body) for read in prepared for body in read.bodies.values())
    print(
        f"\n{shape.name}: {reads} reads, {total_pages} pages of {bodies / total_pages / 1e6:.2f}"
        f" MB, {count:,} rows",
        flush=True,
    )
    seconds: dict[str, list[float]] = defaultdict(list)
    wal: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds + 1):
        took = await _round(bench, shape, prepared, wal, is_plain_first=bool(number % 2))
        if number:  # the first one warms up: partitions, caches, plans
            for name, spent in took.items():
                seconds[name].append(spent)
            print(
                "  " + "  ".join(f"{name} {spent:.2f} s" for name, spent in took.items()),
                flush=True,
            )
    return _figures(shape, total_pages, count, seconds, wal)


def _figures(
    shape: Shape,
    pages: int,
    rows: int,
    seconds: dict[str, list[float]],
    wal: dict[str, list[float]],
) -> list[Ratio]:
    def ratios(one: str) -> list[float]:
        return [mine / plain for mine, plain in zip(seconds[one], seconds["plain"], strict=True)]

    for name in ("new", "differ", "equal"):
        print(f"  {name} beside plain, least / median / most: {spread(ratios(name))}")
    median = {name: statistics.median(spent) for name, spent in seconds.items()}
    return [
        at_least(f"{shape.name}: whole path", pages / median["path"], _PATH_TARGET, "pages/s"),
        figure(f"{shape.name}: whole path", rows / median["path"], "rows/s"),
        figure(f"{shape.name}: into staging, proven and sealed", rows / median["stage"], "rows/s"),
        figure(f"{shape.name}: plain insert", rows / median["plain"], "rows/s"),
        at_most(
            f"{shape.name}: apply, all new",
            statistics.median(ratios("new")),
            _DIFFERENCE_TARGET,
            "x plain",
        ),
        at_most(
            f"{shape.name}: apply, 1 % differ",
            statistics.median(ratios("differ")),
            _DIFFERENCE_TARGET,
            "x plain",
        ),
        at_most(
            f"{shape.name}: apply, all equal",
            statistics.median(ratios("equal")),
            _DIFFERENCE_TARGET,
            "x plain",
        ),
        at_most(
            f"{shape.name}: WAL of equal rows",
            statistics.median(wal["equal"]) / statistics.median(wal["new"]),
            _EQUAL_WAL_TARGET,
            "x new",
        ),
        figure(f"{shape.name}: WAL of a new row", statistics.median(wal["new"]) / rows, "bytes"),
    ]


@dataclass(slots=True)
class _Round:
    """One round of a shape: its reads as they are staged, and how their slices looked before."""

    bench: _Bench
    shape: Shape
    prepared: Sequence[Prepared]
    sinks: dict[int, StageSink] = field(default_factory=dict)
    looks: dict[int, Fingerprints] = field(default_factory=dict)

    async def stage(self) -> float:
        """Stage all reads; a bare insert of trades needs their account ids as much as ours does."""

        async def stage(read: Prepared) -> None:
            self.sinks[id(read)] = await _staged(self.bench, read)

        seconds = await _timed(self.prepared, stage)
        for read in self.prepared:
            await _resolve(self.bench, self.sinks[id(read)], read)
        return seconds

    async def plain(self) -> float:
        """Insert all by a bare statement."""

        async def insert(read: Prepared) -> None:
            await _plain_insert(self.bench, self.sinks[id(read)])

        return await _timed(self.prepared, insert)

    async def apply(self) -> float:
        """Apply all. The look before a fetch is not part of it."""
        self.looks = {
            id(read): await self.bench.store.applier.fingerprints(read.proven)
            for read in self.prepared
        }

        async def apply(read: Prepared) -> None:
            await self.bench.store.applier.apply(
                self.sinks[id(read)].staged, read.proven, self.looks[id(read)], self.bench.writer
            )

        return await _timed(self.prepared, apply)


async def _round(
    bench: _Bench,
    shape: Shape,
    prepared: Sequence[Prepared],
    wal: dict[str, list[float]],
    *,
    is_plain_first: bool,
) -> dict[str, float]:
    seconds: dict[str, float] = {}
    await _empty(bench, shape)
    seconds["path"] = await _timed(prepared, lambda read: _whole_path(bench, read))
    await _empty(bench, shape)
    playing = _Round(bench, shape, prepared)
    seconds["stage"] = await playing.stage()
    if is_plain_first:
        seconds["plain"] = await playing.plain()
        await _empty(bench, shape)
    before = await _wal(bench)
    seconds["new"] = await playing.apply()
    wal["new"].append(await _wal(bench) - before)
    table = TABLES[shape.endpoint].name
    column = "profit" if shape.endpoint.is_trades else "net_profit"
    await bench.looker.execute(
        f"UPDATE {SCHEMA}.{table} SET {column} = coalesce({column}, 0) + 1 WHERE random() < 0.01"
    )
    await bench.looker.execute("CHECKPOINT")
    seconds["differ"] = await playing.apply()
    await bench.looker.execute(f"VACUUM ANALYZE {SCHEMA}.{table}")
    await bench.looker.execute("CHECKPOINT")
    marks = await _marks(bench, table)
    before = await _wal(bench)
    seconds["equal"] = await playing.apply()
    wal["equal"].append(await _wal(bench) - before)
    if marks != await _marks(bench, table) or marks[0] != sum(read.rows for read in prepared):
        raise SystemExit(f"{shape.name}: equal rows were touched, or are not all there")
    if not is_plain_first:
        await _empty(bench, shape)
        seconds["plain"] = await playing.plain()
    for sink in playing.sinks.values():
        await sink.forget()
    return seconds


async def _timed(
    prepared: Sequence[Prepared], work: Callable[[Prepared], Awaitable[None]]
) -> float:
    """Do `work` on each read, two at a time; the seconds that all of it took."""
    waiting = list(reversed(prepared))

    async def take() -> None:
        while waiting:
            await work(waiting.pop())

    begun = time.perf_counter()
    await asyncio.gather(*(take() for _ in range(_CONNECTIONS)))
    return time.perf_counter() - begun


async def _whole_path(bench: _Bench, read: Prepared) -> None:
    """What app.engine.batch.requests does with one read."""
    before = await bench.store.applier.fingerprints(read.proven)
    sink = await _staged(bench, read)
    await _resolve(bench, sink, read)
    await bench.store.applier.apply(sink.staged, read.proven, before, bench.writer)
    await sink.forget()


async def _staged(bench: _Bench, read: Prepared) -> StageSink:
    sink = await bench.store.staging.begin(
        read.request.endpoint, read.request.logins or read.request.account_ids
    )

    async def page(skip: int) -> Answer:
        return decode(read.bodies[skip], str)

    rows, _ = await fetch_whole(page, sink, "the read")
    if rows != read.rows:
        raise SystemExit(f"{rows} rows were read instead of {read.rows}")
    await sink.seal()
    return sink


async def _resolve(bench: _Bench, sink: StageSink, read: Prepared) -> None:
    if read.request.endpoint.is_trades:
        await bench.store.applier.resolve_trades(
            sink.staged, {account.account_id: (account.login,) for account in read.accounts}
        )


async def _plain_insert(bench: _Bench, sink: StageSink) -> None:
    tokens = table_tokens(bench.store.catalogue[sink.staged.endpoint])
    await bench.store.database.execute(
        f"INSERT INTO {tokens['raw']} ({tokens['columns']}) SELECT {tokens['s_columns']} FROM"
        f" {tokens['stage']} AS s WHERE s.fetch_id = $1",
        sink.staged.fetch_id,
    )


async def _claim(bench: _Bench, prepared: Sequence[Prepared]) -> None:
    """Make the accounts known, and ours."""
    accounts = {account.account_id: account for read in prepared for account in read.accounts}
    await bench.looker.executemany(
        f"INSERT INTO {SCHEMA}.trade_recon (account_id, claim_id, claimed_by, claimed_at) VALUES"
        " ($1, $2, $2, now())",
        [(account_id, bench.writer.claim_id) for account_id in accounts],
    )
    await bench.looker.executemany(
        f"INSERT INTO {SCHEMA}.recon_identity (login, platform, broker, account_id, today, counts,"
        " valid_from, valid_to, open_from) VALUES ($1, $2, $3, $4, true, true, '2000-01-01',"
        " '2100-01-01', '2100-01-01')",
        [
            (each.login, str(each.platform), str(each.broker), each.account_id)
            for each in accounts.values()
        ],
    )


async def _empty(bench: _Bench, shape: Shape) -> None:
    await bench.looker.execute(
        f"TRUNCATE {SCHEMA}.{TABLES[shape.endpoint].name}, {SCHEMA}.recon_removed_rows,"
        f" {SCHEMA}.recon_changes"
    )
    await bench.looker.execute("CHECKPOINT")


async def _wal(bench: _Bench) -> float:
    # Whatever was committed before is in the figure already.
    return float(
        await bench.looker.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")
    )


async def _marks(bench: _Bench, table: str) -> tuple[int, str]:
    """The number of rows, and place, version and locks of all of them."""
    row = await bench.looker.fetchrow(
        "SELECT count(*), md5(string_agg(concat_ws(' ', tableoid, ctid, xmin, xmax), ',' ORDER BY"
        f" tableoid, ctid)) FROM {SCHEMA}.{table}"
    )
    return (0, "") if row is None else (row[0], row[1])


_GUARD = RunGuard(
    HoldLimits(
        row_share=1.0,
        rows=10**9,
        account_share=1.0,
        accounts=10**9,
        run_rows=10**9,
        run_row_share=1.0,
    )
)
"""It counts as in a run, and stops nothing."""


@contextlib.asynccontextmanager
async def _opened() -> AsyncIterator[_Bench]:
    async with opened(_CONNECTIONS) as (looker, database):
        store = await Repositories.build(database, _LEASE_SECONDS)
        await store.claims.beat()
        yield _Bench(
            store,
            looker,
            WriteContext(RunId(uuid.uuid4()), ClaimId(uuid.uuid4()), 120.0, _LEASE_SECONDS, _GUARD),
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pages", type=int, default=60, help="pages of a round (60)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds that count (3); one more comes before them"
    )
    parser.add_argument("--only", default="", help="cases whose names hold this text (all)")
    parser.add_argument(
        "--sets",
        type=int,
        nargs="+",
        default=[],
        help="measure rows of so many sets of fields instead",
    )
    chosen = parser.parse_args()
    configure_logging(level="WARNING")
    if chosen.sets:
        asyncio.run(measure_sets(chosen.sets, chosen.rounds))
        raise SystemExit
    measured = asyncio.run(measure(chosen.pages, chosen.rounds, chosen.only))
    print()
    for line in measured:
        print(show(line))
    raise SystemExit(any(line.is_met is False for line in measured))
