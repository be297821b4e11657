"""What upstream says about natural keys that stand under a placeholder: whether it knows an id for
them, and which one.
"""

import uuid
from collections.abc import Sequence

from app.domain.contract.tables import METRICS
from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.database.transaction import SWEEP_SECONDS
from app.store.runs.run_queue import Preparations
from app.store.schema.raw.catalogue import Catalogue
from app.store.staging.staged_fetch import StagedFetch


class UpstreamHolders:
    """Notes under which account ids upstream sends natural keys.

    A key that it sends without an id is the account of its placeholder, whoever else holds the key;
    one that it sends under an id is no account under its placeholder, whose rows are then that
    id's.
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

    async def note_scan(self, run_id: uuid.UUID) -> list[str]:
        """Learn from what an audit's scan saw; the accounts whose natural keys are to be
        refreshed.
        """
        async with self._preparations.transaction(run_id) as connection:
            return [
                row["account_id"]
                for row in await connection.fetch(self._of_scan, run_id, seconds=SWEEP_SECONDS)
            ]

    async def note_fetch(
        self, staged: StagedFetch, account_ids: Sequence[str]
    ) -> dict[str, list[str]]:
        """Learn from a proven fetch for accounts that were asked for by login; the ids that
        upstream has for those it knows by one now.
        """
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
