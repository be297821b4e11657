"""Background cleanup."""

import asyncio
import random

from app.engine.config import EngineConfig
from app.engine.repositories import Repositories
from app.errors import ReconError
from app.telemetry import get_logger

_log = get_logger(__name__)
_LONGEST_ROUND = 60.0
_RETENTION_SECONDS = 3_600.0


async def run_maintenance_loop(store: Repositories, config: EngineConfig) -> None:
    """Purge dead workers' staging, and hourly old history; never returns."""
    clock = asyncio.get_running_loop().time
    # Not at the start: a service that restarts often would do nothing else.
    purge_at = clock() + _RETENTION_SECONDS * random.uniform(0.05, 0.15)
    while True:
        await asyncio.sleep(
            min(config.lease_seconds / 3, _LONGEST_ROUND) * random.uniform(0.75, 1.25)
        )
        try:
            fetches = await store.staging.purge_dead(config.lease_seconds)
            await store.claims.purge_dead_workers()
            if fetches:
                _log.info(
                    "Staging of dead workers is dropped.",
                    action="staging.purged",
                    fetches=fetches,
                )
            if clock() >= purge_at:
                purge_at = clock() + _RETENTION_SECONDS * random.uniform(0.75, 1.25)
                rows = await store.retention.purge(config.retention_days)
                if rows:
                    _log.info(
                        "Old history is deleted.",
                        action="history.purged",
                        rows=rows,
                        days=config.retention_days,
                    )
        except ReconError as error:
            _log.warning("Housekeeping waits.", action="housekeeping.waiting", reason=str(error))
