"""Account ids that upstream sends for several natural keys at once: they tell no account."""

from app.domain.contract.tables import METRICS
from app.store.database.pool import Database
from app.store.database.queries import fill, quote
from app.store.schema.raw.catalogue import Catalogue
from app.store.staging.staged_fetch import StagedFetch


class SharedIds:
    """Knows shared ids, and takes staged rows under one for rows without an id."""

    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        self._database = database
        sql = database.queries("staging/shared_ids")
        self._get = sql["get_shared_ids"]
        self._part = {
            endpoint: fill(
                sql["part_shared_ids"],
                stage=catalogue[endpoint].stage,
                key=", ".join(map(quote, catalogue[endpoint].key)),
            )
            for endpoint in METRICS
        }

    async def known(self) -> frozenset[str]:
        """The ids that are known to be shared."""
        return frozenset(row["account_id"] for row in await self._database.fetch(self._get))

    async def part(self, staged: StagedFetch) -> None:
        """Give rows under an id that several natural keys have the placeholders of their keys."""
        if await self._database.execute(self._part[staged.endpoint], staged.fetch_id):
            staged.has_unnamed = True
