"""An ingestion job that goes on writing while trade-recon works, with the statements of the first
system; it notes what it wrote last.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import asyncpg

from app.domain.contract.tables import Endpoint
from app.sandbox.witness.raw_sql import name_list, quoted, recordset
from app.sandbox.witness.raw_tables import RawTable, read_table
from app.sandbox.world.trades import Trade, Value
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.support.warehouses.ddl import METRICS

Connection = asyncpg.Connection
Row = dict[str, Value]

LOCK_SECONDS = 10
"""A statement of an ingestion that waits so long for a lock was blocked for longer than any short
transaction lasts.
"""
_UPSERT_KEYS = {
    Endpoint.ALLTIME: ("account_id",),
    Endpoint.DAILY: ("account_id", "date"),
    Endpoint.HOURLY: ("account_id", "date", "hour"),
    Endpoint.CLOSED: ("platform", "position", "trade_date"),
}
_DAYS = (Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)


@dataclass
class Writer:
    """Writes upstream's truth about `account_ids`, which no other writer writes; `last` is what it
    wrote last, by table and key.
    """

    database: Database
    world: World
    account_ids: Sequence[str]
    chance: random.Random
    tables: Mapping[Endpoint, RawTable] = field(default_factory=dict)
    last: dict[Endpoint, dict[tuple[str, ...], Row]] = field(
        default_factory=lambda: {endpoint: {} for endpoint in _UPSERT_KEYS}
    )
    jobs: int = 0

    @asynccontextmanager
    async def connected(self) -> AsyncIterator["Connection[asyncpg.Record]"]:
        """A connection that waits for no lock for long."""
        async with self.database.connect() as connection:
            await connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
            self.tables = {
                endpoint: await read_table(connection, self.database.schema, endpoint)
                for endpoint in _UPSERT_KEYS
            }
            yield connection

    async def write(self, done: asyncio.Event) -> None:
        """One job after another until `done`, each of the next kind."""
        async with self.connected() as connection:
            kinds = (
                self.load,
                self.gain,
                self.replace_day,
                self.gain,
                self.touch_slowly,
                self.add_stranger,
            )
            while not done.is_set():
                await kinds[self.jobs % len(kinds)](
                    connection, self.chance.choice(self.account_ids)
                )
                self.jobs += 1

    async def load(self, connection: "Connection[asyncpg.Record]", account_id: str) -> None:
        """Bring in an account as upstream has it, its trades without an account id first."""
        for endpoint in METRICS:
            await self.upsert(connection, endpoint, self.rows(endpoint, account_id))
        trades = self.rows(Endpoint.CLOSED, account_id)
        await self.upsert(
            connection, Endpoint.CLOSED, [{**row, "account_id": None} for row in trades]
        )
        await asyncio.sleep(self.chance.uniform(0, 0.3))
        # By the whole key: accounts that share a login may share position numbers too.
        await connection.execute(
            "UPDATE raw_trades_closed AS t SET account_id = $1 FROM json_to_recordset($2::json) AS"
            " s (platform integer, position text, trade_date date) WHERE t.account_id IS NULL AND"
            " (t.platform, t.position, t.trade_date) = (s.platform, s.position, s.trade_date)",
            account_id,
            recordset(trades),
        )
        self._note(Endpoint.CLOSED, trades)

    async def gain(self, connection: "Connection[asyncpg.Record]", account_id: str) -> None:
        """Upstream has a new trade, and ingestion brings it in with all figures that it changes."""
        sample = self.chance.choice(
            [trade for trade in self.world.trades(account_id) if not trade.is_open]
        )
        position = str(500_000_000 + self.chance.randrange(100_000_000))
        self.world.add_trades([replace(sample, position=position, ticket=f"{position}0")])
        await self.load(connection, account_id)

    async def replace_day(self, connection: "Connection[asyncpg.Record]", account_id: str) -> None:
        """Delete a day and bring it in anew, in one transaction that takes its time."""
        day = self._trade(account_id).trade_date
        async with connection.transaction():
            for endpoint in _DAYS:
                date = self.tables[endpoint].table.date_column
                await connection.execute(
                    f"DELETE FROM {self.tables[endpoint].target} WHERE account_id = $1 AND {date}"
                    " = $2",
                    account_id,
                    day,
                )
            await asyncio.sleep(self.chance.uniform(1, 2))
            for endpoint in _DAYS:
                date = self.tables[endpoint].table.date_column
                rows = [
                    row
                    for row in self.rows(endpoint, account_id)
                    if row[str(date)] == day.isoformat()
                ]
                await self.upsert(connection, endpoint, rows)

    async def touch_slowly(self, connection: "Connection[asyncpg.Record]", account_id: str) -> None:
        """Write rows one by one in any order, all locked until the end."""
        rows = self.rows(Endpoint.DAILY, account_id)
        self.chance.shuffle(rows)
        async with connection.transaction():
            for row in rows[:4]:
                await self.upsert(connection, Endpoint.DAILY, [row])
                await asyncio.sleep(self.chance.uniform(0.1, 0.4))

    async def add_stranger(self, connection: "Connection[asyncpg.Record]", account_id: str) -> None:
        """Bring in an account that upstream does not know, like another one but for its ids."""
        stranger = f"stranger-{self.account_ids[0]}-{self.jobs}"
        ids: Row = {"account_id": stranger, "login": f"9{self.account_ids[0][-3:]}{self.jobs}"}
        for endpoint in METRICS:
            await self.upsert(
                connection, endpoint, [{**row, **ids} for row in self.rows(endpoint, account_id)]
            )
        trades = [
            {**row, **ids, "position": f"{row['position']}-{self.jobs}"}
            for row in self.rows(Endpoint.CLOSED, account_id)
        ]
        await self.upsert(connection, Endpoint.CLOSED, trades)

    def _trade(self, account_id: str) -> Trade:
        return self.chance.choice(
            [trade for trade in self.world.trades(account_id) if not trade.is_open]
        )

    def rows(self, endpoint: Endpoint, account_id: str) -> list[Row]:
        """What upstream has of an account now, by column, a trade with its account."""
        rows = [
            self.tables[endpoint].reader.read(record.row)
            for record in self.world.records(endpoint, [account_id])
        ]
        return [{**row, "account_id": account_id} for row in rows]

    async def upsert(
        self, connection: "Connection[asyncpg.Record]", endpoint: Endpoint, rows: Sequence[Row]
    ) -> None:
        """The way of the first system: its own key, everything else overwritten."""
        table, key = self.tables[endpoint], _UPSERT_KEYS[endpoint]
        columns = table.api_columns
        opened = ", ".join(f"{quoted(column)} {table.types[column]}" for column in columns)
        changed = ", ".join(
            f"{quoted(column)} = excluded.{quoted(column)}"
            for column in columns
            if column not in key
        )
        await connection.execute(
            f"INSERT INTO {table.target} ({name_list(columns)})"
            f" SELECT {name_list(columns)} FROM json_to_recordset($1::json) AS r ({opened})"
            f" ON CONFLICT ({name_list(key)}) DO UPDATE SET {changed}",
            recordset(rows),
        )
        self._note(endpoint, rows)

    def _note(self, endpoint: Endpoint, rows: Sequence[Row]) -> None:
        for row in rows:
            self.last[endpoint][tuple(str(row[column]) for column in _UPSERT_KEYS[endpoint])] = (
                dict(row)
            )


async def gone_or_changed(
    connection: "Connection[asyncpg.Record]", schema: str, writer: Writer
) -> list[str]:
    """Rows that a writer wrote last and that do not stand as it wrote them, as table and key."""
    return await _find(
        connection, schema, writer, "NOT EXISTS (SELECT FROM {target} AS t WHERE {equal})"
    )


async def undone(
    connection: "Connection[asyncpg.Record]", schema: str, writer: Writer
) -> list[str]:
    """Rows that stand as a writer wrote them last, but that trade-recon removed or overwrote in
    between, as table and key.
    """
    return await _find(
        connection,
        schema,
        writer,
        "EXISTS (SELECT FROM {schema}.recon_removed_rows AS r CROSS JOIN"
        " jsonb_populate_record(NULL::{target}, r.row_data) AS t WHERE r.table_name = $2 AND"
        " {equal})",
    )


async def _find(
    connection: "Connection[asyncpg.Record]", schema: str, writer: Writer, condition: str
) -> list[str]:
    found: list[str] = []
    for endpoint, rows in writer.last.items():
        table = await read_table(connection, schema, endpoint)
        columns, key = table.api_columns, _UPSERT_KEYS[endpoint]
        opened = ", ".join(f"{quoted(column)} {table.types[column]}" for column in columns)
        same = " AND ".join(f"t.{quoted(column)} = s.{quoted(column)}" for column in key)
        equal = (
            f"{same} AND ({name_list(columns, 't.')}) IS NOT DISTINCT FROM"
            f" ({name_list(columns, 's.')})"
        )
        shown = ", ".join(f"s.{quoted(column)}" for column in dict.fromkeys(("account_id", *key)))
        where = condition.format(target=table.target, schema=quoted(schema), equal=equal)
        statement = (
            f"SELECT $2 || ' ' || concat_ws(' ', {shown}) AS row FROM json_to_recordset($1::json)"
            f" AS s ({opened}) WHERE {where}"
        )
        found += [
            row["row"]
            for row in await connection.fetch(
                statement, recordset(list(rows.values())), table.table.name
            )
        ]
    return found
