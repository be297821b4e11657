"""Keeps pages of a fetch until it is proven."""

import datetime as dt
from collections.abc import Sequence

from app.domain.contract.tables import Endpoint
from app.domain.ids import WorkerId
from app.store.database.pool import Database
from app.store.schema.raw.catalogue import Catalogue
from app.store.staging.sink import StageSink
from app.store.staging.staged_fetch import StagedFetch
from app.store.staging.staged_rows import StagedRows


class Staging:
    """Begins and drops fetches."""

    def __init__(self, database: Database, catalogue: Catalogue, worker_id: WorkerId) -> None:
        self._rows = StagedRows(database, catalogue, worker_id)

    async def begin(
        self,
        endpoint: Endpoint,
        asked: Sequence[str] = (),
        *,
        by_login: bool = False,
        account_ids: Sequence[str] = (),
        first_day: dt.date | None = None,
    ) -> StageSink:
        """A new fetch of logins (`by_login`, always for trades) or accounts.

        Rows before `first_day` are only counted.
        """
        staged = await self._rows.register(endpoint, first_day)
        return StageSink(
            self._rows, staged, asked, account_ids, by_login=by_login or endpoint.is_trades
        )

    async def purge_dead(self, lease_seconds: float) -> int:
        """Drop fetches of dead workers and undropped ones; returns their number."""
        return await self._rows.purge_dead(lease_seconds)

    async def forget(self, staged: StagedFetch) -> None:
        """Drop a fetch."""
        await self._rows.forget(staged)
