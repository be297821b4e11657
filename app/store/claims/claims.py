"""Which worker holds which accounts, with a heartbeat per worker."""

import contextlib
import math
import os
import socket
import time
import uuid
from collections.abc import Mapping, Sequence

import msgspec

from app.domain.accounts.hold import Shown
from app.domain.ids import ClaimId, RunId, WorkerId
from app.domain.runs.waits import Hindrance
from app.errors import ReconError
from app.store.claims.claim import BrokenOff, Claim, FirstPass, first_pass_of, noted, with_written
from app.store.database.errors import OF_ROWS
from app.store.database.pool import Database
from app.store.database.session import COMMAND_SECONDS

_ANSWER_SECONDS = 5.0
"""Then the heartbeat reconnects; several tries fit a lease."""
_LEAVE_SECONDS = 1.0
_LOST_SECONDS = 600.0
"""A failed claim may still commit within this."""


class _UndoneError(Exception):
    """Rolls back a probe."""


_DUE = 1000
"""Accounts checked for locks."""
_LOCKED = (
    "The account was not compared: another transaction holds its row in trade_recon. Nothing was"
    " written; the next run compares it once that transaction is over."
)


class Claims:
    """Claims accounts; the database clock decides expiry."""

    def __init__(self, database: Database, worker_id: WorkerId, lease_seconds: float) -> None:
        self._database = database
        self.worker_id = worker_id
        self.lease_seconds = lease_seconds
        sql = database.queries("claims/claims")
        self._beat = sql["beat"]
        self._leave = sql["leave"]
        self._purge = sql["purge_dead_workers"]
        self._claim = sql["claim_accounts"]
        self._first_passes = sql["get_first_passes"]
        self._written = sql["get_written_of_accounts"]
        self._release = sql["release_claim"]
        self._is_held = sql["is_held"]
        self._note_first_passes = sql["note_first_passes"]
        self._record_gone = sql["record_gone"]
        self._release_lost = sql["release_lost_claims"]
        self._probe, self._record_unwritable = sql["probe_accounts"], sql["record_unwritable"]
        self._waiting, self._due = sql["get_waiting"], sql["get_due"]
        self._held = set[ClaimId]()
        self._lost_until = -math.inf

    async def beat(self, hindrance: Hindrance | None = None, only_run: RunId | None = None) -> int:
        """Send a heartbeat; returns claims expired since the last."""
        told = (
            (None,) * 5
            if hindrance is None
            else (
                hindrance.reason.value,
                hindrance.detail,
                hindrance.since,
                hindrance.next_in,
                hindrance.ends_in,
            )
        )
        values = (
            self.worker_id,
            socket.gethostname(),
            os.getpid(),
            self.lease_seconds,
            only_run,
            *told,
        )
        (row,) = await self._database.ask(
            self._beat, *values, seconds=min(self.lease_seconds / 4, _ANSWER_SECONDS)
        )
        return int(row["lost"])

    async def leave(self) -> None:
        """Release everything at process end."""
        await self._database.ask(self._leave, self.worker_id, seconds=_LEAVE_SECONDS)

    async def purge_dead_workers(self) -> None:
        """Delete heartbeats older than a day."""
        await self._database.execute(self._purge)

    async def claim(self, run_id: RunId, limit: int) -> Claim | None:
        """Claim the run's next accounts; None without any."""
        claim_id = ClaimId(uuid.uuid4())
        # Remembered before it is made: any other claim of ours in the database lost its answer.
        self._held.add(claim_id)
        try:
            claim = await self._take(run_id, claim_id, limit)
        except BaseException:
            self._held.discard(claim_id)
            self._lost_until = time.monotonic() + _LOST_SECONDS
            raise
        if claim is None:
            self._held.discard(claim_id)
        return claim

    async def _take(self, run_id: RunId, claim_id: ClaimId, limit: int) -> Claim | None:
        rows = await self._database.fetch(
            self._claim, run_id, claim_id, self.worker_id, limit, self.lease_seconds
        )
        if not rows:
            return None
        known = [row["account_id"] for row in rows if row["postponed"] or row["begun"]]
        found = await self._database.fetch(self._first_passes, run_id, known) if known else []
        passes = {row["account_id"]: first_pass_of(row) for row in found}
        # A holder that died recorded nothing; its copies show what it wrote.
        written = [row["account_id"] for row in rows if row["is_written"]]
        for row in await self._database.fetch(self._written, run_id, written) if written else ():
            passes[row["account_id"]] = with_written(
                passes.get(row["account_id"], FirstPass()), row
            )
        postponed = {row["account_id"] for row in rows if row["postponed"]}
        return Claim(
            claim_id,
            run_id,
            tuple(sorted(row["account_id"] for row in rows)),
            {account_id: each for account_id, each in passes.items() if account_id in postponed},
            {
                row["account_id"]: msgspec.convert(row["confirmed"], Shown)
                for row in rows
                if row["confirmed"] is not None
            },
            BrokenOff(
                {
                    account_id: each
                    for account_id, each in passes.items()
                    if account_id not in postponed
                }
            ),
        )

    async def set_unwritable_apart(
        self, run_id: RunId, error: ReconError, account_ids: Sequence[str] | None = None
    ) -> list[str]:
        """Fail accounts whose trade_recon row cannot be written.

        `account_ids` None: all waiting. Raises `error` if none, or all of several, are unwritable.
        """
        ids = (
            [row["account_id"] for row in await self._database.fetch(self._waiting, run_id)]
            if account_ids is None
            else list(account_ids)
        )
        refused = await self._find_unwritable(ids)
        if not refused or len(refused) == len(ids) > 1:
            raise error
        details = [
            f"The account cannot be reconciled: its row in trade_recon cannot be written: {reason}"
            for reason in refused.values()
        ]
        await self._database.execute(self._record_unwritable, run_id, list(refused), details)
        return sorted(refused)

    async def due(self, run_id: RunId) -> list[str]:
        """The first unclaimed waiting accounts."""
        return [row["account_id"] for row in await self._database.fetch(self._due, run_id, _DUE)]

    async def set_locked_apart(self, run_id: RunId, account_ids: Sequence[str]) -> None:
        """Fail accounts with locked trade_recon rows."""
        await self._database.execute(
            self._record_unwritable, run_id, list(account_ids), [_LOCKED] * len(account_ids)
        )

    async def set_refused_apart(self, run_id: RunId, refused: Mapping[str, str]) -> None:
        """Fail accounts that trade_recon rejects."""
        if refused:
            details = [
                f"The account cannot be reconciled: its row in trade_recon is refused: {reason}"
                for reason in refused.values()
            ]
            await self._database.execute(self._record_unwritable, run_id, list(refused), details)

    async def _find_unwritable(self, account_ids: Sequence[str]) -> dict[str, str]:
        """Bisect to unwritable rows, committing nothing."""
        refused: dict[str, str] = {}
        waiting = [list(account_ids)] if account_ids else []
        while waiting:
            part = waiting.pop()
            try:
                with contextlib.suppress(_UndoneError):
                    async with self._database.transaction(
                        statement_seconds=COMMAND_SECONDS
                    ) as connection:
                        await connection.execute(self._probe, part, uuid.uuid4(), self.worker_id)
                        raise _UndoneError
            except OF_ROWS as met:
                if len(part) > 1:
                    waiting += [part[: len(part) // 2], part[len(part) // 2 :]]
                else:
                    refused[part[0]] = str(met)
        return refused

    async def release_lost(self) -> int:
        """Release our claims whose answers were lost."""
        if time.monotonic() > self._lost_until:
            return 0
        return await self._database.execute(self._release_lost, self.worker_id, list(self._held))

    async def record_gone(self, run_id: RunId) -> int:
        """Record accounts deleted while waiting; returns their number."""
        return int(await self._database.fetch_value(self._record_gone, run_id) or 0)

    async def is_held(self, claim: Claim) -> bool:
        """Whether any account is still held."""
        return bool(
            await self._database.fetch_value(self._is_held, claim.claim_id, list(claim.account_ids))
        )

    async def release(self, claim: Claim, account_ids: Sequence[str] | None = None) -> None:
        """Return accounts unrecorded to the run (None: all).

        Interrupted work is saved for the next worker.
        """
        if passes := claim.broken_off.passes:
            await self._database.execute(
                self._note_first_passes,
                claim.run_id,
                claim.claim_id,
                [*map(noted, passes.items())],
            )
        await self._database.execute(
            self._release,
            claim.claim_id,
            list(account_ids if account_ids is not None else claim.account_ids),
        )
        if account_ids is None:
            self._held.discard(claim.claim_id)
