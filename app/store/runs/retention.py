"""Retention: deletes old history in small steps."""

import asyncio

from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.database.transaction import SWEEP_SECONDS

_STEP = 2_000
_PAUSE_SECONDS = 0.05


class Retention:
    """Deletes history that is too old."""

    def __init__(self, database: Database) -> None:
        self._database = database
        sql = database.queries("runs/retention")
        # Attempts before runs: deleting a run deletes all its attempts in one step.
        of_runs = [
            fill(sql["purge_of_runs"], table=table)
            for table in ("recon_attempts", "recon_drift", "recon_run_losses")
        ]
        self._scans = [
            fill(sql["purge_scans"], table=table) for table in ("recon_scan", "recon_scan_days")
        ]
        keys = {"recon_run_inserts": "insert_id", "recon_inspection_figures": "figures_id"}
        counts = [fill(sql["purge_counts"], table=table, key=key) for table, key in keys.items()]
        self._purges = (
            *of_runs,
            *counts,
            sql["purge_runs"],
            sql["purge_issues"],
            sql["purge_orders"],
            sql["purge_accepted"],
        )

    async def purge(self, days: int, step: int = _STEP) -> int:
        """Delete what ended over `days` days ago, `step` rows a transaction; their number."""
        purged = 0
        for statement in self._scans:
            purged += await self._database.execute(statement, seconds=SWEEP_SECONDS)
        for statement in self._purges:
            while deleted := await self._database.execute(statement, days, step):
                purged += deleted
                await asyncio.sleep(_PAUSE_SECONDS)
        return purged
