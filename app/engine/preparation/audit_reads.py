"""Reads an audit's accounts by scan or id."""

import datetime as dt

from app.domain.contract.tables import Request
from app.domain.planning.planned_request import PlannedRequest
from app.engine.isolation.budget import Spent
from app.engine.isolation.control_requests import Control, Controls
from app.engine.isolation.search import Search
from app.engine.repositories import Repositories
from app.errors import EndpointFailed, FetchFailed, ReconError, RequestTooLarge
from app.store.detect.scan_sink import ScanSink
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient

_log = get_logger(__name__)


class AuditReads:
    """Reads into one sink, noting `unanswered` accounts."""

    def __init__(
        self,
        store: Repositories,
        client: UpstreamClient,
        sink: ScanSink,
        *,
        allowance: int,
        today: dt.date,
    ) -> None:
        self._client = client
        self._sink = sink
        self._reader = _ScanReader(client, sink)
        self._search = Search(
            client,
            _controls(client, store),
            self._reader,
            allowance=Spent(allowance),
            today=today,
            proves=False,
        )

    @property
    def unanswered(self) -> set[str]:
        """Accounts without an answer."""
        return self._reader.unanswered

    @property
    def spent(self) -> int:
        """Requests spent in vain."""
        return self._search.spent.new

    async def read(self, planned: PlannedRequest) -> None:
        """Read accounts; EndpointFailed if none is answered."""
        await self._search.read(planned)
        for reason in self._search.silent:
            raise EndpointFailed(reason)

    async def scan(self, request: Request) -> bool:
        """Scan without ids; whether it finished."""
        try:
            await self._client.scan(request, self._sink)
        except (FetchFailed, RequestTooLarge) as error:
            _log.warning(
                "A scan could not be finished; what it did not show is asked for by id. Accounts"
                " that only upstream has may be missing.",
                action="audit.scan_unfinished",
                endpoint=request.endpoint.value,
                reason=str(error),
            )
            return False
        return True


class _ScanReader:
    """Needs no proof and blames no account."""

    def __init__(self, client: UpstreamClient, sink: ScanSink) -> None:
        self._client = client
        self._sink = sink
        self.unanswered: set[str] = set()

    async def read(self, planned: PlannedRequest) -> int | None:
        return await self._client.scan(
            planned.request,
            self._sink,
            missing_is_empty=planned.missing_is_empty,
            is_suspect=planned.is_suspect,
        )

    def is_known(self, planned: PlannedRequest) -> bool:
        del planned
        return False

    def can_wait(self, planned: PlannedRequest) -> bool:
        del planned
        return False

    def may_have_rows(self, planned: PlannedRequest) -> bool:
        # Unseen accounts are asked for twice, then judged by the batch.
        del planned
        return False

    def first_day(self, planned: PlannedRequest) -> dt.date | None:
        del planned
        return None

    def failed(self, planned: PlannedRequest, error: ReconError) -> None:
        self.untried(planned, str(error))

    def untried(self, planned: PlannedRequest, reason: str) -> None:
        for account_id in planned.account_ids:
            _log.warning(
                "The API gives no answer about an account.",
                action="audit.unanswered",
                account_id=account_id,
                reason=reason,
            )
        self.unanswered.update(planned.account_ids)

    def read_in_parts(self, planned: PlannedRequest) -> None:
        """Each row proves itself."""


def _controls(client: UpstreamClient, store: Repositories) -> Controls:
    async def controls() -> list[Control]:
        return [
            Control(each.account_id, each.logins, each.day, quietest=each.quietest)
            for each in await store.account_lists.well_accounts(())
        ]

    return Controls(client, controls)
