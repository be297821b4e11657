"""The parts of the store that the engine works with, built once for one database and one worker process."""

import uuid
from dataclasses import dataclass

from app.store.catalogue import Catalogue
from app.store.changes import Changes
from app.store.claims import Claims
from app.store.detection import Detection
from app.store.identity import Identity
from app.store.pool import Database
from app.store.report import Reports
from app.store.runs import Runs
from app.store.scans import Scans
from app.store.staging import Staging


@dataclass(frozen=True, slots=True)
class Store:
    """Everything that speaks SQL, under one name each."""

    database: Database
    detection: Detection
    identity: Identity
    staging: Staging
    changes: Changes
    claims: Claims
    runs: Runs
    scans: Scans
    reports: Reports

    @classmethod
    async def build(cls, database: Database, lease_seconds: float) -> "Store":
        """Read the catalogue and every statement; ConfigurationError if the warehouse lacks what is needed."""
        worker_id = uuid.uuid4()
        catalogue = await Catalogue.read(database)
        return cls(
            database,
            Detection(database),
            Identity(database),
            Staging(database, catalogue, worker_id),
            Changes(database, catalogue),
            Claims(database, worker_id, lease_seconds),
            Runs(database),
            Scans(database),
            Reports(database),
        )
