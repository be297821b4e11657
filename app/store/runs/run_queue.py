"""A run's preparation, and its queue of accounts."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from app.domain.ids import AccountId
from app.errors import ClaimLost
from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.database.transaction import SWEEP_SECONDS, Connection

_MOST_DOUBTS = 50_000
"""Doubted dates that one audit rereads."""


@dataclass(frozen=True, slots=True)
class Queued:
    """Accounts that need nothing (`unchanged`), or are left out (`skipped`).

    `is_all`: only those backing off are; `beyond`: over a full run's limit; `healed`: whole since
    ids were given back.
    """

    unchanged: int = 0
    skipped: int = 0
    is_all: bool = False
    beyond: int = 0
    healed: int = 0


class Queue:
    """A run's accounts, queued in one transaction."""

    def __init__(
        self,
        connection: Connection,
        sql: Mapping[str, str],
        run_id: uuid.UUID,
        worker_id: uuid.UUID,
    ) -> None:
        self.connection = connection
        self._sql = sql
        self._run_id = run_id
        self._worker_id = worker_id

    async def mismatched(
        self, *, retry: bool, limit: int | None, among: Sequence[str] | None = None
    ) -> Queued:
        """Queue mismatched accounts, all or `among` these; `retry`: also those backing off."""
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
        """Queue named accounts."""
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
        """Queue accounts (None: of all) that an audit found different, or all with `by_rows`, but
        `unanswered` ones.
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
        """As the last step, record accounts as healed by ids given back; their number."""
        ids = None if account_ids is None else list(account_ids)
        return int(
            await self.connection.fetch_value(
                self._sql["note_given_ids"], self._run_id, ids, list(without), seconds=SWEEP_SECONDS
            )
        )

    async def finish(self, queued: Queued, maintenance: Mapping[str, object]) -> None:
        """Let batches begin at the commit; ClaimLost after a takeover."""
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
    """One worker prepares a run until it is done or dead."""

    def __init__(self, database: Database, worker_id: uuid.UUID, lease_seconds: float) -> None:
        self._database = database
        self._worker_id = worker_id
        self._lease_seconds = lease_seconds
        self._sql = database.queries("runs/run_queue")

    async def take(self, run_id: uuid.UUID) -> bool:
        """Take the preparation, even from a dead worker; whether that worked."""
        return (
            await self._database.fetch_value(
                self._sql["take_preparation"], run_id, self._worker_id, self._lease_seconds
            )
            is not None
        )

    @contextlib.asynccontextmanager
    async def transaction(self, run_id: uuid.UUID) -> AsyncIterator[Connection]:
        """A transaction, committed while this worker prepares the run; else ClaimLost."""
        async with self._database.transaction(statement_seconds=SWEEP_SECONDS) as connection:
            yield connection
            await _hold(connection, self._sql, run_id, self._worker_id)

    @contextlib.asynccontextmanager
    async def queue(self, run_id: uuid.UUID) -> AsyncIterator[Queue]:
        """The run's queue, committed if finished."""
        async with self._database.transaction(statement_seconds=SWEEP_SECONDS) as connection:
            yield Queue(connection, self._sql, run_id, self._worker_id)

    async def count_accounts(self) -> int:
        """The number of known accounts."""
        return int(await self._database.fetch_value(self._sql["count_accounts"]))

    async def oldest_accounts(self, limit: int) -> list[AccountId]:
        """The accounts unchecked for longest."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._sql["get_oldest_accounts"], limit)
        ]


async def _hold(
    connection: Connection, sql: Mapping[str, str], run_id: uuid.UUID, worker_id: uuid.UUID
) -> None:
    """Lock the preparation, last, until the commit."""
    if await connection.fetch_value(sql["hold_preparation"], run_id, worker_id) is None:
        raise ClaimLost(
            "Another worker prepares the run by now, or it was paused or ended: nothing of ours"
            " counts."
        )
