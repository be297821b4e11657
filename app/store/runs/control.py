"""Steering of runs by people and by time."""

import datetime as dt
import uuid
from collections.abc import Sequence

from app.domain.ids import RunId
from app.domain.states import RunStatus
from app.domain.wording.counts import counted
from app.errors import Conflict, InvalidRequest, RowRefused
from app.store.database.listen import notify
from app.store.database.pool import Database
from app.store.database.transaction import Record
from app.store.runs.reader import RunReader
from app.store.runs.wrap_up import WrapUp
from app.telemetry import get_logger

_log = get_logger(__name__)
_NAMED = 5


class RunControl:
    """Steers runs by their status, which workers follow; each step tells whether it changed
    anything.

    Orders raise Conflict after a run's end, NotFound for none.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        sql = database.queries("runs/control")
        self._pause, self._resume, self._cancel = (
            sql["pause_run"],
            sql["resume_run"],
            sql["cancel_run"],
        )
        self._suspend, self._confirm = sql["suspend_run"], sql["confirm_run"]
        self._confirm_accounts, self._get_not_held = sql["confirm_accounts"], sql["get_not_held"]
        self._get_standing = sql["get_standing_holds"]
        self._end_overdue, self._working = sql["end_overdue_runs"], sql["get_working_runs"]
        self._reader = RunReader(database)
        self._wrap_up = WrapUp(database)

    async def pause(self, run_id: uuid.UUID) -> bool:
        """Take no more accounts of the run."""
        return await self._steer(self._pause, run_id, "paused", (RunStatus.PAUSED,))

    async def resume(self, run_id: uuid.UUID) -> bool:
        """Let a paused run go on."""
        return await self._steer(
            self._resume, run_id, "resumed", (RunStatus.QUEUED, RunStatus.RUNNING)
        )

    async def cancel(self, run_id: uuid.UUID, reason: str) -> bool:
        """End the run for good."""
        is_new = await self._steer(
            self._cancel, run_id, "cancelled", (RunStatus.CANCELLED,), reason
        )
        await self._wrap_up.clear_scan(run_id)
        return is_new

    async def confirm(
        self,
        run_id: uuid.UUID,
        account_ids: Sequence[str] | None = None,
        today: dt.date | None = None,
    ) -> bool:
        """Let the run write what it held, of all or these accounts, and no more.

        A hold ends once a later run recorded the account or it is accepted beyond `today` (None:
        the server's date). Raises Conflict if none is held or another full run is active,
        InvalidRequest for an account not held.
        """
        try:
            if account_ids is None:
                account_ids = await self._find_standing(run_id, today)
            else:
                await self._require_held(run_id, account_ids, today)
            if account_ids is None:
                return await self._steer(self._confirm, run_id, "confirmed", ())
            return await self._steer(
                self._confirm_accounts, run_id, "confirmed", (), list(account_ids)
            )
        except RowRefused as error:
            sole = await self._reader.find_sole()
            if sole is None:
                raise
            raise Conflict(
                f"Another full run is {sole['status']}: {sole['run_id']}. This one holds its"
                " accounts as before; confirm it after that.",
                sole["run_id"],
            ) from error

    async def _find_standing(self, run_id: uuid.UUID, today: dt.date | None) -> list[str] | None:
        """Accounts still held; None for the whole run."""
        row = await self._database.fetch_row(self._get_standing, run_id, today)
        if row is None or not row["held"]:
            return None
        standing = list(row["standing"])
        if not standing:
            raise Conflict(
                f"Nothing that run {run_id} held ({counted(row['held'], 'account')}) is held any"
                " more: later runs recorded these accounts, or they were accepted. Nothing was"
                " changed; a new run compares them with upstream as it is now.",
                run_id,
            )
        return standing if row["is_well_since"] or len(standing) < row["held"] else None

    async def _require_held(
        self, run_id: uuid.UUID, account_ids: Sequence[str], today: dt.date | None
    ) -> None:
        await self._reader.get(run_id)
        strange = [
            row["account_id"]
            for row in await self._database.fetch(
                self._get_not_held, run_id, list(account_ids), today
            )
        ]
        if strange:
            more = f" and {len(strange) - _NAMED} more" if len(strange) > _NAMED else ""
            raise InvalidRequest(
                f"The run {run_id} does not hold {', '.join(strange[:_NAMED])}{more}. Nothing was"
                f" confirmed; `trade-recon runs show {run_id}` names the accounts that it holds."
            )

    async def suspend(
        self, run_id: uuid.UUID, reason: str, confirmed_at: dt.datetime | None
    ) -> bool:
        """Stop a run with suspect upstream, unless confirmed since `confirmed_at`."""
        is_stopped = (
            await self._database.fetch_value(self._suspend, run_id, reason, confirmed_at)
            is not None
        )
        if is_stopped:
            # Once confirmed, the run continues with the differences found, or scans again.
            await self._wrap_up.clear_scan(run_id)
            await self._wrap_up.note_held_since(run_id)
            _log.error(
                "A run was stopped, since upstream is suspect.",
                action="run.suspended",
                run_id=str(run_id),
                reason=reason,
            )
        return is_stopped

    async def end_overdue(self) -> list[RunId]:
        """End runs past their time; returns them."""
        ended = [row["run_id"] for row in await self._database.fetch(self._end_overdue)]
        for run_id in ended:
            await self._wrap_up.clear_scan(run_id)
        return ended

    async def working(self, run_ids: Sequence[RunId]) -> set[RunId]:
        """Those of the runs with work left."""
        return {
            row["run_id"]
            for row in await self._database.fetch(
                self._working, [str(run_id) for run_id in run_ids]
            )
        }

    async def _steer(
        self,
        statement: str,
        run_id: uuid.UUID,
        done: str,
        already: Sequence[RunStatus],
        *values: object,
    ) -> bool:
        async with self._database.transaction() as connection:
            if await connection.fetch_value(statement, run_id, *values) is not None:
                await notify(connection, self._database.schema, str(run_id))
                return True
        row = await self._reader.get(run_id)
        if str(row["status"]) not in already:
            raise Conflict(_refusal(row, done), run_id)
        return False


def _refusal(row: Record, done: str) -> str:
    """Why an order is refused, and what to do."""
    status, ended = str(row["status"]), row["finished_at"]
    said = f"The run {_told(status)}; it cannot be {done}. Nothing was changed."
    if ended is None:
        return (
            f"{said} What a run holds can be confirmed once it has ended."
            if done == "confirmed"
            else said
        )
    if status == RunStatus.NEEDS_CONFIRMATION:
        run_id = row["run_id"]
        return (
            f"{said} To let it go on: `trade-recon confirm {run_id}`; to end it for good:"
            f" `trade-recon runs cancel {run_id}`."
        )
    holds = ", and it holds no account" if done == "confirmed" else ""
    when = f"{ended.astimezone(dt.UTC):%Y-%m-%d} at {ended.astimezone(dt.UTC):%H:%M:%S} UTC"
    return (
        f"{said} It ended on {when}{holds}. A new run takes what it left: `trade-recon reconcile`."
    )


def _told(status: str) -> str:
    match status:
        case RunStatus.SUCCEEDED | RunStatus.FAILED:
            return f"has {status}"
        case RunStatus.NEEDS_CONFIRMATION:
            return "waits for confirmation"
        case _:
            return f"is {status.replace('_', ' ')}"
