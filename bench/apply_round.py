"""One round of the benchmark of pages: the same rows staged, applied and inserted plainly."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.ids import AccountId, Login
from app.engine.repositories import Repositories
from app.store.apply.context import WriteContext
from app.store.apply.fingerprints import Fingerprints
from app.store.staging.sink import StageSink
from app.store.table_sql.statements import table_tokens
from app.upstream.paging.whole import fetch_whole
from app.upstream.response import Answer, decode
from bench.opened import SCHEMA
from bench.pages import Prepared

if TYPE_CHECKING:
    import asyncpg


CONNECTIONS = 2
LEASE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Shape:
    """How the pages of a case are asked for: `pages` of one read, which names so many accounts."""

    name: str
    endpoint: Endpoint
    pages: int
    accounts: int


@dataclass(frozen=True, slots=True)
class Bench:
    """A warehouse, the parts of the service that write into it, and a connection to look at it."""

    store: Repositories
    looker: "asyncpg.Connection[asyncpg.Record]"
    writer: WriteContext


@dataclass(slots=True)
class Round:
    """One round of a shape: its reads as they are staged, and how their slices looked before."""

    bench: Bench
    shape: Shape
    prepared: Sequence[Prepared]
    sinks: dict[int, StageSink] = field(default_factory=dict)
    looks: dict[int, Fingerprints] = field(default_factory=dict)

    async def stage(self) -> float:
        """Stage all reads; a bare insert of trades needs their account ids as much as ours does."""

        async def stage(read: Prepared) -> None:
            self.sinks[id(read)] = await staged(self.bench, read)

        seconds = await timed(self.prepared, stage)
        for read in self.prepared:
            await resolve(self.bench, self.sinks[id(read)], read)
        return seconds

    async def plain(self) -> float:
        """Insert all by a bare statement."""

        async def insert(read: Prepared) -> None:
            await _plain_insert(self.bench, self.sinks[id(read)])

        return await timed(self.prepared, insert)

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

        return await timed(self.prepared, apply)


async def play_round(
    bench: Bench,
    shape: Shape,
    prepared: Sequence[Prepared],
    wal: dict[str, list[float]],
    *,
    is_plain_first: bool,
) -> dict[str, float]:
    """Play one round of a shape; the seconds of each case."""
    seconds: dict[str, float] = {}
    await _empty(bench, shape)
    seconds["path"] = await timed(prepared, lambda read: whole_path(bench, read))
    await _empty(bench, shape)
    playing = Round(bench, shape, prepared)
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


async def timed(prepared: Sequence[Prepared], work: Callable[[Prepared], Awaitable[None]]) -> float:
    """Do `work` on each read, two at a time; the seconds that all of it took."""
    waiting = list(reversed(prepared))

    async def take() -> None:
        while waiting:
            await work(waiting.pop())

    begun = time.perf_counter()
    await asyncio.gather(*(take() for _ in range(CONNECTIONS)))
    return time.perf_counter() - begun


async def whole_path(bench: Bench, read: Prepared) -> None:
    """What app.engine.batch.requests does with one read."""
    before = await bench.store.applier.fingerprints(read.proven)
    sink = await staged(bench, read)
    await resolve(bench, sink, read)
    await bench.store.applier.apply(sink.staged, read.proven, before, bench.writer)
    await sink.forget()


async def staged(bench: Bench, read: Prepared) -> StageSink:
    """The read, proven and sealed in staging."""
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


async def resolve(bench: Bench, sink: StageSink, read: Prepared) -> None:
    """Find the owners of staged trades."""
    if read.request.endpoint.is_trades:
        await bench.store.applier.resolve_trades(
            sink.staged,
            {AccountId(each.account_id): (Login(each.login),) for each in read.accounts},
        )


async def _plain_insert(bench: Bench, sink: StageSink) -> None:
    tokens = table_tokens(bench.store.catalogue[sink.staged.endpoint])
    await bench.store.database.execute(
        f"INSERT INTO {tokens['raw']} ({tokens['columns']}) SELECT {tokens['s_columns']} FROM"
        f" {tokens['stage']} AS s WHERE s.fetch_id = $1",
        sink.staged.fetch_id,
    )


async def claim_accounts(bench: Bench, prepared: Sequence[Prepared]) -> None:
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


async def _empty(bench: Bench, shape: Shape) -> None:
    await bench.looker.execute(
        f"TRUNCATE {SCHEMA}.{TABLES[shape.endpoint].name}, {SCHEMA}.recon_removed_rows,"
        f" {SCHEMA}.recon_changes"
    )
    await bench.looker.execute("CHECKPOINT")


async def _wal(bench: Bench) -> float:
    # Whatever was committed before is in the figure already.
    return float(
        await bench.looker.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")
    )


async def _marks(bench: Bench, table: str) -> tuple[int, str]:
    """The number of rows, and place, version and locks of all of them."""
    row = await bench.looker.fetchrow(
        "SELECT count(*), md5(string_agg(concat_ws(' ', tableoid, ctid, xmin, xmax), ',' ORDER BY"
        f" tableoid, ctid)) FROM {SCHEMA}.{table}"
    )
    return (0, "") if row is None else (row[0], row[1])
