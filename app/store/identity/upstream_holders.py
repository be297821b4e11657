"""What upstream says about natural keys under placeholders."""

import uuid
from collections.abc import Sequence

from app.domain.contract.tables import METRICS
from app.domain.ids import AccountId
from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.database.transaction import SWEEP_SECONDS
from app.store.runs.run_queue import Preparations
from app.store.schema.raw.catalogue import Catalogue
from app.store.staging.staged_fetch import StagedFetch


class UpstreamHolders:
    """Records account ids that upstream sends natural keys under.

    A key sent without id makes its placeholder an account; one sent with an id gives the
    placeholder's rows to that.
    """

    def __init__(
        self, database: Database, catalogue: Catalogue, preparations: Preparations
    ) -> None:
        self._database = database
        self._preparations = preparations
        sql = database.queries("identity/upstream_holders")

        def noting(sent: str, among: str) -> str:
            return fill(sql["note_upstream_holders"], sent=sent, among=among)

        self._of_scan = noting(sql["sent_in_scan"], "true")
        self._of_fetch = {
            endpoint: noting(
                fill(sql["sent_in_fetch"], stage=catalogue[endpoint].stage),
                "account_id = ANY($2::text[])",
            )
            for endpoint in METRICS
        }

    async def note_scan(self, run_id: uuid.UUID) -> list[AccountId]:
        """Learn from an audit's scan; returns accounts to refresh."""
        async with self._preparations.transaction(run_id) as connection:
            return [
                row["account_id"]
                for row in await connection.fetch(self._of_scan, run_id, seconds=SWEEP_SECONDS)
            ]

    async def note_fetch(
        self, staged: StagedFetch, account_ids: Sequence[str]
    ) -> dict[AccountId, list[AccountId]]:
        """Learn from a fetch by login; returns ids of accounts that have one now."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch(
                self._of_fetch[staged.endpoint], staged.fetch_id, list(account_ids)
            )
        asked = frozenset(account_ids)
        return {
            row["account_id"]: row["holders"]
            for row in rows
            if row["account_id"] in asked and row["holders"]
        }
