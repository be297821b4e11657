"""Which accounts were written lately: what a run of only what changed looks at."""

import datetime as dt

from app.domain.contract.tables import Endpoint
from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.database.transaction import SWEEP_SECONDS
from app.store.schema.raw.catalogue import Catalogue

_COLUMN = "ingestion_timestamp"


class Touched:
    """Reads when the rows of the raw tables were written, as ingestion notes it in
    `ingestion_timestamp`.

    That is a client's clock, which may be behind, and rows become visible later than they are
    stamped: the caller reads with an overlap. A stamp without a zone may be local time of the
    session that wrote it (a default of CURRENT_TIMESTAMP is). Unless the column's default says that
    it is UTC, it may be as far behind UTC as any zone is, and is read from that much earlier on.
    Where it does, a client may all the same write local time, or no stamp: such rows are found by
    the transaction that wrote them, if the table is not distributed. What was deleted, or was
    written with a stamp of long ago, leaves no trace.
    """

    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        """Compose the statement for the raw tables as they stand."""
        self._database = database
        sql = database.queries("detect/recent")
        stamps = {endpoint: dict(catalogue[endpoint].origin).get(_COLUMN) for endpoint in Endpoint}
        self.unstamped = tuple(
            catalogue[endpoint].table.name for endpoint, stamp in stamps.items() if stamp is None
        )
        """The tables that do not tell when a row was written."""
        self._stamped = [
            catalogue[endpoint].table.name
            for endpoint, stamp in stamps.items()
            if stamp is not None
        ]
        # The version of a row on another server is none of our transaction ids.
        self._tells_transactions = not any(
            catalogue[endpoint].distributed_by for endpoint in Endpoint
        )
        self._unzoned = sql["get_unzoned_stamps"]
        self._covered_until = sql["get_covered_until"]
        self._covered_horizon = sql["get_covered_horizon"]

        def accounts(or_odd: str) -> str:
            rows: list[str] = []
            for endpoint, stamp in stamps.items():
                if stamp is not None:
                    # What we would write now, for the time that is asked about: in the column's own
                    # zone.
                    since = f"({stamp.replace('now()', '$1::timestamptz')})"
                    raw, table = catalogue[endpoint].raw, catalogue[endpoint].table.name
                    rows.append(
                        fill(
                            sql["touched_rows"],
                            raw=raw,
                            table=table,
                            since=since,
                            or_odd=fill(or_odd, since=since, now=f"({stamp})"),
                        )
                    )
            return fill(sql["get_touched_accounts"], touched="\n    UNION\n".join(rows))

        self._accounts = accounts("")
        self._accounts_and_odd = accounts(sql["odd_rows"])

    async def covered_until(self) -> dt.datetime | None:
        """Until when a run over all accounts covered every write; None without one."""
        when: dt.datetime | None = await self._database.fetch_value(self._covered_until)
        return when

    async def is_blind(self, covered_until: dt.datetime) -> bool:
        """Whether rows with odd stamps, written since that run, cannot be found."""
        return self._tells_transactions and await self._horizon(covered_until) is None

    async def accounts(
        self, since: dt.datetime, most: int, *, covered_until: dt.datetime | None = None
    ) -> list[str]:
        """Accounts with a row that was written since then, at most so many, in order.

        With `covered_until` also those with a row whose stamp is missing or local time, if the row
        was written since the run which covers what was written until then.
        """
        # Read each time: the owner of a table may change its default.
        unzoned = [
            row["table_name"] for row in await self._database.fetch(self._unzoned, self._stamped)
        ]
        horizon = (
            await self._horizon(covered_until)
            if covered_until is not None and self._tells_transactions
            else None
        )
        if horizon is None:
            rows = await self._database.fetch(
                self._accounts, since, most, unzoned, seconds=SWEEP_SECONDS
            )
        else:
            rows = await self._database.fetch(
                self._accounts_and_odd, since, most, unzoned, str(horizon), seconds=SWEEP_SECONDS
            )
        return sorted(row["account_id"] for row in rows)

    async def _horizon(self, covered_until: dt.datetime) -> int | None:
        horizon: int | None = await self._database.fetch_value(self._covered_horizon, covered_until)
        return horizon
