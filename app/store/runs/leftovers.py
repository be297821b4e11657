"""What runs leave, counted in PostgreSQL."""

import datetime as dt
import uuid

from app.domain.issues.codes import IssueCode
from app.domain.runs.leftovers import (
    OWN_WORD_CODES,
    SETTLING_CODES,
    Left,
    Leftovers,
    OpenKinds,
    gathered,
    left_of,
)
from app.domain.states import Outcome
from app.store.database.pool import Database
from app.store.database.transaction import SWEEP_SECONDS, Record


class RunLeftovers:
    """Counts and stores what runs leave."""

    def __init__(self, database: Database) -> None:
        self._database = database
        sql = database.queries("runs/leftovers")
        self._count, self._beside = sql["count_accounts_left"], sql["get_beside_left"]
        self._note_unmatched, self._count_unmatched = sql["note_unmatched"], sql["count_unmatched"]
        self._note = sql["note_leftovers"]

    async def of(self, run_id: uuid.UUID, today: dt.date | None = None) -> Leftovers:
        """What the run leaves now; acceptances until `today` have ended."""
        codes = sorted(SETTLING_CODES), sorted(OWN_WORD_CODES), IssueCode.ABSENT_UPSTREAM
        rows = await self._database.fetch(self._count, run_id, today, *codes, seconds=SWEEP_SECONDS)
        beside = await self._database.fetch_row(self._beside, run_id)
        counts = [(_left(row), int(row["accounts"])) for row in rows]
        if beside is not None:
            # Rows that the tables cannot hold were reported by an earlier run; their owner decides.
            unheld = min(int(beside["unheld"]), int(beside["skipped"]))
            counts += [
                (Left.KNOWN, unheld),
                (Left.BACKING_OFF, int(beside["skipped"]) - unheld),
                (Left.WAITING, int(beside["beyond"])),
                (Left.INCOMPLETE, int(beside["is_incomplete"])),
                (Left.NOTHING_KNOWN, int(beside["is_empty"])),
            ]
        if beside is not None and beside["is_over_all"]:
            # Rows of no account, or of several, belong to no outcome.
            await self._database.execute(self._note_unmatched, run_id)
            unmatched = await self._database.fetch_row(self._count_unmatched, run_id)
            counts += (
                []
                if unmatched is None
                else [(Left.UNMATCHED_NEW, unmatched["new"]), (Left.UNMATCHED, unmatched["known"])]
            )
        return gathered(
            counts, new_issues=sum(int(row["accounts"]) for row in rows if row["has_new"])
        )

    async def note(self, run_id: uuid.UUID, today: dt.date | None = None) -> None:
        """Store what a run left that was ended early."""
        await self._database.execute(self._note, run_id, (await self.of(run_id, today)).as_json())


def _left(row: Record) -> Left | None:
    kinds = OpenKinds(row["has_new"], row["has_known"], row["has_settling"], row["has_accepted"])
    outcome = None if row["outcome"] is None else Outcome(row["outcome"])
    return left_of(outcome, kinds, is_exhausted=row["is_exhausted"])
