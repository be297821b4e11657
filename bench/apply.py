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
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.holds.limits import HoldLimits
from app.domain.holds.run_guard import RunGuard
from app.domain.ids import ClaimId, RunId
from app.engine.repositories import Repositories
from app.store.apply.context import WriteContext
from app.telemetry import configure_logging
from bench.apply_round import (
    CONNECTIONS,
    LEASE_SECONDS,
    Bench,
    Round,
    Shape,
    _empty,
    claim_accounts,
    play_round,
)
from bench.opened import SCHEMA, opened
from bench.pages import accounts_named, prepare, templates, thinned
from bench.table import Ratio, at_least, at_most, figure, show, spread

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
SHAPES = (
    Shape("hourly, 10 pages a read, 7 accounts", Endpoint.HOURLY, 10, 7),
    Shape("hourly, 1 page a read, 50 accounts", Endpoint.HOURLY, 1, 50),
    Shape("closed trades, 10 pages a read, 20 accounts", Endpoint.CLOSED, 10, 20),
)


async def measure(pages: int, rounds: int, only: str = "") -> list[Ratio]:
    """Play every shape with about so many pages a round; the figures, medians over the rounds."""
    found: list[Ratio] = []
    async with _opened() as bench:
        for name in _SHOWN:
            print(f"{name} = {await bench.looker.fetchval(f'SHOW {name}')}", end="; ")
        print(f"{CONNECTIONS} connections, {rounds} rounds of about {pages} pages", flush=True)
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
        await claim_accounts(bench, [whole])
        for count in counts:
            read = thinned(whole, count, random.Random(count))
            spent: dict[str, list[float]] = defaultdict(list)
            for number in range(rounds + 1):
                await _empty(bench, shape)
                playing = Round(bench, shape, [read])
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


async def _play(bench: Bench, shape: Shape, pages: int, rounds: int) -> list[Ratio]:
    rows = templates(shape.endpoint)
    reads = max(CONNECTIONS, round(pages / shape.pages))
    reads -= reads % CONNECTIONS
    each = [
        accounts_named(f"{shape.endpoint.name[0]}{shape.pages}r{number}", shape.accounts)
        for number in range(reads)
    ]
    prepared = [prepare(shape.endpoint, rows, accounts, shape.pages) for accounts in each]
    await claim_accounts(bench, prepared)
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
        took = await play_round(bench, shape, prepared, wal, is_plain_first=bool(number % 2))
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
async def _opened() -> AsyncIterator[Bench]:
    async with opened(CONNECTIONS) as (looker, database):
        store = await Repositories.build(database, LEASE_SECONDS)
        await store.claims.beat()
        yield Bench(
            store,
            looker,
            WriteContext(RunId(uuid.uuid4()), ClaimId(uuid.uuid4()), 120.0, LEASE_SECONDS, _GUARD),
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
