"""Moves metrics rows that upstream does not send to their natural key's owner."""

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence

from app.domain.contract.tables import Endpoint
from app.domain.ids import ClaimId, RunId
from app.domain.sequences import pieces
from app.store.change_feed import ChangeFeed
from app.store.claims.fence import Fence
from app.store.database.pool import Database
from app.store.database.transaction import LOCK_SECONDS, SWEEP_SECONDS, Record
from app.store.identity.given_back import GivenBack
from app.store.identity.metrics_repair import MetricsRepairs

_MOST_ROWS = 5_000


class GiveBack:
    """Writes under the fence."""

    def __init__(self, database: Database, feed: ChangeFeed, metrics: MetricsRepairs) -> None:
        self._database = database
        self._feed = feed
        self._fence = Fence(database)
        self._statements = metrics.of_unsent

    async def give_back(
        self,
        endpoint: Endpoint,
        unsent: Sequence[tuple[str, dt.date]],
        run_id: RunId,
        claim_id: ClaimId,
        lease_seconds: float,
    ) -> list[GivenBack]:
        """Move `unsent` rows to their owners.

        Only if another account holds the key by alltime and has rows of that date.
        """
        table, statement = self._statements[endpoint]
        given: list[GivenBack] = []
        for part in pieces(unsent, _MOST_ROWS):
            async with self._database.transaction(lock_seconds=LOCK_SECONDS) as connection:
                accounts = sorted({account_id for account_id, _ in part})
                ours = await self._fence.lock_claims(connection, accounts, claim_id, lease_seconds)
                listed = [(account_id, day) for account_id, day in part if account_id in ours]
                rows = await connection.fetch(
                    statement,
                    table.name,
                    [each[0] for each in listed],
                    [each[1] for each in listed],
                    run_id,
                    seconds=SWEEP_SECONDS,
                )
                found = [_given_back(row) for row in rows if row["holder"] is not None]
                changed: dict[str, set[dt.date | None]] = defaultdict(set)
                for each in found:
                    changed[each.holder].update(each.days)
                    changed[each.owner].update(each.days)
                await self._feed.note(connection, run_id, table.name, changed)
            given += found
        return given


def _given_back(row: Record) -> GivenBack:
    return GivenBack(
        row["holder"], row["account_id"], tuple(row["days"]), row["rows"], row["removed"]
    )
