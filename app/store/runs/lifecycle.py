"""The life of runs: start, notes, end."""

import datetime as dt
import uuid
from collections.abc import Mapping

import msgspec

from app.domain.holds.limits import HoldLimits
from app.domain.ids import RunId, WorkerId
from app.domain.runs.request import IdempotencyKey, RunRequest
from app.domain.states import RunStatus
from app.errors import Conflict
from app.store.database.listen import notify
from app.store.database.pool import Database
from app.store.database.transaction import SWEEP_SECONDS
from app.store.runs.ending import judge_end
from app.store.runs.leftovers import RunLeftovers
from app.store.runs.reader import RunReader
from app.store.runs.wrap_up import WrapUp


class Runs:
    """Starts and ends runs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.queries("runs/lifecycle")
        self._reader = RunReader(database)
        self._leftovers = RunLeftovers(database)
        self._wrap_up = WrapUp(database)

    async def create(self, request: RunRequest, key: IdempotencyKey | None = None) -> RunId:
        """Create a run and wake listeners; of a known `key`, its run.

        Raises Conflict for a key of another request, or beside another full run.
        """
        run_id = RunId(uuid.uuid4())
        kept = None if key is None else key.key, None if key is None else key.digest
        while True:
            async with self._database.transaction() as connection:
                values = (
                    run_id,
                    request.kind.value,
                    msgspec.to_builtins(request),
                    request.stop_at,
                    request.is_sole,
                )
                if (
                    await connection.fetch_value(self._sql["create_run"], *values, *kept)
                    is not None
                ):
                    await notify(connection, self._database.schema, str(run_id))
                    return run_id
            if key is not None and (known := await self.of_key(key)) is not None:
                return known
            sole = await self._reader.find_sole()
            if sole is not None:
                raise Conflict(
                    f"A full run is {sole['status']} already: {sole['run_id']}. No run was started;"
                    " wait for that one, or cancel it first.",
                    sole["run_id"],
                )

    async def of_key(self, key: IdempotencyKey) -> RunId | None:
        """The key's run; Conflict if by another request."""
        row = await self._database.fetch_row(self._sql["get_run_of_key"], key.key)
        if row is None:
            return None
        if row["request_digest"] != key.digest:
            raise Conflict(
                f"The Idempotency-Key was used before, for another request (run {row['run_id']})."
                " No run was started; use a new key.",
                row["run_id"],
            )
        return RunId(uuid.UUID(str(row["run_id"])))

    async def finish(self, run_id: RunId, guard: HoldLimits, today: dt.date | None = None) -> bool:
        """End the run if nothing waits; whether this call did.

        Acceptances until `today` have ended.
        """
        state = await self._database.fetch_row(self._sql["get_run_state"], run_id)
        if state is None or state["waiting"] or state["status"] != RunStatus.RUNNING:
            return False
        is_held = state["needs_confirmation"]
        still_held = await self._reader.still_held(run_id, today) if is_held else 0
        left = await self._leftovers.of(run_id, today)
        ending = judge_end(run_id, state, still_held, left, guard)
        # Before the end, on which waiting callers read the totals.
        await self._database.execute(self._sql["count_written"], run_id, seconds=SWEEP_SECONDS)
        is_ended = (
            await self._database.fetch_value(
                self._sql["finish_run"],
                run_id,
                ending.status.value,
                ending.reason,
                ending.finds_upstream_well,
                left.as_json(),
                ending.lifts_suspicion,
            )
            is not None
        )
        if is_ended:
            await self._wrap_up.clear_scan(run_id)
            await self._wrap_up.note_held_since(run_id)
        return is_ended

    async def end_early(self, run_id: RunId, status: RunStatus, reason: str) -> None:
        """End a run that cannot go on, without blame."""
        await self._database.execute(self._sql["count_written"], run_id, seconds=SWEEP_SECONDS)
        await self._database.execute(self._sql["end_run"], run_id, status.value, reason)
        await self._wrap_up.clear_scan(run_id)

    async def is_past(self, moment: dt.datetime) -> bool:
        """Whether `moment` is past by the database's clock."""
        return bool(await self._database.fetch_value(self._sql["is_past"], moment))

    async def note_history(self, run_id: RunId, first: dt.date | None) -> None:
        """Record the first date compared."""
        await self._database.execute(self._sql["note_history"], run_id, first)

    async def note_search(self, run_id: RunId, new: int, known: int, fault: str) -> None:
        """Count requests of a search for failing accounts (`known`: repeated), and its fault."""
        await self._database.execute(self._sql["note_search"], run_id, new, known, fault or None)

    async def is_suspicion_standing(self, run_id: RunId) -> bool:
        """Whether an earlier suspicion is neither confirmed nor refuted."""
        return bool(await self._database.fetch_value(self._sql["get_standing_suspicion"], run_id))

    async def note_suspicion(
        self, run_id: RunId, reason: str, confirmed_at: dt.datetime | None
    ) -> None:
        """Mark upstream as suspect, unless since confirmed."""
        await self._database.execute(self._sql["note_suspicion"], run_id, reason, confirmed_at)

    async def add_phase(self, run_id: RunId, phase: str, seconds: float) -> None:
        """Add seconds to a phase."""
        await self._database.execute(
            self._sql["add_phase_seconds"], run_id, phase, str(round(seconds, 3))
        )

    async def set_api_statistics(
        self, run_id: RunId, worker_id: WorkerId, statistics: Mapping[str, object]
    ) -> None:
        """Store this worker's API statistics."""
        await self._database.execute(
            self._sql["set_api_statistics"], run_id, str(worker_id), dict(statistics)
        )
