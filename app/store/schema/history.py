"""The warehouse's history: first date, and counts before it."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.ids import AccountId
from app.store.database.pool import Database
from app.store.database.transaction import SWEEP_SECONDS, Connection

_COUNTED = tuple(
    TABLES[endpoint].name for endpoint in (Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
)
"""Tables whose partitions define the history."""


@dataclass(frozen=True, slots=True)
class Before:
    """Upstream's daily counts before the history; `is_added` to earlier ones."""

    trades: int
    net_profit: Decimal | None
    total_lots: Decimal | None
    is_added: bool = False


@dataclass(frozen=True, slots=True)
class Detached:
    """A table named like a partition of `parent` for `month`."""

    parent: str
    name: str
    month: dt.date


class Histories:
    """Reads and records the history."""

    def __init__(self, database: Database) -> None:
        self._database = database
        sql = database.queries("schema/history")
        self._held_from, self._note, self._known = (
            sql["get_held_from"],
            sql["note_window"],
            sql["get_window"],
        )
        self._forget = tuple(
            sql[name]
            for name in ("forget_set_aside_rows", "forget_doubted_dates", "forget_descents")
        )
        self._note_before, self._detached, self._is_adopted = (
            sql["note_before"],
            sql["list_detached"],
            sql["is_adopted"],
        )

    async def held_from(self) -> dt.date | None:
        """The first date with partitions in all compared tables."""
        day: dt.date | None = await self._database.fetch_value(self._held_from, list(_COUNTED))
        return day

    async def is_adopted(self) -> bool:
        """Whether raw tables with a history preceded trade-recon."""
        return bool(await self._database.fetch_value(self._is_adopted, list(_COUNTED)))

    async def detached(self) -> list[Detached]:
        """Tables named like partitions."""
        rows = await self._database.fetch(self._detached, [table.name for table in TABLES.values()])
        return [Detached(row["parent"], row["name"], row["month"]) for row in rows]

    async def note_window(self, first: dt.date | None) -> bool:
        """Record the first date and drop pending work before it; whether it changed."""
        changed = await self._database.execute(self._note, first) > 0
        if first is not None:
            for statement in self._forget:
                await self._database.execute(statement, first, seconds=SWEEP_SECONDS)
        return changed

    async def window(self, connection: Connection | None = None) -> dt.date | None:
        """The first date to compare (None: all)."""
        day: dt.date | None = await (connection or self._database).fetch_value(self._known)
        return day

    async def note_before(self, first: dt.date, before: Mapping[AccountId, Before]) -> None:
        """Store upstream's counts before the date `first`."""
        if not before:
            return
        ids = sorted(before)
        each = [before[account_id] for account_id in ids]
        await self._database.execute(
            self._note_before,
            first,
            ids,
            [one.trades for one in each],
            [one.net_profit for one in each],
            [one.total_lots for one in each],
            [one.is_added for one in each],
        )
