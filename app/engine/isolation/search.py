"""The search for what makes a request fail: the request is made smaller until one account, or one
date of it, fails alone.

Only an account that failed alone, while the endpoint was well for others
(app.engine.isolation.control_requests), has failed. What failed together with others and was not
tried alone stays untried: it waits for the next run. The search is bounded by the requests that it
spends, since an API that rejects nearly everything must cost little; requests that are answered do
not count, they do the work that was planned.

An answer can be too large for the API, too: behind a largest `skip`, with 413, or at the deadline.
Then the dates of one account are cut, once one of its dates alone was answered, and hourly rows of
one date by hours.

What came and could not be proven to be all is read once more in the second pass of the run, and is
searched only then.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import msgspec

from app.domain.planning.planned_request import PlannedRequest
from app.domain.wording.counts import counted
from app.engine.isolation.control_requests import Controls, Fared
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
from app.upstream.client import UpstreamClient
from app.upstream.stats import ApiStatistics
from app.upstream.statuses import MISSING

_Spoiled = FetchFailed | RequestTooLarge | FetchTooBroad | RowRefused | StatementTooSlow
_SPOILED = (FetchFailed, RequestTooLarge, FetchTooBroad, RowRefused, StatementTooSlow)
"""Errors that a smaller request may not meet."""
_MOST_BAD_DATES = 5
"""Of an account so many dates are found out that cannot be read; then it fails as a whole."""
_LARGE = frozenset({400, 413, 414, 422})
"""Statuses that an API may give to a request for too many rows. 5xx and a deadline come without a
status, from the client's verdict.
"""


@dataclass(slots=True)
class Spent:
    """Requests that were spent in vain: on accounts that failed for the first time, and on those
    that had failed before.
    """

    new: int = 0
    known: int = 0


class _Unproven(NamedTuple):
    """A read of one account that could not be proven whole, and how its endpoint had fared
    before.
    """

    planned: PlannedRequest
    failure: IncompleteFetch
    before: Fared


class Reader(Protocol):
    """What reads requests for the search, and is told how their accounts fared."""

    async def read(self, planned: PlannedRequest) -> int | None:
        """Read a request and keep what it brings; the number of its rows, None if nothing is to be
        read any more.
        """

    def is_known(self, planned: PlannedRequest) -> bool:
        """Whether its accounts failed alone before; what they cost does not stop the search for
        others.
        """

    def can_wait(self, planned: PlannedRequest) -> bool:
        """Whether all accounts of a read that could not be proven whole go through the run once
        more: what moved may be at rest then.
        """

    def may_have_rows(self, planned: PlannedRequest) -> bool:
        """Whether rows of any of the accounts are stored, and no earlier run found that upstream
        has none of them.
        """

    def first_day(self, planned: PlannedRequest) -> dt.date | None:
        """The first date on which the one account of the request is known to have rows."""

    def failed(self, planned: PlannedRequest, error: ReconError) -> None:
        """The account failed alone; or all accounts, which `can_wait`, could not be read for
        now.
        """

    def untried(self, planned: PlannedRequest, reason: str) -> None:
        """The accounts could not be read and were not tried alone: nothing is known against
        them.
        """

    def read_in_parts(self, planned: PlannedRequest) -> None:
        """A request for all dates of an account was read in parts that are all of its rows."""


class Search:
    """Reads requests, and searches those that fail; one for each batch, used by all its reads."""

    def __init__(
        self,
        client: UpstreamClient,
        controls: Controls,
        reader: Reader,
        *,
        allowance: Spent,
        today: dt.date,
        proves: bool = True,
    ) -> None:
        """`allowance` is what may be spent in vain; rows are asked for up to the date after
        `today`.

        Without `proves` what the reader reads need not be proven whole.
        """
        self._client = client
        self._controls = controls
        self._reader = reader
        self._allowance = allowance
        self._until = today + dt.timedelta(days=1)
        self._proves = proves
        self._bad_dates: Counter[str] = Counter()
        self._unproven: list[_Unproven] = []
        self.spent = Spent()

    @property
    def silent(self) -> Sequence[str]:
        """What is to be said of endpoints that are not well for anyone."""
        return tuple(self._controls.silent.values())

    async def read(self, planned: PlannedRequest) -> int | None:
        """Read a request, in smaller ones if it fails; the number of rows, None if not all of it
        was read.

        Raises UpstreamRefused, UpstreamUnavailable and what else says nothing about an account.
        """
        endpoint = planned.request.endpoint
        if (
            self._proves
            and self._controls.is_unproven(endpoint)
            and not self._reader.can_wait(planned)
        ):
            # Before the second pass spends as much as the first: where others can be read they show
            # it.
            try:
                with self._paying(planned):
                    await self._controls.require_whole(endpoint, planned.account_ids)
            except EndpointFailed as error:
                self._reader.untried(planned, str(error))
                return None
        rows = await self._search(planned)
        await self._judge()
        return rows

    async def _search(self, planned: PlannedRequest) -> int | None:
        endpoint = planned.request.endpoint
        if endpoint in self._controls.silent:
            self._reader.untried(planned, self._controls.silent[endpoint])
            return None
        if self._proves and self._controls.is_hopeless(endpoint) and self._reader.can_wait(planned):
            self._reader.failed(
                planned,
                IncompleteFetch(
                    "It was not asked for, since the reads before it could not be proven whole."
                ),
            )
            return None
        if (
            not planned.is_scan
            and planned.ids > self._client.max_ids
            and len(planned.account_ids) > 1
        ):
            return await self._read_all(planned.halved(self._client.max_ids))
        if self._reader.is_known(planned):
            planned = replace(planned, is_suspect=True)
        before, spent = self._controls.fared(endpoint), ApiStatistics()
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
            return await self._smaller(planned, failure, before)
        except EndpointFailed as error:
            self._reader.untried(planned, str(error))
            return None

    async def _read(self, planned: PlannedRequest) -> int | None:
        """Read a request as it is; a 401 is a failure like others unless the key is refused."""
        try:
            return await self._reader.read(planned)
        except UpstreamRefused as error:
            raise await self._controls.unless_key_is_refused(error) from error

    async def _nothing(self, planned: PlannedRequest) -> int | None:
        """Doubt that there is nothing of several accounts: an API may answer so for all as soon as
        it has nothing of one of them.

        The first and the last are asked for alone; where either brings rows the answer for all is
        not believed.
        """
        if (
            planned.is_scan
            or not planned.is_undated
            or len(planned.account_ids) == 1
            or not self._reader.may_have_rows(planned)
        ):
            return 0
        self._pay(planned, 1)
        ends = [
            replace(planned.alone(each), is_suspect=True)
            for each in (0, len(planned.account_ids) - 1)
        ]
        if self._is_spent(planned) or not any([await self._search(each) for each in ends]):
            return 0
        return await self._read_all(
            tuple(replace(part, is_suspect=True) for part in planned.halved(self._client.max_ids))
        )

    async def _smaller(
        self, planned: PlannedRequest, failure: _Spoiled, before: Fared
    ) -> int | None:
        if (
            planned.is_scan
        ):  # what is wrong with one account spoils the read of all: by id it spoils that account's
            return await self._read_all(planned.halved(self._client.max_ids))
        if len(planned.account_ids) == 1:
            return await self._alone(planned, failure, before)
        if (
            isinstance(failure, IncompleteFetch)
            and not failure.skip
            and self._reader.can_wait(planned)
        ):
            self._reader.failed(planned, failure)
            return None
        return await self._halves(planned, failure)

    async def _read_all(self, parts: tuple[PlannedRequest, ...]) -> int | None:
        rows = [await self._search(part) for part in parts]
        return None if None in rows else sum(each or 0 for each in rows)

    async def _halves(self, planned: PlannedRequest, failure: _Spoiled) -> int | None:
        """Read both halves of a request for several accounts, one of which fails."""
        endpoint = planned.request.endpoint
        if isinstance(failure, IncompleteFetch):
            if self._proves and not failure.skip and self._controls.is_proof_doubtful(endpoint):
                with self._paying(planned):
                    await self._controls.require_whole(endpoint, planned.account_ids)
        elif isinstance(failure, FetchFailed) and self._controls.is_answer_doubtful(endpoint):
            await self._require_answers(planned)
        if self._is_spent(planned):
            self._reader.untried(planned, self._stopped(failure))
            return None
        first, second = (
            replace(part, is_suspect=True) for part in planned.halved(self._client.max_ids)
        )
        one = await self._search(first)
        if one is not None and _is_certain(failure) and len(second.account_ids) > 1:
            # The account that is rejected is in this half: asked for as a whole, it would be
            # rejected again.
            other = await self._halves(second, failure)
        else:
            other = await self._search(second)
        if one is None or other is None:
            return None
        if isinstance(failure, RequestTooLarge):
            # Both halves were read: the number of ids was too large, and not the answer for one
            # account.
            self._client.note_too_large(planned.ids)
        return one + other

    async def _alone(self, planned: PlannedRequest, failure: _Spoiled, before: Fared) -> int | None:
        """A request for one account failed: its dates are cut if they are too many, else the
        account failed.
        """
        if (
            isinstance(failure, FetchFailed)
            and failure.status in MISSING
            and not planned.missing_is_empty
        ):
            await self._require_answers(planned, before)
            return await self._search(replace(planned, missing_is_empty=True))
        if await self._is_too_large(planned, failure):
            return await self._cut(planned, failure)
        if (rows := await self._read_by_hours(planned, failure)) is not None:
            return rows
        if (
            isinstance(failure, IncompleteFetch)
            and self._proves
            and not self._reader.can_wait(planned)
        ):
            self._unproven.append(_Unproven(planned, failure, before))
            return None
        if isinstance(failure, FetchFailed | RequestTooLarge):
            await self._require_answers(planned, before)
        self._reader.failed(planned, failure)
        return None

    async def _judge(self) -> None:
        """Charge accounts whose reads alone could not be proven whole, if those of others can
        since.

        Only when all of a search was read, since its other reads tell that for nothing.
        """
        unproven, self._unproven = self._unproven, []
        for planned, failure, before in unproven:
            try:
                with self._paying(planned):
                    await self._controls.require_whole(
                        planned.request.endpoint, planned.account_ids, before
                    )
            except EndpointFailed as error:
                self._reader.untried(planned, str(error))
            else:
                self._reader.failed(planned, failure)

    async def _is_too_large(self, planned: PlannedRequest, failure: _Spoiled) -> bool:
        """Whether fewer dates of the one account can be read."""
        if (
            not _may_be_too_large(failure)
            or self._bad_dates[planned.account_ids[0]] >= _MOST_BAD_DATES
        ):
            return False
        if planned.is_part or (isinstance(failure, FetchFailed) and failure.skip):
            return True
        # What fails without being rejected may pass: it is only cut when it failed in both passes
        # of the run.
        may_pass = (
            isinstance(failure, FetchFailed)
            and failure.status is None
            and self._reader.can_wait(planned)
        )
        return not may_pass and await self._reads_one_date(planned, failure)

    async def _reads_one_date(self, planned: PlannedRequest, failure: _Spoiled) -> bool:
        """Whether the last or the first date of the account can be read alone: then all of them
        were too much.
        """
        life = None if not planned.is_undated else await self._life(planned)
        edges = planned.edges(life)
        # What was not rejected took several attempts already: one date more is enough.
        for part in (
            edges[:1] if isinstance(failure, FetchFailed) and failure.status is None else edges
        ):
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
                        f"It was read in parts, which brought {counted(rows, 'row')} of {shown}."
                        f" Reason for the parts: {failure}"
                    ),
                )
                return None
            self._reader.read_in_parts(planned)
        return rows

    async def _read_by_hours(self, planned: PlannedRequest, failure: _Spoiled) -> int | None:
        """Read the one date of hourly rows in parts that are one fetch; None where that cannot be
        done, or fails as well.
        """
        if not isinstance(failure, FetchFailed | RequestTooLarge) or not _may_be_too_large(failure):
            return None
        # What fails without being rejected may pass: as with dates, it is only cut when it failed
        # in both passes of the run.
        if (
            not planned.is_part
            and isinstance(failure, FetchFailed)
            and failure.status is None
            and self._reader.can_wait(planned)
        ):
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
        """The first and last date of which the account may have rows, as far as is known: what is
        missed in between shows in the total.
        """
        known = self._reader.first_day(planned)
        first = (await self._sample(planned))[1]
        days = [day for day in (known, first) if day is not None]
        return (min(days), self._until) if days and min(days) <= self._until else None

    async def _sample(self, planned: PlannedRequest) -> tuple[int | None, dt.date | None]:
        """How many rows a read has, and the date of the first one, as far as upstream tells."""
        try:
            answer = await self._controls.sample(planned.request)
        except (FetchFailed, RequestTooLarge):
            self._pay(planned, 1)
            return None, None
        return answer.total, _date_of(answer.rows[0]) if answer.rows else None

    async def _require_answers(self, planned: PlannedRequest, since: Fared | None = None) -> None:
        with self._paying(planned):
            await self._controls.require_answers(planned.request.endpoint, since)

    @contextmanager
    def _paying(self, planned: PlannedRequest) -> Iterator[None]:
        """Count the requests that are sent inside as spent in vain."""
        spent = ApiStatistics()
        try:
            with spent.recording():
                yield
        finally:
            self._pay(planned, spent.requests)

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
            "Requests that name the account together with others fail, and this run has spent its"
            " RECON_SEARCH_REQUESTS on the search for those at fault. The account was not read"
            f" alone, so this costs it no attempt; the next run reads it. Last: {failure}"
        )


def _is_certain(failure: _Spoiled) -> bool:
    """Whether the same request would fail again: the API rejected it before it counted rows, or it
    was not proven whole in both passes.
    """
    return (
        isinstance(failure, FetchFailed)
        and not failure.skip
        and (failure.status is not None or isinstance(failure, IncompleteFetch))
    )


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
