"""Reads of the run, made by the first batch that needs them and copied by all.

Entry points: `RunReads.of`, `RunReads.proven`, `RunReads.fetched`.

Invariants:
1. One batch of all processes makes a read; if it or its process fails, another does.
2. A read that cannot be proven, is too large or was lost is dropped: its accounts are asked by id.
3. Slices written since the read began are left alone, and asked for by id.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from app.domain.ids import RunId
from app.domain.planning.planned_request import PlannedRequest, SharedRead
from app.engine.batch.requests.fetch import Fetched, slice_of
from app.engine.batch.requests.other_rows import bring_in_of_shared
from app.engine.batch.state import BatchState
from app.engine.config import EngineConfig
from app.engine.isolation.spoiled import SPOILED
from app.engine.repositories import Repositories
from app.errors import FetchTooBroad
from app.store.apply.fingerprints import Slice
from app.store.staging.shared_reads import DroppedRead, ProvenRead
from app.store.staging.sink import StageSink
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient

_log = get_logger(__name__)
_LOOK_SECONDS = 0.25
"""Between looks whether another process has read it."""
_PATIENCE = 900.0
"""Seconds for which another process may read it."""


class RunReads:
    """Makes and hands out the reads that runs share; for all batches of a process."""

    def __init__(self, client: UpstreamClient, config: EngineConfig) -> None:
        self._client = client
        self._config = config
        self._locks: defaultdict[tuple[RunId, SharedRead], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def of(self, store: Repositories, run_id: RunId) -> set[SharedRead]:
        """The run's reads that were not dropped."""
        for key in [key for key, lock in self._locks.items() if not lock.locked()]:
            del self._locks[key]
        return await store.shared_reads.of(run_id)

    async def proven(
        self, store: Repositories, state: BatchState, read: SharedRead
    ) -> ProvenRead | None:
        """The proven read, made if need be; None on stop.

        Raises FetchTooBroad if it is dropped, and errors of the API as a whole.
        """
        run_id, begun = state.claim.run_id, time.monotonic()
        while not state.is_stopping:
            async with self._locks[run_id, read]:
                found = await store.shared_reads.get(run_id, read)
                if isinstance(found, DroppedRead):
                    state.shared.discard(read)
                    raise FetchTooBroad(f"It is asked for by id: {found.reason}.")
                if found is not None:
                    return found
                if await store.shared_reads.take(run_id, read, self._config.shared_read_bytes):
                    # It may be long: a stop gives it up at once, and another worker begins again.
                    await state.stop.limit(self._make(store, state, read), 0.0)
                    continue
            if time.monotonic() - begun > _PATIENCE:
                await self._drop(store, state, read, "another process did not finish reading it")
            await asyncio.sleep(_LOOK_SECONDS)
        return None

    @asynccontextmanager
    async def fetched(
        self, store: Repositories, state: BatchState, planned: PlannedRequest, proven: ProvenRead
    ) -> AsyncIterator[Fetched]:
        """A copy of the rows of these accounts; FetchTooBroad if the read is gone."""
        read = planned.shared
        if read is None:
            raise ValueError("the request is not shared")
        theirs = slice_of(planned)
        before = await store.applier.fingerprints_since(theirs, proven.horizon)
        owners = (
            sorted({login for each in planned.logins for login in each})
            if read.endpoint.is_trades
            else planned.account_ids
        )
        sink = await self._begin(store, read)
        try:
            if not await store.shared_reads.copy(read, proven, owners, sink.staged):
                reason = "its rows are gone, as PostgreSQL restarted or the run was paused"
                await self._drop(store, state, read, reason)
                raise FetchTooBroad(f"It is asked for by id: {reason}.")
            await sink.seal()
            yield Fetched(sink.staged, theirs, before, 0, sink.staged.rows)
        finally:
            await sink.forget()

    async def _make(self, store: Repositories, state: BatchState, read: SharedRead) -> None:
        """Read it from upstream, for the run; or drop it."""
        run_id = state.claim.run_id
        horizon = await store.applier.horizon()
        sink = await self._begin(store, read)
        is_kept = False
        try:
            if reason := await self._read(store, state, read, sink):
                await self._drop(store, state, read, reason)
            elif (size := await store.shared_reads.bytes_of(read, sink.staged)) is None:
                reason = "a row of it cannot be told to be any account's"
                await self._drop(store, state, read, reason)
            else:
                # Not if another worker read it, since this one was away for longer than its lease.
                is_kept = await store.shared_reads.keep(run_id, read, sink.staged, horizon, size)
        except BaseException:
            await store.shared_reads.give_back(run_id, read)
            raise
        finally:
            if not is_kept:
                await sink.forget()

    async def _read(
        self, store: Repositories, state: BatchState, read: SharedRead, sink: StageSink
    ) -> str | None:
        """Why it could not be read, if so."""
        context = state.write_context((), self._config, store.claims.worker_id)
        try:
            proof = await self._client.fetch(read.request, sink, most_rows=read.most_rows)
            await sink.seal()
            proven = Slice(read.endpoint, (), read.dates)
            await store.applier.reject(sink.staged, proven, context)
            await bring_in_of_shared(store, state, sink.staged, proven, context)
        except SPOILED as error:
            return str(error)
        _log.info(
            "Dates are read for all accounts of the run.",
            action="run.read_shared",
            run_id=str(state.claim.run_id),
            endpoint=read.endpoint.value,
            dates=[day.isoformat() for day in read.days],
            rows=proof.rows,
            requests=proof.requests,
        )
        return None

    async def _drop(
        self, store: Repositories, state: BatchState, read: SharedRead, reason: str
    ) -> None:
        _log.warning(
            "Dates that the run's accounts lack alike are asked for by id.",
            action="run.read_dropped",
            run_id=str(state.claim.run_id),
            endpoint=read.endpoint.value,
            dates=[day.isoformat() for day in read.days],
            reason=reason,
        )
        await store.shared_reads.drop(state.claim.run_id, read, reason)
        state.shared.discard(read)

    async def _begin(self, store: Repositories, read: SharedRead) -> StageSink:
        return await store.staging.begin(read.endpoint, first_day=store.applier.window.first)


def without_unseen(state: BatchState, planned: PlannedRequest, fetched: Fetched) -> Fetched:
    """Count slices of which rows are stored or counted, but none is in the shared read, as changed:
    upstream may spell their account otherwise, which only a request by id tells.
    """
    if planned.shared is None:
        return fetched
    seen, days = fetched.staged.accounts or {}, planned.shared.days
    stored = fetched.before.slices
    unseen = [
        each
        for each in planned.account_ids
        if not seen.get(each) and (each in stored or state.views[each].counts_on(days))
    ]
    return replace(fetched, before=fetched.before.without(unseen))
