"""Counts open trades, which are never written."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence

from app.domain.contract.open_trades import NaturalKey
from app.domain.contract.tables import Endpoint
from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.database.transaction import SWEEP_SECONDS
from app.store.schema.raw.catalogue import Catalogue


class OpenTrades:
    """Counts and records."""

    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        self._database = database
        sql = database.queries("detect/open_trades")
        self._count = fill(sql["count_stored"], open=catalogue[Endpoint.OPEN].raw)
        self._count_of_keys = fill(sql["count_stored_of_keys"], open=catalogue[Endpoint.OPEN].raw)
        self._natural_keys = sql["get_natural_keys"]
        self._note, self._note_named = sql["note_compared"], sql["note_compared_of_accounts"]

    async def stored(self) -> dict[dt.date | None, int]:
        """Open trades by date."""
        return {
            row["day"]: row["rows"]
            for row in await self._database.fetch(self._count, seconds=SWEEP_SECONDS)
        }

    async def natural_keys(self, account_ids: Sequence[str]) -> list[NaturalKey]:
        """Login, platform and broker of accounts."""
        rows = await self._database.fetch(self._natural_keys, list(account_ids))
        return [(row["login"], row["platform"], row["broker"]) for row in rows]

    async def stored_of(self, keys: Sequence[NaturalKey]) -> dict[dt.date | None, int]:
        """Open trades of natural keys, by date."""
        columns = [[key[part] for key in keys] for part in range(3)]
        rows = await self._database.fetch(self._count_of_keys, *columns, seconds=SWEEP_SECONDS)
        return {row["day"]: row["rows"] for row in rows}

    async def note_named(self, run_id: uuid.UUID, found: Mapping[str, object]) -> None:
        """Record findings for named accounts."""
        await self._database.give_way(
            lambda connection: connection.execute(self._note_named, run_id, dict(found))
        )

    async def note(self, run_id: uuid.UUID, found: Mapping[str, object]) -> None:
        """Record an audit's findings."""
        await self._database.give_way(
            lambda connection: connection.execute(self._note, run_id, dict(found))
        )
