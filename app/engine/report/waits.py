"""Why a run waits."""

import datetime as dt
import uuid
from collections.abc import Mapping

from app.domain.ids import RunId
from app.domain.runs import waits
from app.domain.runs.waits import Process, Wait, WaitReason
from app.domain.states import RunKind, RunStatus
from app.engine.records import RunRow
from app.store.runs.waits import RunWaits

_SILENT_SHARE = 0.5
"""Share of a lease before a process is silent."""
_GRACE = dt.timedelta(seconds=3)
"""Time to take a run up."""


class WaitReasons:
    """Reads why runs wait."""

    def __init__(self, store: RunWaits, lease_seconds: float) -> None:
        self._store = store
        self._lease = dt.timedelta(seconds=lease_seconds)

    async def of(self, run: RunRow) -> list[Wait]:
        """Why it waits; empty if it does not."""
        status = run.status
        if status == RunStatus.PAUSED:
            return [waits.paused(run.paused_at, run.run_id, dt.datetime.now(dt.UTC))]
        if status not in (RunStatus.QUEUED, RunStatus.RUNNING):
            return []
        processes, now = await self._store.processes(run.run_id)
        silent_from = now - _SILENT_SHARE * self._lease
        living = {
            worker: each for worker, each in processes.items() if each.heartbeat_at > silent_from
        }
        held_back = await self._held_back(
            run, {worker: each for worker, each in processes.items() if worker not in living}, now
        )
        hindered = waits.hindered(list(living.values()), now)
        if run.kind == RunKind.INSPECT:
            # Other hindrances concern upstream, which an inspection does not ask.
            hindered = [wait for wait in hindered if wait.reason is WaitReason.LOCKS]
        if not living and now - run.created_at > _GRACE:
            hindered.append(waits.unattended())
        found = [*hindered, *held_back]
        if status == RunStatus.QUEUED and not found and now - run.created_at > _GRACE:
            runs, first = await self._store.under_way(run.run_id)
            found += [waits.turn(runs, first)] if runs else []
        if run.prepared_at is not None and run.waiting and not hindered:
            found += await self._idle(run.run_id, now, with_locks=not held_back)
        return found

    async def _held_back(
        self, run: RunRow, silent: Mapping[uuid.UUID, Process], now: dt.datetime
    ) -> list[Wait]:
        """Accounts of silent processes within their lease."""
        if run.prepared_at is None:
            preparing = None if run.prepared_by is None else silent.get(run.prepared_by)
            free_at = None if preparing is None else preparing.heartbeat_at + self._lease
            return (
                []
                if preparing is None or free_at is None or free_at < now
                else [waits.held_preparation(preparing, free_at, now)]
            )
        # Leases of others are over.
        leased = {
            worker: each
            for worker, each in silent.items()
            if each.heartbeat_at + 2 * self._lease > now
        }
        held = await self._store.held(run.run_id, leased)
        free = {
            worker: max(leased[worker].heartbeat_at, claimed_at) + self._lease
            for worker, (_, claimed_at) in held.items()
        }
        return [
            waits.held_accounts(held[worker][0], leased[worker], at, now)
            for worker, at in free.items()
            if at > now
        ]

    async def _idle(self, run_id: RunId, now: dt.datetime, *, with_locks: bool) -> list[Wait]:
        idle = await self._store.idle(run_id)
        if idle.claimed:
            return []
        if idle.due:
            blocker = await self._store.blocker() if with_locks else None
            return [] if blocker is None else [waits.locked(idle.due, blocker, now)]
        if idle.postponed and idle.postponed_until is not None:
            return [waits.postponed(idle.postponed, idle.postponed_until, now)]
        return []
