"""The client of the risk-analytics API (docs/explanation/upstream.md)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Self

import stamina
from aiolimiter import AsyncLimiter

from app.domain.contract.tables import PAGE_ROWS, Endpoint, Request
from app.domain.runs.waits import Hindrance, WaitReason
from app.domain.wording.counts import counted
from app.errors import (
    FetchFailed,
    FetchTooBroad,
    IncompleteFetch,
    RequestTooLarge,
)
from app.upstream.config import UpstreamConfig
from app.upstream.paging.pages import PageSize, RowSink, Sink
from app.upstream.paging.scan import scan_all
from app.upstream.paging.whole import SUSPECT_READS, WHOLE_READS, FetchProof, fetch_whole
from app.upstream.probe import ProbeSink
from app.upstream.resilience.attempts import PipelineLimits, Share
from app.upstream.resilience.breaker import BreakerState
from app.upstream.resilience.health import EndpointHealth, Patience
from app.upstream.resilience.pace import Limiter, Pace
from app.upstream.resilience.pipeline import RequestPipeline
from app.upstream.response import Answer
from app.upstream.stats import ApiStatistics
from app.upstream.statuses import MISSING
from app.upstream.transport import Transport, open_transport

_RETRY_SHARE = 1 / 15
"""For retries without successes: one a second of 15."""


class UpstreamClient:
    """Reads from the API, for any number of tasks in one event loop."""

    def __init__(self, transport: Transport, pace: Pace, config: UpstreamConfig) -> None:
        self.statistics = ApiStatistics()
        self._transport = transport
        self._max_ids = config.max_ids
        self._page_size = PageSize()
        self._quota = f"{config.rate:g} requests a second for all processes"
        self._timeout, self._account_timeout = config.timeout, config.account_timeout
        limits = PipelineLimits(
            deadline=config.timeout,
            outage_wait=config.outage_wait,
            retry_wait=config.retry_wait,
            longest_retry_wait=config.longest_retry_wait,
            concurrency=config.concurrency,
            breaker_failures=config.breaker_failures,
            breaker_seconds=config.breaker_seconds,
            retry_budget=config.retry_budget,
            retries_per_second=config.rate * _RETRY_SHARE,
            check_wait=config.check_wait,
        )
        self.last_answered: Request | None = None
        """The last successful request."""
        self._health = {endpoint: EndpointHealth() for endpoint in Endpoint}
        self._pipeline = RequestPipeline(
            pace, limits, transport.redact, self.statistics, transport.ask_for_one_row
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls, config: UpstreamConfig, limiter: Limiter | None = None
    ) -> AsyncIterator[Self]:
        """A client with its connections; `limiter` keeps a shared quota."""
        # stamina logs a line for each retry; the statistics count them.
        stamina.instrumentation.set_on_retry_hooks([])
        # Built here, in the running loop: an AsyncLimiter belongs to one loop.
        pace = Pace(
            limiter or AsyncLimiter(config.burst, config.burst / config.rate),
            config.rate,
            config.outage_wait,
        )
        async with open_transport(config) as transport:
            client = cls(transport, pace, config)
            try:
                yield client
            finally:
                client._pipeline.close()

    @property
    def breaker_state(self) -> BreakerState:
        """The circuit breaker's state."""
        return self._pipeline.state

    @property
    def hindrance(self) -> Hindrance | None:
        """What holds requests up."""
        found = self._pipeline.hindrance
        if found is None:
            return None
        detail = (
            self._quota
            if found.reason is WaitReason.QUOTA
            else ", ".join(filter(None, (found.detail, self._transport.address)))
        )
        return replace(found, detail=detail)

    @property
    def max_ids(self) -> int:
        """Ids that a request may name."""
        return self._max_ids

    def note_too_large(self, ids: int) -> None:
        """Halve the ids of a request: `ids` were too many for the API."""
        self._max_ids = max(1, min(self._max_ids, ids // 2))

    def health(self, endpoint: Endpoint) -> EndpointHealth:
        """How requests to an endpoint fared."""
        return self._health[endpoint]

    async def fetch(
        self,
        request: Request,
        sink: Sink,
        *,
        most_rows: int | None = None,
        missing_is_empty: bool = False,
        is_suspect: bool = False,
    ) -> FetchProof:
        """Hand all rows of a read to the sink, proven complete; after any error they are worthless.

        A suspect is given up sooner and delays nothing; `missing_is_empty` accepts 404 and 410.
        IncompleteFetch: not proven. RequestTooLarge: ask for half the ids. FetchTooBroad: above
        `most_rows`.
        """

        async def read(skip: int) -> Answer:
            answer = await self._page(
                request, skip, missing_is_empty=missing_is_empty, is_suspect=is_suspect
            )
            rows = max(answer.total or 0, skip + len(answer.rows))
            if most_rows is not None and rows > most_rows:
                raise FetchTooBroad(f"{subject} would bring more than {counted(most_rows, 'row')}.")
            return answer

        subject = f"The read of {request.endpoint.value}"
        use, health = ApiStatistics(), self._health[request.endpoint]
        readings = SUSPECT_READS if is_suspect or most_rows is not None else WHOLE_READS
        try:
            with use.recording():
                rows, pages = await fetch_whole(
                    read, sink, subject, self._page_size, health.patience, readings
                )
        except IncompleteFetch as error:
            # Where rows are missing behind whole pages a smaller request tells more: that may be
            # the API's largest `skip`.
            if not error.skip:
                health.note_unproven()
            raise
        health.note_whole()
        return FetchProof(rows, pages, use.requests)

    async def probe(self, request: Request) -> None:
        """Raise IncompleteFetch unless a read of an account with rows is proven whole at once."""

        async def read(skip: int) -> Answer:
            return await self._page(request, skip, is_suspect=True)

        sink, subject = (
            ProbeSink(request),
            f"A read of {request.endpoint.value} for another account",
        )
        rows, _ = await fetch_whole(read, sink, subject, patience=Patience(0))
        if not rows:
            raise IncompleteFetch(f"{subject}, which has rows, brought none.")
        self._health[request.endpoint].note_whole()

    async def scan(
        self,
        request: Request,
        sink: RowSink,
        *,
        missing_is_empty: bool = False,
        is_suspect: bool = False,
    ) -> int:
        """Hand rows to the sink, each proving only itself, and count them.

        IncompleteFetch: a scan of all accounts brought fewer rows than named.
        """

        async def read(skip: int) -> Answer:
            return await self._page(
                request, skip, missing_is_empty=missing_is_empty, is_suspect=is_suspect
            )

        subject, is_of_all = (
            f"The scan of {request.endpoint.value}",
            not request.account_ids and not request.logins,
        )
        return await scan_all(read, sink, subject, self._page_size, is_of_all=is_of_all)

    async def sample(self, request: Request, *, rows: int = 1, is_suspect: bool = False) -> Answer:
        """A read's first rows and total."""
        return await self._page(request, 0, limit=rows, is_suspect=is_suspect)

    async def _page(
        self,
        request: Request,
        skip: int,
        *,
        limit: int = PAGE_ROWS,
        missing_is_empty: bool = False,
        is_suspect: bool = False,
    ) -> Answer:
        params = {**request.params(), "limit": str(limit), "skip": str(skip), "include-total": "1"}
        share = self._share_of(request, is_suspect=is_suspect)
        health = self._health[request.endpoint]
        try:
            answer = await self._pipeline.run(
                request.endpoint, lambda: self._transport.get(request.endpoint, params), share
            )
        except FetchFailed as error:
            health.failed()
            if missing_is_empty and error.status in MISSING:
                return Answer((), 0)
            error.skip = skip
            raise
        except RequestTooLarge:
            health.failed()
            raise
        health.answered()
        self.last_answered = request
        self.statistics.note_page(request.endpoint, len(answer.rows))
        return answer

    def _share_of(self, request: Request, *, is_suspect: bool) -> Share:
        named = max(len(request.account_ids), len(request.logins))
        # A suspect gets the time of one account: one of its accounts is at fault.
        seconds = self._account_timeout * (1 if is_suspect else named)
        return Share(
            min(self._timeout, seconds) if named else None,
            is_divisible=bool(named) and request.is_divisible,
            names_several=request.names_several,
            is_suspect=is_suspect,
        )
