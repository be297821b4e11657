"""Fetches planned requests into staging."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app.domain.contract.tables import Request
from app.domain.planning.planned_request import PlannedRequest
from app.errors import IncompleteFetch
from app.store.apply.apply import Applier
from app.store.apply.fingerprints import Fingerprints, Slice
from app.store.staging.sink import StageSink
from app.store.staging.staged_fetch import StagedFetch
from app.store.staging.staging import Staging
from app.upstream.client import UpstreamClient
from app.upstream.paging.whole import FetchProof


@dataclass(frozen=True, slots=True)
class Fetched:
    """A proven fetch, with its slice's fingerprints `before`."""

    staged: StagedFetch
    proven: Slice
    before: Fingerprints
    requests: int
    rows: int


def slice_of(planned: PlannedRequest) -> Slice:
    """The slice that a request proves."""
    request = planned.request
    if request.endpoint.is_trades:
        if request.date_from is None or request.date_to is None:
            raise ValueError("closed trades are asked for from a date to a date")
        return Slice(request.endpoint, planned.account_ids, (request.date_from, request.date_to))
    return Slice(request.endpoint, planned.account_ids, request.dates or None)


class Fetcher:
    """Reads planned requests into staging."""

    def __init__(self, client: UpstreamClient, staging: Staging, applier: Applier) -> None:
        self._client = client
        self._staging = staging
        self._applier = applier

    @asynccontextmanager
    async def fetched(self, planned: PlannedRequest) -> AsyncIterator[Fetched]:
        """Read one request whole; staging is dropped at the end."""
        proven = slice_of(planned)
        before = await self._applier.fingerprints(proven)
        sink = await self._begin(planned)
        try:
            proofs = [await self._read(part, planned, sink) for part in planned.requests]
            await sink.seal()
            yield Fetched(
                sink.staged,
                proven,
                before,
                sum(proof.requests for proof in proofs),
                sum(proof.rows for proof in proofs),
            )
        finally:
            await sink.forget()

    async def _begin(self, planned: PlannedRequest) -> StageSink:
        request = planned.request
        return await self._staging.begin(
            request.endpoint,
            request.logins or request.account_ids,
            by_login=bool(request.logins),
            account_ids=planned.account_ids,
            first_day=self._applier.window.first,
        )

    async def _read(self, request: Request, planned: PlannedRequest, sink: StageSink) -> FetchProof:
        proof = await self._client.fetch(
            request,
            sink,
            most_rows=planned.most_rows,
            missing_is_empty=planned.missing_is_empty,
            is_suspect=planned.is_suspect,
        )
        if request.hours and not await sink.end_part():
            raise IncompleteFetch(
                "The API sends the same rows for different hours: what it has of a date cannot be"
                " read by hours."
            )
        return proof
