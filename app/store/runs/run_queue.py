"""The preparation of runs: which worker does it, and the accounts that it puts into them."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from app.errors import ClaimLost
from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.database.transaction import SWEEP_SECONDS, Connection

_MOST_DOUBTS = 50_000
"""Dates that one audit reads again at most, since upstream may have been sick when it lowered them;
the others come next.
"""


@dataclass(frozen=True, slots=True)
class Queued:
    """How many accounts of a run need nothing, and how many are left out: they back off, or there
    are more than it may take.

    `is_all`: none that needs it is left out but those that back off, of all accounts or of all that
    were written lately. `beyond` are those of a full run that are more than it may take, and that
    wait for the next one. `healed` are whole since ids were given back.
    """

    unchanged: int = 0
    skipped: int = 0
    is_all: bool = False
    beyond: int = 0
    healed: int = 0


class Queue:
    """Puts accounts into one run, in one transaction that counts only once it is finished."""

    def __init__(
        self,
        connection: Connection,
        sql: Mapping[str, str],
        run_id: uuid.UUID,
        worker_id: uuid.UUID,
    ) -> None:
        """`sql` are the statements of `Preparations`."""
        self.connection = connection
        """Whatever else is done over it belongs to the same transaction."""
        self._sql = sql
        self._run_id = run_id
        self._worker_id = worker_id

    async def mismatched(
        self, *, retry: bool, limit: int | None, among: Sequence[str] | None = None
    ) -> Queued:
        """Mismatched accounts, of all or `among` these; without `retry` those that back off are
        left out.
        """
        limits, values = (
            ("true", ()) if among is None else ("account_id = ANY($4::text[])", (list(among),))
        )
        statement = fill(self._sql["enqueue_mismatched"], among=limits)
        row = await self.connection.fetch_row(
            statement, self._run_id, retry, limit, *values, seconds=SWEEP_SECONDS
        )
        return (
            Queued(
                skipped=int(row["skipped"]), is_all=not row["is_limited"], beyond=int(row["beyond"])
            )
            if row
            else Queued()
        )

    async def accounts(self, account_ids: Sequence[str]) -> Queued:
        """Named accounts."""
        await self.connection.execute(
            self._sql["enqueue_accounts"], self._run_id, list(account_ids)
        )
        return Queued()

    async def audited(
        self,
        account_ids: Sequence[str] | None,
        *,
        limit: int | None,
        unanswered: Sequence[str],
        by_rows: bool,
    ) -> Queued:
        """The accounts (None: of all) that an audit found different or reads again, but those about
        which upstream gave no answer.

        With `by_rows` all of them are compared row by row.
        """
        ids = None if account_ids is None else list(account_ids)
        await self.connection.execute(
            self._sql["take_doubts"], self._run_id, ids, _MOST_DOUBTS, seconds=SWEEP_SECONDS
        )
        values = self._run_id, ids, limit, list(unanswered), by_rows
        row = await self.connection.fetch_row(
            self._sql["enqueue_audited"], *values, seconds=SWEEP_SECONDS
        )
        return Queued(int(row["equal"]), int(row["skipped"]) + len(unanswered)) if row else Queued()

    async def given_ids(self, account_ids: Sequence[str] | None, without: Sequence[str]) -> int:
        """Note the accounts (of these, None: all) that are whole since the run gave ids back, as
        healed by it; their number.

        To be called once all others are put into the run.
        """
        ids = None if account_ids is None else list(account_ids)
        return int(
            await self.connection.fetch_value(
                self._sql["note_given_ids"], self._run_id, ids, list(without), seconds=SWEEP_SECONDS
            )
        )

    async def finish(self, queued: Queued, maintenance: Mapping[str, object]) -> None:
        """Let the batches begin once the transaction is committed; ClaimLost if the run is not this
        worker's to prepare any more.
        """
        await _hold(self.connection, self._sql, self._run_id, self._worker_id)
        done = {
            **maintenance,
            **({"accounts_beyond_limit": queued.beyond} if queued.beyond else {}),
        }
        values = self._run_id, queued.skipped, queued.unchanged, done, queued.is_all, queued.healed
        await self.connection.execute(
            self._sql["finish_preparation"], *values, seconds=SWEEP_SECONDS
        )


class Preparations:
    """Who prepares a run: one worker, until it is done or dead."""

    def __init__(self, database: Database, worker_id: uuid.UUID, lease_seconds: float) -> None:
        """Read the statements."""
        self._database = database
        self._worker_id = worker_id
        self._lease_seconds = lease_seconds
        self._sql = database.queries("runs/run_queue")

    async def take(self, run_id: uuid.UUID) -> bool:
        """Whether this worker is the one to prepare the run; it takes over from one without a
        heartbeat.
        """
        return (
            await self._database.fetch_value(
                self._sql["take_preparation"], run_id, self._worker_id, self._lease_seconds
            )
            is not None
        )

    @contextlib.asynccontextmanager
    async def transaction(self, run_id: uuid.UUID) -> AsyncIterator[Connection]:
        """A transaction that is committed only if the run is still this worker's to prepare.

        Raises ClaimLost if another one prepares it by now, or nobody shall: everything done inside
        is undone.
        """
        async with self._database.transaction(statement_seconds=SWEEP_SECONDS) as connection:
            yield connection
            await _hold(connection, self._sql, run_id, self._worker_id)

    @contextlib.asynccontextmanager
    async def queue(self, run_id: uuid.UUID) -> AsyncIterator[Queue]:
        """Where the run's accounts are put into, for good if the queue is finished."""
        async with self._database.transaction(statement_seconds=SWEEP_SECONDS) as connection:
            yield Queue(connection, self._sql, run_id, self._worker_id)

    async def count_accounts(self) -> int:
        """How many accounts are known."""
        return int(await self._database.fetch_value(self._sql["count_accounts"]))

    async def oldest_accounts(self, limit: int) -> list[str]:
        """The accounts that were not checked for the longest time."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._sql["get_oldest_accounts"], limit)
        ]


async def _hold(
    connection: Connection, sql: Mapping[str, str], run_id: uuid.UUID, worker_id: uuid.UUID
) -> None:
    """Make sure that the run is the worker's to prepare until the commit; done last, so that nobody
    waits for the row for long.
    """
    if await connection.fetch_value(sql["hold_preparation"], run_id, worker_id) is None:
        raise ClaimLost(
            "Another worker prepares the run by now, or it was paused or ended: nothing of ours"
            " counts."
        )
