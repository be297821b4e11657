"""How many open trades are stored, and what audits found of them; their rows are never written."""

import datetime as dt
import uuid
from collections.abc import Mapping

from app.domain.contract import Endpoint
from app.store.catalogue import Catalogue
from app.store.pool import SWEEP_SECONDS, Database
from app.store.queries import fill


class OpenTrades:
    """Counts them, and notes what was compared."""

    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        """Read the statements."""
        self._database = database
        sql = database.queries("open_trades")
        self._count = fill(sql["count_stored"], open=catalogue[Endpoint.OPEN].raw)
        self._note = sql["note_compared"]

    async def stored(self) -> dict[dt.date | None, int]:
        """The stored open trades by date."""
        return {row["day"]: row["rows"] for row in await self._database.fetch(self._count, seconds=SWEEP_SECONDS)}

    async def note(self, run_id: uuid.UUID, found: Mapping[str, object]) -> None:
        """Keep what an audit found."""
        await self._database.give_way(lambda connection: connection.execute(self._note, run_id, dict(found)))
