"""The damaged account."""

import datetime as dt
import random
from dataclasses import dataclass

import asyncpg

from app.domain.contract.tables import Endpoint
from app.sandbox.witness.raw_sql import in_schema
from app.sandbox.witness.raw_tables import RawTable, read_table


@dataclass(frozen=True, slots=True)
class Hit:
    """The damage done, and other accounts touched."""

    description: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Victim:
    """The account, and dates before `settled_before`."""

    connection: "asyncpg.Connection[asyncpg.Record]"
    schema: str
    account_id: str
    settled_before: dt.date
    chance: random.Random

    async def execute(self, statement: str, *values: object) -> int:
        """Run `statement` with the account id as $1; changed rows."""
        status: str = await self.connection.execute(
            in_schema(statement, self.schema), self.account_id, *values
        )
        return int(status.rpartition(" ")[2])

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Run `statement` with the account id as $1; its rows."""
        return await self.connection.fetch(
            in_schema(statement, self.schema), self.account_id, *values
        )

    async def table(self, endpoint: Endpoint) -> RawTable:
        """The raw table in this warehouse."""
        return await read_table(self.connection, self.schema, endpoint)

    async def dates(self, most: int, *, fewest_hours: int = 1) -> list[dt.date]:
        """Dates with trades at all levels."""
        rows = await self.fetch(_DATES, self.settled_before, fewest_hours)
        days = [row["date"] for row in rows]
        return sorted(self.chance.sample(days, min(most, len(days))))


_DATES = """
    SELECT date
    FROM SCHEMA.raw_metrics_daily AS d
    WHERE account_id = $1 AND date < $2 AND num_trades > 0
      AND EXISTS (SELECT FROM SCHEMA.raw_trades_closed AS c
        WHERE c.account_id = d.account_id AND c.trade_date = d.date)
      AND $3 <= (
          SELECT count(*) FROM SCHEMA.raw_metrics_hourly AS h
            WHERE h.account_id = d.account_id AND h.date = d.date AND h.num_trades > 0
      )
    ORDER BY date
"""


def listed(days: list[dt.date]) -> str:
    """The dates, for a sentence."""
    return ", ".join(day.isoformat() for day in days)
