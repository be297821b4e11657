"""Finds recently written accounts."""

import datetime as dt
from collections.abc import Mapping, Sequence

from app.domain.contract.tables import Endpoint
from app.domain.ids import AccountId
from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.database.transaction import SWEEP_SECONDS
from app.store.schema.raw.catalogue import Catalogue
from app.store.schema.raw.tables import WarehouseTable

_COLUMN = "ingestion_timestamp"


class Touched:
    """Finds rows by `ingestion_timestamp`, written by clients.

    Clocks lag and rows commit late, so callers overlap periods. Unzoned stamps may be local unless
    the default is UTC; odd or missing ones are found by transaction id, except in distributed
    tables. Deletions and backdated writes stay unseen.
    """

    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        self._database = database
        sql = database.queries("detect/recent")
        stamps = {endpoint: dict(catalogue[endpoint].origin).get(_COLUMN) for endpoint in Endpoint}
        self.unstamped = tuple(
            catalogue[endpoint].table.name for endpoint, stamp in stamps.items() if stamp is None
        )
        """Tables without this column."""
        stamped = [(catalogue[each], stamp) for each, stamp in stamps.items() if stamp is not None]
        self._stamped = [table.table.name for table, _ in stamped]
        # Row versions of other servers are not comparable with our transaction ids.
        self._tells_transactions = not any(
            catalogue[endpoint].distributed_by for endpoint in Endpoint
        )
        self._unzoned = sql["get_unzoned_stamps"]
        self._covered_until = sql["get_covered_until"]
        self._covered_horizon = sql["get_covered_horizon"]

        self._accounts = _accounts(sql, stamped, "")
        self._accounts_and_odd = _accounts(sql, stamped, sql["odd_rows"])

    async def covered_until(self) -> dt.datetime | None:
        """Time to which a full run covered all writes."""
        when: dt.datetime | None = await self._database.fetch_value(self._covered_until)
        return when

    async def is_blind(self, covered_until: dt.datetime) -> bool:
        """Whether rows with odd stamps, written since that run, cannot be found."""
        return self._tells_transactions and await self._horizon(covered_until) is None

    async def accounts(
        self, since: dt.datetime, most: int, *, covered_until: dt.datetime | None = None
    ) -> list[AccountId]:
        """Up to `most` accounts written since, sorted.

        `covered_until` adds odd stamps since the run covering it.
        """
        # Read each time, as owners may change the default.
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


def _accounts(
    sql: Mapping[str, str], stamped: Sequence[tuple[WarehouseTable, str]], or_odd: str
) -> str:
    """The statement that finds accounts with rows stamped since $1, `or_odd`."""
    rows: list[str] = []
    for table, stamp in stamped:
        # The stamp that a write at $1 would get, in the column's own zone.
        since = f"({stamp.replace('now()', '$1::timestamptz')})"
        odd = fill(or_odd, since=since, now=f"({stamp})")
        rows.append(
            fill(
                sql["touched_rows"],
                raw=table.raw,
                table=table.table.name,
                since=since,
                or_odd=odd,
            )
        )
    return fill(sql["get_touched_accounts"], touched="\n    UNION\n".join(rows))
