"""Faults on demand: which request of the sandbox suffers what.

Seeded, so that a run can be repeated.

The choice hangs on the seed, the request and how often it was made, not on the order of requests:
concurrency does not change it.
"""

import datetime as dt
import random
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from urllib.parse import parse_qsl, urlsplit

import msgspec

from app.domain.contract.tables import Endpoint
from app.errors import InvalidRequest


class FaultKind(StrEnum):
    """What can go wrong with one request."""

    TOO_MANY_REQUESTS = "too_many_requests"
    """429 with `Retry-After` in seconds."""
    TOO_MANY_REQUESTS_DATE = "too_many_requests_date"
    """429 with `Retry-After` as an HTTP date."""
    INTERNAL_ERROR = "internal_error"
    """500."""
    BAD_GATEWAY = "bad_gateway"
    """502, with an HTML page."""
    SERVICE_UNAVAILABLE = "service_unavailable"
    """503."""
    DROPPED_CONNECTION = "dropped_connection"
    """The socket is closed before or in the middle of the answer."""
    INVALID_JSON = "invalid_json"
    """200 with something that is no JSON."""
    TRUNCATED_JSON = "truncated_json"
    """200 with the first half of the answer, as if it were whole."""
    FAILED_STATUS = "failed_status"
    """200 with `Status: fail`."""
    SHORT_PAGE = "short_page"
    """Some rows are left out of the page; the total still counts them."""
    REPEATED_ROW = "repeated_row"
    """One row stands twice in the page, the total unchanged; a full page loses its last row for
    it.
    """
    SHIFTING_TOTAL = "shifting_total"
    """This page names another total than the others."""
    SMALLER_TOTAL = "smaller_total"
    """The total is one less than the rows that match; given always, every page names the same."""
    LARGER_TOTAL = "larger_total"
    """The total is one more than the rows that match; given always, every page names the same."""
    SHIFTING_ROWS = "shifting_rows"
    """A row from before the page's border has moved to the end, the total unchanged: the page
    starts one row too late.
    """
    SLOW = "slow"
    """The answer comes after `delay_seconds`."""
    DRIP = "drip"
    """The answer trickles out over `delay_seconds`, so that no single read waits for long."""
    OTHERS_ROWS = "others_rows"
    """200 with the rows of those who were not asked for, as a cache that mixes up its answers sends
    them.
    """
    EMPTY = "empty"
    """200 with no rows and a total of 0."""


class Rejection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule by which an API rejects requests: always, and not by chance.

    It holds for requests that name one of `ids` (account ids or logins; None: for every request) at
    one of `endpoints` (None: at all), for the dates `dates` (None: whatever the dates), if they
    match more than `rows` rows. The answer has the status `status` and says `message`, after
    `delay_seconds`.
    """

    kind: FaultKind | None = None
    status: int = 400
    message: str = "This request is not allowed."
    ids: frozenset[str] | None = None
    endpoints: frozenset[Endpoint] | None = None
    dates: frozenset[dt.date] | None = None
    rows: int = -1
    delay_seconds: float = 0.0


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which faults to show, as a value.

    `rejections` are rules, in the order in which they are tried. Rows behind `largest_skip` are out
    of reach: a request that skips more is answered with the status `beyond_skip`, 200 for an empty
    page whose total stays right.

     `probabilities`: the chance of each kind for each request, 0 to 1, together at most 1. `down`
    closes every connection without an answer, `unauthorized` refuses every key. `only_endpoints`
    spares the others, `only_ids` all requests that name none of these account ids and logins,
    `first_n` spares all requests but the first n that are left; these hold for everything here.
    `retry_after` (whole seconds) goes into 429 answers.
    """

    probabilities: dict[FaultKind, float] = {}
    seed: int = 0
    down: bool = False
    unauthorized: bool = False
    only_endpoints: frozenset[Endpoint] | None = None
    only_ids: frozenset[str] | None = None
    first_n: int | None = None
    retry_after: int = 1
    delay_seconds: float = 0.5
    rejections: tuple[Rejection, ...] = ()
    largest_skip: int | None = None
    beyond_skip: int = 400

    def __post_init__(self) -> None:
        """InvalidRequest if the values make no sense."""
        if (
            any(share < 0 for share in self.probabilities.values())
            or sum(self.probabilities.values()) > 1 + 1e-9
        ):
            raise InvalidRequest(
                "The probabilities of faults must be 0 or more and together at most 1."
            )
        if (
            self.retry_after < 0
            or self.delay_seconds < 0
            or (self.first_n is not None and self.first_n < 0)
        ):
            raise InvalidRequest("retry_after, delay_seconds and first_n must be 0 or more.")

    @classmethod
    def everything(
        cls, probability: float, seed: int, *, delay_seconds: float = 0.05, retry_after: int = 0
    ) -> Self:
        """Every kind of fault, equally likely; `probability` is the chance that a request suffers
        any of them.
        """
        return cls(
            probabilities=dict.fromkeys(FaultKind, probability / len(FaultKind)),
            seed=seed,
            delay_seconds=delay_seconds,
            retry_after=retry_after,
        )

    @classmethod
    def of(
        cls, kind: FaultKind, probability: float = 1.0, *, seed: int = 0, first_n: int | None = None
    ) -> Self:
        """One kind of fault alone."""
        return cls(probabilities={kind: probability}, seed=seed, first_n=first_n)


NO_FAULTS = Faults()


@dataclass(frozen=True, slots=True)
class Draw:
    """What one request suffers: a `kind` of fault or none, under `faults`; `chance` decides its
    details.
    """

    kind: FaultKind | None
    faults: Faults
    chance: random.Random


_ID_LISTS = frozenset({"accountIds", "logins"})


def _named_in(target: str) -> set[str]:
    """The account ids and logins that the query of a request names."""
    return {
        each
        for name, value in parse_qsl(urlsplit(target).query)
        if name in _ID_LISTS
        for each in value.split(",")
    }


class FaultState:
    """Decides for one request after the other what `faults` do to it; a new one begins to count
    anew.
    """

    def __init__(self, faults: Faults) -> None:
        """Begin with no request seen."""
        self._faults = faults
        self._seen = 0
        self._times: Counter[str] = Counter()

    def draw(self, endpoint: Endpoint, target: str) -> Draw:
        """What the next request to `endpoint` suffers; `target` is its path and query.

        A spared one gets NO_FAULTS.
        """
        faults = self._faults
        chance = random.Random(f"{faults.seed}|{target}|{self._times[target]}")
        if faults.only_endpoints is not None and endpoint not in faults.only_endpoints:
            return Draw(None, NO_FAULTS, chance)
        if faults.only_ids is not None and faults.only_ids.isdisjoint(_named_in(target)):
            return Draw(None, NO_FAULTS, chance)
        self._seen += 1
        if faults.first_n is not None and self._seen > faults.first_n:
            return Draw(None, NO_FAULTS, chance)
        self._times[target] += 1
        drawn = chance.random()
        for kind, share in faults.probabilities.items():
            if drawn < share:
                return Draw(kind, faults, chance)
            drawn -= share
        return Draw(None, faults, chance)
