"""Controls: requests for other accounts, which tell a failing endpoint from a failing account.

An account is charged only if its endpoint answered another, or proved its read. Controls are sent
only while planned reads do not show that.
"""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

from app.domain.contract.tables import Endpoint, Request
from app.domain.ids import AccountId, Login
from app.errors import EndpointFailed, FetchFailed, RequestTooLarge, UpstreamRefused
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient
from app.upstream.response import Answer
from app.upstream.statuses import key_refused

_log = get_logger(__name__)
_DOUBTFUL = 3
"""Failures in a row before a control is sent."""
_UNAUTHORIZED, _FORBIDDEN = 401, 403


@dataclass(frozen=True, slots=True)
class Control:
    """An account whose rows upstream should send; `day` has some, `quietest` the fewest.

    `is_well`: it agreed when last checked; others are the batch's own, asked for last.
    """

    account_id: AccountId
    logins: tuple[Login, ...]
    day: dt.date | None
    is_well: bool = True
    by_login: bool = False
    quietest: dt.date | None = None

    def request(self, endpoint: Endpoint, *, is_small: bool = False) -> Request | None:
        """A request for this account alone, on its quietest date if `is_small`."""
        is_by_login = endpoint.is_trades or self.by_login
        if is_by_login and not self.logins:
            return None
        day = (self.quietest if is_small else None) or self.day
        if endpoint.is_trades:
            return Request(endpoint, logins=self.logins, date_from=day, date_to=day)
        dates = () if endpoint is Endpoint.ALLTIME or day is None else (day,)
        return Request(
            endpoint,
            dates=dates,
            **({"logins": self.logins} if is_by_login else {"account_ids": (self.account_id,)}),
        )


class Fared(NamedTuple):
    """An endpoint's answers and proven reads so far."""

    answers: int
    wholes: int


class Controls:
    """Tells whether endpoints answer, and prove reads, for others."""

    def __init__(
        self, client: UpstreamClient, find: Callable[[], Awaitable[list[Control]]]
    ) -> None:
        self._client = client
        self._find = find
        self._found: list[Control] | None = None
        self._asking = asyncio.Lock()
        self._before = {
            endpoint: (client.health(endpoint).wholes, client.health(endpoint).unproven)
            for endpoint in Endpoint
        }
        self.silent: dict[Endpoint, str] = {}
        """Sentences about endpoints that fail for all accounts."""

    def fared(self, endpoint: Endpoint) -> Fared:
        """The endpoint so far, for `since`."""
        health = self._client.health(endpoint)
        return Fared(health.answers, health.wholes)

    def is_answer_doubtful(self, endpoint: Endpoint) -> bool:
        """Whether its answers have to be tested: several requests failed in a row, or all did."""
        health = self._client.health(endpoint)
        return not health.answers or health.failures_in_a_row >= _DOUBTFUL

    def is_unproven(self, endpoint: Endpoint) -> bool:
        """Whether the next read would stop early."""
        health = self._client.health(endpoint)
        return health.unproven_in_a_row >= _DOUBTFUL or not health.patience.is_left

    def is_proof_doubtful(self, endpoint: Endpoint) -> bool:
        """Whether its proofs have to be tested: several reads in a row were unproven, or all."""
        health = self._client.health(endpoint)
        return health.wholes == self._before[endpoint][0] or health.unproven_in_a_row >= _DOUBTFUL

    def is_hopeless(self, endpoint: Endpoint) -> bool:
        """Whether a further unproven read would tell nothing new."""
        health = self._client.health(endpoint)
        return (
            min(health.unproven_in_a_row, health.unproven - self._before[endpoint][1]) >= _DOUBTFUL
        )

    async def require_answers(self, endpoint: Endpoint, since: Fared | None = None) -> None:
        """Require another account's answer, later than `since` or to a control.

        Raises EndpointFailed, UpstreamRefused.
        """
        health = self._client.health(endpoint)
        if since is not None and health.answers > since.answers:
            return
        answers = health.answers
        async with self._asking:
            self._require_not_silent(endpoint)
            if health.answers > answers:
                return
            failure = await self._sample_controls(endpoint)
            if failure is None:
                return
            if isinstance(failure, FetchFailed) and failure.status == _FORBIDDEN:
                await self.require_key(failure)
            self.silent[endpoint] = (
                f"No request to {endpoint.value} is answered, whichever account it names: nothing"
                " is held against the accounts. Check RISK_API_BASE_URL and the API. Last:"
                f" {failure}"
            )
            _log.error(
                "An endpoint of the API answers no request.",
                action="endpoint.failed",
                endpoint=endpoint.value,
                reason=str(failure),
            )
            raise EndpointFailed(self.silent[endpoint])

    async def require_whole(
        self, endpoint: Endpoint, account_ids: Collection[AccountId], since: Fared | None = None
    ) -> None:
        """Require a proven read of other accounts, or among several of these, later than `since` or
        of a control.

        Raises EndpointFailed.
        """
        health = self._client.health(endpoint)
        self._require_not_silent(endpoint)
        if since is not None and health.wholes > since.wholes:
            return
        wholes = health.wholes
        async with self._asking:
            self._require_not_silent(endpoint)
            if health.wholes > wholes:
                return
            others = [
                each
                for each in await self._all()
                if len(account_ids) > 1 or each.account_id not in account_ids
            ]
            failure = await self._probe(endpoint, others or await self._all())
            if failure is None:
                return
            self.silent[endpoint] = _unproven(endpoint, failure, has_others=bool(others))
            _log.error(
                "No read of an endpoint of the API can be proven whole.",
                action="endpoint.unproven",
                endpoint=endpoint.value,
                reason=str(failure),
            )
            raise EndpointFailed(self.silent[endpoint])

    async def require_key(self, failure: FetchFailed) -> None:
        """Raise UpstreamRefused if even the last answered request is forbidden."""
        try:
            await self._client.sample(self._client.last_answered or Request(Endpoint.ALLTIME))
        except FetchFailed as error:
            if error.status == _FORBIDDEN:
                raise UpstreamRefused(key_refused(str(failure))) from error
        except RequestTooLarge:
            return

    async def unless_key_is_refused(self, refusal: UpstreamRefused) -> FetchFailed:
        """A 401 as a failure; UpstreamRefused if all get it."""
        failure = FetchFailed(refusal.answer, status=_UNAUTHORIZED)
        await self.require_key(failure)
        return failure

    async def sample(self, request: Request) -> Answer:
        """A read's first row; for 401 see `unless_key_is_refused`."""
        try:
            return await self._client.sample(request, is_suspect=True)
        except UpstreamRefused as error:
            raise await self.unless_key_is_refused(error) from error

    def _require_not_silent(self, endpoint: Endpoint) -> None:
        if endpoint in self.silent:
            raise EndpointFailed(self.silent[endpoint])

    async def _all(self) -> list[Control]:
        if self._found is None:
            self._found = await self._find()
        return self._found

    async def _sample_controls(self, endpoint: Endpoint) -> FetchFailed | RequestTooLarge | None:
        """Why none is answered; None if one is."""
        requests = [
            request
            for each in await self._all()
            if each.is_well and (request := each.request(endpoint, is_small=True))
        ]
        failure: FetchFailed | RequestTooLarge | None = None
        for request in requests or [Request(endpoint)]:
            try:
                await self.sample(request)
            except (FetchFailed, RequestTooLarge) as error:
                failure = error
            else:
                return None
        return failure

    async def _probe(
        self, endpoint: Endpoint, controls: Collection[Control]
    ) -> FetchFailed | RequestTooLarge | None:
        """Why no control could be proven whole; None if one was, which is asked first later."""
        failure: FetchFailed | RequestTooLarge = FetchFailed(
            "No account with rows is known for which it could be asked."
        )
        for control in controls:
            if (request := control.request(endpoint)) is None:
                continue
            try:
                await self._client.probe(request)
            except UpstreamRefused as error:
                failure = await self.unless_key_is_refused(error)
            except (FetchFailed, RequestTooLarge) as error:
                failure = error
            else:
                self._found = [
                    control,
                    *(each for each in await self._all() if each is not control),
                ]
                return None
        return failure


def _unproven(endpoint: Endpoint, failure: Exception, *, has_others: bool) -> str:
    whose = (
        "whichever account it names"
        if has_others
        else "and there is no other account that would show whose fault that is"
    )
    return (
        f"No read of {endpoint.value} can be proven whole, {whose}: nothing is held against"
        f" the accounts, and nothing of it was written. Check the API. Last: {failure}"
    )
