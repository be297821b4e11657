"""The search for what makes a request fail: the request is made smaller until one account, or one date of it, fails alone.

Only an account that failed alone, while the endpoint answered a request for another one, has failed. What failed together with others
and was not tried alone stays untried: it waits for the next run. The search is bounded by the requests that it spends, since an API that
rejects nearly everything must cost little; requests that are answered do not count, they do the work that was planned.

An answer can be too large for the API, too: behind a largest `skip`, with 413, or at the deadline. Then the dates of one account are cut,
once one of its dates alone was answered, and hourly rows of one date by hours.
"""

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from app.domain.contract import Endpoint, Request
from app.domain.plan import PlannedRequest
from app.domain.wording import counted
from app.errors import (
    EndpointFailed,
    FetchFailed,
    FetchTooBroad,
    IncompleteFetch,
    ReconError,
    RequestTooLarge,
    RowRefused,
    StatementTooSlow,
    UpstreamRefused,
)
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient
from app.upstream.envelope import Answer
from app.upstream.faults import MISSING, key_refused
from app.upstream.stats import ApiStatistics

_log = get_logger(__name__)
_Spoiled = FetchFailed | RequestTooLarge | FetchTooBroad | RowRefused | StatementTooSlow
_SPOILED = (FetchFailed, RequestTooLarge, FetchTooBroad, RowRefused, StatementTooSlow)
"""Errors that a smaller request may not meet."""
_DOUBTFUL = 3
"""After so many failures in a row at an endpoint a control tells whether it answers at all, before more is spent on the search."""
_MOST_BAD_DATES = 5
"""Of an account so many dates are found out that cannot be read; then it fails as a whole."""
_UNAUTHORIZED, _FORBIDDEN = 401, 403
_LARGE = frozenset({400, 413, 414, 422})
"""Statuses that an API may give to a request for too many rows. 5xx and a deadline come without a status, from the client's verdict."""


@dataclass(frozen=True, slots=True)
class Control:
    """An account that was well when it was last checked: a request for it shows whether an endpoint answers."""

    account_id: str
    logins: tuple[str, ...]
    day: dt.date

    def request(self, endpoint: Endpoint) -> Request | None:
        """A request to the endpoint for this account alone, on a date on which it has rows; None if it cannot be asked for there."""
        if endpoint.is_trades:
            return Request(endpoint, logins=self.logins, date_from=self.day, date_to=self.day) if self.logins else None
        return Request(endpoint, account_ids=(self.account_id,), dates=() if endpoint is Endpoint.ALLTIME else (self.day,))


@dataclass(slots=True)
class Spent:
    """Requests that were spent in vain: on accounts that failed for the first time, and on those that had failed before."""

    new: int = 0
    known: int = 0


Controls = Callable[[], Awaitable[list[Control]]]


class Reader(Protocol):
    """What reads requests for the search, and is told how their accounts fared."""

    async def read(self, planned: PlannedRequest) -> int | None:
        """Read a request and keep what it brings; the number of its rows, None if nothing is to be read any more."""

    def is_known(self, planned: PlannedRequest) -> bool:
        """Whether its accounts failed alone before; what they cost does not stop the search for others."""

    def can_wait(self, planned: PlannedRequest) -> bool:
        """Whether all accounts of a read that could not be proven whole go through the run once more: what moved may be at rest then."""

    def may_have_rows(self, planned: PlannedRequest) -> bool:
        """Whether rows of any of the accounts are stored, and no earlier run found that upstream has none of them."""

    def first_day(self, planned: PlannedRequest) -> dt.date | None:
        """The first date on which the one account of the request is known to have rows."""

    def failed(self, planned: PlannedRequest, error: ReconError) -> None:
        """The account failed alone; or all accounts, which `can_wait`, could not be read for now."""

    def untried(self, planned: PlannedRequest, reason: str) -> None:
        """The accounts could not be read and were not tried alone: nothing is known against them."""

    def read_in_parts(self, planned: PlannedRequest) -> None:
        """A request for all dates of an account was read in parts that are all of its rows."""


class Search:
    """Reads requests, and searches those that fail; one for each batch, used by all its reads."""

    def __init__(self, client: UpstreamClient, controls: Controls, reader: Reader, *, allowance: Spent, today: dt.date) -> None:
        """`allowance` is what may be spent in vain; rows are asked for up to the date after `today`."""
        self._client = client
        self._controls = controls
        self._reader = reader
        self._allowance = allowance
        self._until = today + dt.timedelta(days=1)
        self._asking = asyncio.Lock()
        self._bad_dates: Counter[str] = Counter()
        self.spent = Spent()
        self.silent: dict[Endpoint, str] = {}
        """Endpoints that answer nobody, with the sentence that says so."""

    async def read(self, planned: PlannedRequest) -> int | None:
        """Read a request, in smaller ones if it fails; the number of rows, None if not all of it was read.

        Raises UpstreamRefused, UpstreamUnavailable and what else says nothing about an account.
        """
        endpoint = planned.request.endpoint
        if endpoint in self.silent:
            self._reader.untried(planned, self.silent[endpoint])
            return None
        if not planned.is_scan and planned.ids > self._client.max_ids and len(planned.account_ids) > 1:
            return await self._read_all(planned.halved(self._client.max_ids))
        if self._reader.is_known(planned):
            planned = replace(planned, is_suspect=True)
        answers, spent = self._client.health(endpoint).answers, ApiStatistics()
        failure: _Spoiled
        try:
            with spent.recording():
                rows = await self._read(planned)
        except _SPOILED as error:
            failure = error
        else:
            return rows if rows != 0 else await self._nothing(planned)
        self._pay(planned, spent.requests)
        try:
            return await self._smaller(planned, failure, answers)
        except EndpointFailed as error:
            self._reader.untried(planned, str(error))
            return None

    async def _read(self, planned: PlannedRequest) -> int | None:
        """Read a request as it is; a 401 is a failure like others unless the key is refused."""
        try:
            return await self._reader.read(planned)
        except UpstreamRefused as error:
            raise await self._unless_key_is_refused(error) from error

    async def _nothing(self, planned: PlannedRequest) -> int | None:
        """Doubt that there is nothing of several accounts: an API may answer so for all as soon as it has nothing of one of them.

        The first and the last are asked for alone; where either brings rows the answer for all is not believed.
        """
        if planned.is_scan or not planned.is_undated or len(planned.account_ids) == 1 or not self._reader.may_have_rows(planned):
            return 0
        self._pay(planned, 1)
        ends = [replace(planned.alone(each), is_suspect=True) for each in (0, len(planned.account_ids) - 1)]
        if self._is_spent(planned) or not any([await self.read(each) for each in ends]):
            return 0
        return await self._read_all(tuple(replace(part, is_suspect=True) for part in planned.halved(self._client.max_ids)))

    async def _smaller(self, planned: PlannedRequest, failure: _Spoiled, answers: int) -> int | None:
        if planned.is_scan:  # what is wrong with one account spoils the read of all: by id it spoils that account's
            return await self._read_all(planned.halved(self._client.max_ids))
        if len(planned.account_ids) == 1:
            return await self._alone(planned, failure, answers)
        if isinstance(failure, IncompleteFetch) and not failure.skip and self._reader.can_wait(planned):
            self._reader.failed(planned, failure)
            return None
        return await self._halves(planned, failure)

    async def _read_all(self, parts: tuple[PlannedRequest, ...]) -> int | None:
        rows = [await self.read(part) for part in parts]
        return None if None in rows else sum(each or 0 for each in rows)

    async def _halves(self, planned: PlannedRequest, failure: _Spoiled) -> int | None:
        """Read both halves of a request for several accounts, one of which fails."""
        endpoint = planned.request.endpoint
        health = self._client.health(endpoint)
        if isinstance(failure, FetchFailed) and (not health.answers or health.failures_in_a_row >= _DOUBTFUL):
            await self._require_answers(planned)
        if self._is_spent(planned):
            self._reader.untried(planned, self._stopped(failure))
            return None
        first, second = (replace(part, is_suspect=True) for part in planned.halved(self._client.max_ids))
        one = await self.read(first)
        if one is not None and _is_certain(failure) and len(second.account_ids) > 1:
            # The account that is rejected is in this half: asked for as a whole, it would be rejected again.
            other = await self._halves(second, failure)
        else:
            other = await self.read(second)
        if one is None or other is None:
            return None
        if isinstance(failure, RequestTooLarge):
            # Both halves were read: the number of ids was too large, and not the answer for one account.
            self._client.note_too_large(planned.ids)
        return one + other

    async def _alone(self, planned: PlannedRequest, failure: _Spoiled, answers: int) -> int | None:
        """A request for one account failed: its dates are cut if they are too many, else the account failed."""
        if isinstance(failure, FetchFailed) and failure.status in MISSING and not planned.missing_is_empty:
            await self._require_answers(planned, answers)
            return await self.read(replace(planned, missing_is_empty=True))
        if await self._is_too_large(planned, failure):
            return await self._cut(planned, failure)
        if (rows := await self._read_by_hours(planned, failure)) is not None:
            return rows
        if isinstance(failure, FetchFailed | RequestTooLarge):
            await self._require_answers(planned, answers)
        self._reader.failed(planned, failure)
        return None

    async def _is_too_large(self, planned: PlannedRequest, failure: _Spoiled) -> bool:
        """Whether fewer dates of the one account can be read."""
        if not _may_be_too_large(failure) or self._bad_dates[planned.account_ids[0]] >= _MOST_BAD_DATES:
            return False
        if planned.is_part or (isinstance(failure, FetchFailed) and failure.skip):
            return True
        # What fails without being rejected may pass: it is only cut when it failed in both passes of the run.
        may_pass = isinstance(failure, FetchFailed) and failure.status is None and self._reader.can_wait(planned)
        return not may_pass and await self._reads_one_date(planned, failure)

    async def _reads_one_date(self, planned: PlannedRequest, failure: _Spoiled) -> bool:
        """Whether the last or the first date of the account can be read alone: then all of them were too much."""
        life = None if not planned.is_undated else await self._life(planned)
        edges = planned.edges(life)
        # What was not rejected took several attempts already: one date more is enough.
        for part in edges[:1] if isinstance(failure, FetchFailed) and failure.status is None else edges:
            spent = ApiStatistics()
            try:
                with spent.recording():
                    return await self._read(replace(part, is_suspect=True)) is not None
            except _SPOILED:
                self._pay(planned, spent.requests)
        return False

    async def _cut(self, planned: PlannedRequest, failure: _Spoiled) -> int | None:
        """Read the dates of one account in parts."""
        life = await self._life(planned) if planned.is_undated else None
        parts = planned.by_dates(life)
        if not parts:
            if (rows := await self._read_by_hours(planned, failure)) is not None:
                return rows
            self._bad_dates[planned.account_ids[0]] += 1
            self._reader.failed(planned, failure)
            return None
        if self._is_spent(planned):
            self._reader.untried(planned, self._stopped(failure))
            return None
        rows = await self._read_all(parts)
        if planned.is_undated and rows is not None:
            total = (await self._sample(planned))[0]
            if total is None or total > rows:
                shown = "an unknown number" if total is None else total
                self._reader.failed(
                    planned,
                    IncompleteFetch(
                        f"It was read in parts, which brought {counted(rows, 'row')} of {shown}. Reason for the parts: {failure}"
                    ),
                )
                return None
            self._reader.read_in_parts(planned)
        return rows

    async def _read_by_hours(self, planned: PlannedRequest, failure: _Spoiled) -> int | None:
        """Read the one date of hourly rows in parts that are one fetch; None where that cannot be done, or fails as well."""
        if not isinstance(failure, FetchFailed | RequestTooLarge) or not _may_be_too_large(failure):
            return None
        # What fails without being rejected may pass: as with dates, it is only cut when it failed in both passes of the run.
        if not planned.is_part and isinstance(failure, FetchFailed) and failure.status is None and self._reader.can_wait(planned):
            return None
        for parts in planned.by_hours():
            if self._is_spent(planned):
                return None
            spent = ApiStatistics()
            try:
                with spent.recording():
                    return await self._read(replace(parts, is_suspect=True))
            except _SPOILED:
                self._pay(planned, spent.requests)
        return None

    async def _life(self, planned: PlannedRequest) -> tuple[dt.date, dt.date] | None:
        """The first and last date of which the account may have rows, as far as is known: what is missed in between shows in the total."""
        known = self._reader.first_day(planned)
        first = (await self._sample(planned))[1]
        days = [day for day in (known, first) if day is not None]
        return (min(days), self._until) if days and min(days) <= self._until else None

    async def _sample(self, planned: PlannedRequest) -> tuple[int | None, dt.date | None]:
        """How many rows a read has, and the date of the first one, as far as upstream tells."""
        try:
            answer = await self._ask_for_one_row(planned.request)
        except (FetchFailed, RequestTooLarge):
            self._pay(planned, 1)
            return None, None
        return answer.total, _date_of(answer.rows[0]) if answer.rows else None

    async def _require_answers(self, planned: PlannedRequest, since: int | None = None) -> None:
        """Make sure that the endpoint answers requests for others.

        An answer that came after the first `since` is enough; else a control is asked for. EndpointFailed: it answers none;
        UpstreamRefused: no endpoint answers, since the key is refused.
        """
        endpoint = planned.request.endpoint
        health = self._client.health(endpoint)
        if since is not None and health.answers > since:
            return
        answers = health.answers
        async with self._asking:
            if endpoint in self.silent:
                raise EndpointFailed(self.silent[endpoint])
            if health.answers > answers:
                return
            failure = await self._ask_controls(planned)
            if failure is None:
                return
            if isinstance(failure, FetchFailed) and failure.status == _FORBIDDEN:
                await self._require_key(failure)
            self.silent[endpoint] = (
                f"No request to {endpoint.value} is answered, whichever account it names: nothing is held against the accounts."
                f" Check RISK_API_BASE_URL and the API. Last: {failure}"
            )
            _log.error("An endpoint of the API answers no request.", action="endpoint.failed", endpoint=endpoint.value, reason=str(failure))
            raise EndpointFailed(self.silent[endpoint])

    async def _ask_controls(self, planned: PlannedRequest) -> FetchFailed | RequestTooLarge | None:
        """Why not even requests for other accounts are answered; None if one is."""
        endpoint = planned.request.endpoint
        known = [request for control in await self._controls() if (request := control.request(endpoint)) is not None]
        failure: FetchFailed | RequestTooLarge | None = None
        for request in known or [Request(endpoint)]:
            spent = ApiStatistics()
            try:
                with spent.recording():
                    await self._ask_for_one_row(request)
            except (FetchFailed, RequestTooLarge) as error:
                failure = error
            else:
                return None
            finally:
                self._pay(planned, spent.requests)
        return failure

    async def _require_key(self, failure: FetchFailed) -> None:
        """Make sure that the key is accepted: a request that was answered before, or else the smallest one, is not forbidden."""
        try:
            await self._client.sample(self._client.last_answered or Request(Endpoint.ALLTIME))
        except FetchFailed as error:
            if error.status == _FORBIDDEN:
                raise UpstreamRefused(key_refused(str(failure))) from error
        except RequestTooLarge:
            return

    async def _unless_key_is_refused(self, refusal: UpstreamRefused) -> FetchFailed:
        """The failure of a request that was answered 401 while others are accepted; UpstreamRefused if none is."""
        failure = FetchFailed(refusal.answer, status=_UNAUTHORIZED)
        await self._require_key(failure)
        return failure

    async def _ask_for_one_row(self, request: Request) -> Answer:
        try:
            return await self._client.sample(request, is_suspect=True)
        except UpstreamRefused as error:
            raise await self._unless_key_is_refused(error) from error

    def _pay(self, planned: PlannedRequest, requests: int) -> None:
        if self._reader.is_known(planned):
            self.spent.known += requests
        else:
            self.spent.new += requests

    def _is_spent(self, planned: PlannedRequest) -> bool:
        if self._reader.is_known(planned):
            return self.spent.known >= self._allowance.known
        return self.spent.new >= self._allowance.new

    def _stopped(self, failure: ReconError) -> str:
        return (
            "Requests that name the account together with others fail, and this run has spent its RECON_SEARCH_REQUESTS on the search for"
            f" those at fault. The account was not read alone, so this costs it no attempt; the next run reads it. Last: {failure}"
        )


def _is_certain(failure: _Spoiled) -> bool:
    """Whether the same request would fail again: the API rejected it before it counted rows."""
    return isinstance(failure, FetchFailed) and failure.status is not None and not failure.skip


def _may_be_too_large(failure: _Spoiled) -> bool:
    """Whether fewer dates may be answered."""
    if isinstance(failure, IncompleteFetch):
        return bool(failure.skip)
    if isinstance(failure, FetchFailed):
        return bool(failure.skip) or failure.status is None or failure.status in _LARGE
    return not isinstance(failure, FetchTooBroad)


class _Dated(msgspec.Struct):
    """The date of a row, under either name."""

    date: str | int | None = None
    trade_date: str | int | None = msgspec.field(name="tradeDate", default=None)


def _date_of(row: bytes) -> dt.date | None:
    try:
        dated = msgspec.json.decode(row, type=_Dated)
        text = str(dated.date or dated.trade_date or "").replace("-", "")[:8]
        return dt.datetime.strptime(text, "%Y%m%d").replace(tzinfo=dt.UTC).date()
    except (msgspec.MsgspecError, ValueError):
        return None
