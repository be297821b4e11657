"""Faults on demand: which request suffers what.

Seeded by request and how often it was made, so that concurrency changes nothing.
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
    """The socket is closed before or within the response."""
    INVALID_JSON = "invalid_json"
    """200 with something that is no JSON."""
    TRUNCATED_JSON = "truncated_json"
    """200 with the first half of the response."""
    FAILED_STATUS = "failed_status"
    """200 with `Status: fail`."""
    SHORT_PAGE = "short_page"
    """Rows are missing from the page; the total counts them."""
    REPEATED_ROW = "repeated_row"
    """One row stands twice; a full page loses its last row for it."""
    SHIFTING_TOTAL = "shifting_total"
    """This page names another total than the others."""
    SMALLER_TOTAL = "smaller_total"
    """The total is one too small; given always, on every page."""
    LARGER_TOTAL = "larger_total"
    """The total is one too large; given always, on every page."""
    SHIFTING_ROWS = "shifting_rows"
    """A row moved to the end, so that the page starts one row too late."""
    SLOW = "slow"
    """The answer comes after `delay_seconds`."""
    DRIP = "drip"
    """The response trickles out over `delay_seconds`."""
    OTHERS_ROWS = "others_rows"
    """200 with other accounts' rows, as from a cache that mixes up responses."""
    EMPTY = "empty"
    """200 with no rows and a total of 0."""


class Rejection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule by which requests are always rejected.

    It applies to requests that name `ids`, at `endpoints`, for `dates` (None: any), if they match
    more than `rows` rows. `status` and `message` follow after `delay_seconds`.
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
    """Which faults to show.

    `rejections` are tried in order. Beyond `largest_skip` the status is `beyond_skip` (200: an
    empty page with the right total). `probabilities` of each kind sum up to 1 at most. `down` drops
    every connection, `unauthorized` rejects every key. `only_endpoints`, `only_ids` and `first_n`
    limit all of it. `retry_after` (whole seconds) goes into 429.
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
        """Every kind, equally likely; `probability` is the chance of any."""
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
    """What one request suffers: a `kind` or none, with `chance` for its details."""

    kind: FaultKind | None
    faults: Faults
    chance: random.Random


_ID_LISTS = frozenset({"accountIds", "logins"})


def _named_in(target: str) -> set[str]:
    """The account ids and logins in a query."""
    return {
        each
        for name, value in parse_qsl(urlsplit(target).query)
        if name in _ID_LISTS
        for each in value.split(",")
    }


class FaultState:
    """Decides request by request what `faults` do."""

    def __init__(self, faults: Faults) -> None:
        """Begin with no request seen."""
        self._faults = faults
        self._seen = 0
        self._times: Counter[str] = Counter()

    def draw(self, endpoint: Endpoint, target: str) -> Draw:
        """What the next request suffers; NO_FAULTS if spared. `target` is path and query."""
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
