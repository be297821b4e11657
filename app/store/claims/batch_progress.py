"""Progress of batches under way, a row per process."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from app.domain.ids import RunId, WorkerId
from app.store.database.pool import Database


@dataclass(frozen=True, slots=True)
class Progressed:
    """Accounts of batches, those fully read, requests and rows."""

    accounts: int = 0
    done: int = 0
    requests: int = 0
    rows_written: int = 0

    def __add__(self, other: "Progressed") -> "Progressed":
        """The sum."""
        return Progressed(
            self.accounts + other.accounts,
            self.done + other.done,
            self.requests + other.requests,
            self.rows_written + other.rows_written,
        )


class UnderWayFigures:
    """Figures of this process and of all."""

    def __init__(self, database: Database, lease_seconds: float) -> None:
        self._database = database
        self._lease_seconds = lease_seconds
        sql = database.queries("claims/batch_progress")
        self._note, self._get = sql["note_under_way"], sql["get_under_way"]

    async def note(self, worker_id: WorkerId, figures: Mapping[RunId, Progressed]) -> None:
        """Record this process's progress by run."""
        shown = {str(run_id): asdict(each) for run_id, each in figures.items()}
        await self._database.execute(self._note, worker_id, shown or None)

    async def of_run(self, run_id: uuid.UUID) -> Progressed:
        """A run's progress, without processes silent for a lease."""
        row = await self._database.fetch_row(self._get, str(run_id), self._lease_seconds)
        return Progressed() if row is None else Progressed(**row)
