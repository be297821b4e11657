"""Makes a failing request smaller until one account fails alone.

Entry point: `Search.read`.

Invariants:
1. An account fails only alone, its endpoint being well for others (`control_requests`);
   one that failed only in company waits for the next run.
2. Vain requests keep to the allowance.
3. Dates are cut (`date_cuts`) only where all are too large an answer.
4. Unproven reads are searched in the second pass alone.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from app.domain.planning.planned_request import PlannedRequest
from app.engine.isolation.budget import SearchBudget, Spent, stopped
from app.engine.isolation.control_requests import Controls, Fared
from app.engine.isolation.date_cuts import DateCuts
from app.engine.isolation.reader import Reader
from app.engine.isolation.spoiled import SPOILED, Spoiled, is_certain
from app.errors import (
    EndpointFailed,
    FetchFailed,
    IncompleteFetch,
    RequestTooLarge,
    UpstreamRefused,
)
from app.upstream.client import UpstreamClient
from app.upstream.statuses import MISSING


class _Unproven(NamedTuple):
    """An unproven read; `before`: its endpoint until then."""

    planned: PlannedRequest
    failure: IncompleteFetch
    before: Fared


class Search:
    """Reads a batch's requests, searching failing ones."""

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
        """`allowance` may be spent in vain; upstream may have rows of the day after `today`.

        Without `proves` what is read need not be proven whole.
        """
        self._client = client
        self._controls = controls
        self._reader = reader
        self._proves = proves
        self._budget = SearchBudget(reader, allowance)
        self._dates = DateCuts(
            controls,
            reader,
            self._budget,
            until=today + dt.timedelta(days=1),
            read=self._read,
            search=self._read_all,
        )
        self._unproven: list[_Unproven] = []

    @property
    def spent(self) -> Spent:
        """Requests spent in vain."""
        return self._budget.spent

    @property
    def silent(self) -> Sequence[str]:
        """Sentences about failing endpoints."""
        return tuple(self._controls.silent.values())

    async def read(self, planned: PlannedRequest) -> int | None:
        """Number of rows, also read in parts; None if incomplete.

        Raises errors that blame no account.
        """
        if (
            self._proves
            and self._controls.is_unproven(planned.request.endpoint)
            and not self._reader.can_wait(planned)
        ):
            # Before the second pass spends as much as the first.
            try:
                await self._require_whole(planned)
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
        before = self._controls.fared(endpoint)
        failure: Spoiled
        try:
            with self._budget.paying_if_spoiled(planned):
                rows = await self._read(planned)
        except SPOILED as error:
            failure = error
        else:
            return rows if rows != 0 else await self._nothing(planned)
        try:
            return await self._smaller(planned, failure, before)
        except EndpointFailed as error:
            self._reader.untried(planned, str(error))
            return None

    async def _read(self, planned: PlannedRequest) -> int | None:
        try:
            return await self._reader.read(planned)
        except UpstreamRefused as error:
            raise await self._controls.unless_key_is_refused(error) from error

    async def _nothing(self, planned: PlannedRequest) -> int | None:
        """Doubt an empty answer for several accounts: an API may send it if it lacks one of them.

        The first and the last are asked for alone; if either brings rows, the list is halved.
        """
        if (
            planned.is_scan
            or not planned.is_undated
            or len(planned.account_ids) == 1
            or not self._reader.may_have_rows(planned)
        ):
            return 0
        self._budget.pay(planned, 1)
        ends = [
            replace(planned.alone(each), is_suspect=True)
            for each in (0, len(planned.account_ids) - 1)
        ]
        if self._budget.is_spent(planned) or not any([await self._search(each) for each in ends]):
            return 0
        return await self._read_all(
            tuple(replace(part, is_suspect=True) for part in planned.halved(self._client.max_ids))
        )

    async def _smaller(
        self, planned: PlannedRequest, failure: Spoiled, before: Fared
    ) -> int | None:
        if planned.is_scan:
            # One account's fault spoils the scan of all, but by id only its own read.
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

    async def _read_all(self, parts: Sequence[PlannedRequest]) -> int | None:
        rows = [await self._search(part) for part in parts]
        return None if None in rows else sum(each or 0 for each in rows)

    async def _halves(self, planned: PlannedRequest, failure: Spoiled) -> int | None:
        endpoint = planned.request.endpoint
        if isinstance(failure, IncompleteFetch):
            if self._proves and not failure.skip and self._controls.is_proof_doubtful(endpoint):
                await self._require_whole(planned)
        elif isinstance(failure, FetchFailed) and self._controls.is_answer_doubtful(endpoint):
            await self._require_answers(planned)
        if self._budget.is_spent(planned):
            self._reader.untried(planned, stopped(failure))
            return None
        first, second = (
            replace(part, is_suspect=True) for part in planned.halved(self._client.max_ids)
        )
        one = await self._search(first)
        if one is not None and is_certain(failure) and len(second.account_ids) > 1:
            # The rejected account is in this half, which would be rejected as a whole.
            other = await self._halves(second, failure)
        else:
            other = await self._search(second)
        if one is None or other is None:
            return None
        if isinstance(failure, RequestTooLarge):
            # Both halves were read: too many ids, not too large an answer for one account.
            self._client.note_too_large(planned.ids)
        return one + other

    async def _alone(self, planned: PlannedRequest, failure: Spoiled, before: Fared) -> int | None:
        """Cut one account's dates, or fail it."""
        if (
            isinstance(failure, FetchFailed)
            and failure.status in MISSING
            and not planned.missing_is_empty
        ):
            await self._require_answers(planned, before)
            return await self._search(replace(planned, missing_is_empty=True))
        if await self._dates.are_too_many(planned, failure):
            return await self._dates.cut(planned, failure)
        if (rows := await self._dates.read_by_hours(planned, failure)) is not None:
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
        """Charge unproven accounts if others were proven."""
        unproven, self._unproven = self._unproven, []
        for planned, failure, before in unproven:
            try:
                await self._require_whole(planned, before)
            except EndpointFailed as error:
                self._reader.untried(planned, str(error))
            else:
                self._reader.failed(planned, failure)

    async def _require_whole(self, planned: PlannedRequest, since: Fared | None = None) -> None:
        with self._budget.paying(planned):
            await self._controls.require_whole(planned.request.endpoint, planned.account_ids, since)

    async def _require_answers(self, planned: PlannedRequest, since: Fared | None = None) -> None:
        with self._budget.paying(planned):
            await self._controls.require_answers(planned.request.endpoint, since)
