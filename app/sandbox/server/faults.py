"""Faults on demand, seeded by request and repetition."""

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
    """Faults of one request."""

    TOO_MANY_REQUESTS = "too_many_requests"
    """429, `Retry-After` in seconds."""
    TOO_MANY_REQUESTS_DATE = "too_many_requests_date"
    """429, `Retry-After` as a date."""
    INTERNAL_ERROR = "internal_error"
    """500."""
    BAD_GATEWAY = "bad_gateway"
    """502, as HTML."""
    SERVICE_UNAVAILABLE = "service_unavailable"
    """503."""
    DROPPED_CONNECTION = "dropped_connection"
    """Before or within the response."""
    INVALID_JSON = "invalid_json"
    """200 without JSON."""
    TRUNCATED_JSON = "truncated_json"
    """200, cut in half."""
    FAILED_STATUS = "failed_status"
    """200 with `Status: fail`."""
    SHORT_PAGE = "short_page"
    """The total counts missing rows."""
    REPEATED_ROW = "repeated_row"
    """A full page loses another."""
    SHIFTING_TOTAL = "shifting_total"
    """On this page alone."""
    SMALLER_TOTAL = "smaller_total"
    """By one, always."""
    LARGER_TOTAL = "larger_total"
    """By one, always."""
    SHIFTING_ROWS = "shifting_rows"
    """The page starts one too late."""
    SLOW = "slow"
    """After `delay_seconds`."""
    DRIP = "drip"
    """Over `delay_seconds`."""
    OTHERS_ROWS = "others_rows"
    """As from a confused cache."""
    EMPTY = "empty"
    """200 without rows, total 0."""


class Rejection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rejects requests with `ids`, `endpoints`, `dates` (None: any) and more than `rows`."""

    kind: FaultKind | None = None
    status: int = 400
    message: str = "This request is not allowed."
    ids: frozenset[str] | None = None
    endpoints: frozenset[Endpoint] | None = None
    dates: frozenset[dt.date] | None = None
    rows: int = -1
    delay_seconds: float = 0.0


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The faults to show: `rejections` first, `beyond_skip` as status beyond `largest_skip`, and
    `probabilities` by kind, limited by `only_endpoints`, `only_ids`, `only_scans` and `first_n`.
    """

    probabilities: dict[FaultKind, float] = {}
    seed: int = 0
    down: bool = False
    unauthorized: bool = False
    only_endpoints: frozenset[Endpoint] | None = None
    only_ids: frozenset[str] | None = None
    only_scans: bool = False
    """Requests without ids for more than a row."""
    first_n: int | None = None
    retry_after: int = 1
    delay_seconds: float = 0.5
    rejections: tuple[Rejection, ...] = ()
    largest_skip: int | None = None
    beyond_skip: int = 400

    def __post_init__(self) -> None:
        """InvalidRequest for inconsistent values."""
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
        """`probability` of any kind."""
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
        """One kind alone."""
        return cls(probabilities={kind: probability}, seed=seed, first_n=first_n)


NO_FAULTS = Faults()


@dataclass(frozen=True, slots=True)
class Draw:
    """One request's fault, if any."""

    kind: FaultKind | None
    faults: Faults
    chance: random.Random


_ID_LISTS = frozenset({"accountIds", "logins"})


def _is_scan(target: str) -> bool:
    query = dict(parse_qsl(urlsplit(target).query))
    return _ID_LISTS.isdisjoint(query) and query.get("limit") != "1"


def _named_in(target: str) -> set[str]:
    return {
        each
        for name, value in parse_qsl(urlsplit(target).query)
        if name in _ID_LISTS
        for each in value.split(",")
    }


class FaultState:
    """Draws the faults of requests."""

    def __init__(self, faults: Faults) -> None:
        """Begin with no request seen."""
        self._faults = faults
        self._seen = 0
        self._times: Counter[str] = Counter()

    def draw(self, endpoint: Endpoint, target: str) -> Draw:
        """`target` is path and query."""
        faults = self._faults
        chance = random.Random(f"{faults.seed}|{target}|{self._times[target]}")
        if faults.only_endpoints is not None and endpoint not in faults.only_endpoints:
            return Draw(None, NO_FAULTS, chance)
        if faults.only_ids is not None and faults.only_ids.isdisjoint(_named_in(target)):
            return Draw(None, NO_FAULTS, chance)
        if faults.only_scans and not _is_scan(target):
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
