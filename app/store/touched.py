"""Which accounts were written lately: what a run of only what changed looks at."""

import datetime as dt

from app.domain.contract import Endpoint
from app.store.catalogue import Catalogue
from app.store.pool import SWEEP_SECONDS, Database
from app.store.queries import fill

_COLUMN = "ingestion_timestamp"


class Touched:
    """Reads when the rows of the raw tables were written, as ingestion notes it in `ingestion_timestamp`.

    That is a client's clock, which may be behind, and rows become visible later than they are stamped: the caller reads with an overlap.
    A stamp without a zone may be local time of the session that wrote it (a default of CURRENT_TIMESTAMP is). Unless the column's
    default says that it is UTC, it may be as far behind UTC as any zone is, and is read from that much earlier on. What was deleted
    leaves no trace.
    """

    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        """Compose the statement for the raw tables as they stand."""
        self._database = database
        sql = database.queries("touched")
        stamps = {endpoint: dict(catalogue[endpoint].origin).get(_COLUMN) for endpoint in Endpoint}
        self.unstamped = tuple(catalogue[endpoint].table.name for endpoint, stamp in stamps.items() if stamp is None)
        """The tables that do not tell when a row was written."""
        # What we would write now, for the time that is asked about: in the column's own zone.
        rows = [
            fill(
                sql["touched_rows"],
                raw=catalogue[endpoint].raw,
                table=catalogue[endpoint].table.name,
                since=f"({stamp.replace('now()', '$1::timestamptz')})",
            )
            for endpoint, stamp in stamps.items()
            if stamp is not None
        ]
        self._stamped = [catalogue[endpoint].table.name for endpoint, stamp in stamps.items() if stamp is not None]
        self._unzoned = sql["get_unzoned_stamps"]
        self._covered_until = sql["get_covered_until"]
        self._accounts = fill(sql["get_touched_accounts"], touched="\n    UNION\n".join(rows))

    async def covered_until(self) -> dt.datetime | None:
        """Until when everything that was written has been looked at by a run over all accounts; None if there was no such run."""
        when: dt.datetime | None = await self._database.fetch_value(self._covered_until)
        return when

    async def accounts(self, since: dt.datetime, most: int) -> list[str]:
        """Accounts with a row that was written since then, at most so many, in order."""
        # Read each time: the owner of a table may change its default.
        unzoned = [row["table_name"] for row in await self._database.fetch(self._unzoned, self._stamped)]
        rows = await self._database.fetch(self._accounts, since, most, unzoned, seconds=SWEEP_SECONDS)
        return sorted(row["account_id"] for row in rows)
