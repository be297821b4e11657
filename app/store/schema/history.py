"""The history that the warehouse keeps: its first date, and accounts' counts before it."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from app.domain.contract.tables import TABLES, Endpoint
from app.store.database.pool import Database
from app.store.database.transaction import SWEEP_SECONDS, Connection

_COUNTED = tuple(
    TABLES[endpoint].name for endpoint in (Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
)
"""The tables whose partitions tell what is kept; open trades are no history."""


@dataclass(frozen=True, slots=True)
class Before:
    """Upstream's daily counts of an account before the history, `is_added` to earlier ones."""

    trades: int
    net_profit: Decimal | None
    total_lots: Decimal | None
    is_added: bool = False


@dataclass(frozen=True, slots=True)
class Detached:
    """A table that looks like a detached partition of `parent`, for the `month` in its name."""

    parent: str
    name: str
    month: dt.date


class Histories:
    """Reads and notes the history of the warehouse."""

    def __init__(self, database: Database) -> None:
        """Read the statements; a missing one fails here."""
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
        """The first date for which all compared partitioned tables have partitions, if any."""
        day: dt.date | None = await self._database.fetch_value(self._held_from, list(_COUNTED))
        return day

    async def is_adopted(self) -> bool:
        """Whether raw tables with a history stood before trade-recon."""
        return bool(await self._database.fetch_value(self._is_adopted, list(_COUNTED)))

    async def detached(self) -> list[Detached]:
        """Tables that look like detached partitions of raw tables."""
        rows = await self._database.fetch(self._detached, [table.name for table in TABLES.values()])
        return [Detached(row["parent"], row["name"], row["month"]) for row in rows]

    async def note_window(self, first: dt.date | None) -> bool:
        """Note the first date to compare, and drop what waits on earlier ones; whether new."""
        changed = await self._database.execute(self._note, first) > 0
        if first is not None:
            for statement in self._forget:
                await self._database.execute(statement, first, seconds=SWEEP_SECONDS)
        return changed

    async def window(self, connection: Connection | None = None) -> dt.date | None:
        """The first date to compare (None: all), read over `connection` if given."""
        day: dt.date | None = await (connection or self._database).fetch_value(self._known)
        return day

    async def note_before(self, first: dt.date, before: Mapping[str, Before]) -> None:
        """Keep what upstream counts of accounts before the date `first`."""
        if not before:
            return
        ids: Sequence[str] = sorted(before)
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
