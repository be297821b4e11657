"""Account ids that upstream sends for several natural keys."""

from app.domain.contract.tables import METRICS
from app.store.database.pool import Database
from app.store.database.queries import fill, quote
from app.store.schema.raw.catalogue import Catalogue
from app.store.staging.staged_fetch import StagedFetch


class SharedIds:
    """Treats rows under shared ids as unnamed."""

    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        self._database = database
        sql = database.queries("staging/names/shared_ids")
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
        """Known shared ids."""
        return frozenset(row["account_id"] for row in await self._database.fetch(self._get))

    async def part(self, staged: StagedFetch) -> None:
        """Replace shared ids by placeholders of natural keys."""
        if await self._database.execute(self._part[staged.endpoint], staged.fetch_id):
            staged.has_unnamed = True
