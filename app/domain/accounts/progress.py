"""A run's work on an account."""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from app.domain.accounts.comparison import Difference
from app.domain.accounts.counts import CountedDay
from app.domain.accounts.hold import Hold
from app.domain.accounts.set_aside import NarrowRow, SetAside
from app.domain.accounts.settling import Moving, MovingFigures
from app.domain.accounts.view import AcceptedIssue
from app.domain.contract.tables import Endpoint

_FETCHED = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)


@dataclass(slots=True)
class DatesRead:
    """Dates of a table read completely; `rows` compared."""

    everything: bool = False
    dates: set[dt.date] = field(default_factory=set)
    ranges: list[tuple[dt.date, dt.date]] = field(default_factory=list)
    rows: int = 0

    def clear(self) -> None:
        """Count nothing as read."""
        self.everything = False
        self.dates.clear()
        self.ranges.clear()
        self.rows = 0

    def covers(self, day: dt.date) -> bool:
        """Whether the date was read."""
        return (
            self.everything
            or day in self.dates
            or any(first <= day <= last for first, last in self.ranges)
        )

    def covers_span(self, first: dt.date, last: dt.date) -> bool:
        """Whether the whole range was read."""
        if self.everything or any(start <= first and last <= end for start, end in self.ranges):
            return True
        return self.covers_all(
            first + dt.timedelta(days=number) for number in range((last - first).days + 1)
        )

    def covers_all(self, days: Iterable[dt.date]) -> bool:
        """Whether all were read."""
        return all(self.covers(day) for day in days)


@dataclass(slots=True)
class Effort:
    """Rows written for an account in a run, and requests that it took part in.

    `own_requests` and `seconds` are its equal share of requests for several accounts.
    """

    requests: int = 0
    inserted: int = 0
    updated: int = 0
    moved: int = 0
    removed: int = 0
    set_aside: int = 0
    values_nulled: int = 0
    seconds: float = 0.0
    own_requests: float = 0.0

    def __add__(self, other: "Effort") -> "Effort":
        """Both together."""
        return Effort(
            self.requests + other.requests,
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.moved + other.moved,
            self.removed + other.removed,
            self.set_aside + other.set_aside,
            self.values_nulled + other.values_nulled,
            self.seconds + other.seconds,
            self.own_requests + other.own_requests,
        )

    def __bool__(self) -> bool:
        """Whether anything was done."""
        return bool(
            self.requests
            or self.inserted
            or self.updated
            or self.moved
            or self.removed
            or self.set_aside
            or self.values_nulled
        )

    @property
    def rewritten(self) -> int:
        """Rows changed, moved or removed."""
        return self.updated + self.moved + self.removed

    @property
    def written(self) -> int:
        """Raw rows written."""
        return self.inserted + self.rewritten


@dataclass(slots=True)
class Progress:
    """One run's findings; the domain's only mutable value."""

    read: Mapping[Endpoint, DatesRead] = field(
        default_factory=lambda: {endpoint: DatesRead() for endpoint in _FETCHED}
    )
    kept: dict[Endpoint, dict[dt.date | None, int]] = field(default_factory=dict)
    """Unsent stored trades by date; None: alltime."""
    refused: SetAside = field(default_factory=SetAside)
    unheld: dict[str, set[str]] = field(default_factory=dict)
    """Columns, by table, stored otherwise than sent."""
    unknown_keys: list[str] = field(default_factory=list)
    """Trades of keys that no account has."""
    too_narrow: list[NarrowRow] = field(default_factory=list)
    """Rows that share a key."""
    again: dict[Endpoint, set[dt.date]] = field(default_factory=dict)
    """Dates that daily may refute."""
    left_alone: set[Endpoint] = field(default_factory=set)
    """Tables changed by another writer."""
    sent: set[Endpoint] = field(default_factory=set)
    """Tables with rows upstream."""
    silent: set[Endpoint] = field(default_factory=set)
    """Tables read without a row."""
    named: set[Endpoint] = field(default_factory=set)
    """Tables requested by login."""
    hold: Hold | None = None
    known: bool = False
    """Explained before: nothing is asked."""
    moving: Moving = field(default_factory=Moving)
    withheld: dict[Endpoint, set[dt.date | None]] = field(default_factory=dict)
    """Unsettled dates with a withheld decrease."""
    told: dict[dt.date, int] = field(default_factory=dict)
    """Upstream's daily counts on unsettled dates."""
    grew: bool = False
    """Rows of unsettled dates came in."""
    waits: bool = False
    """A lower alltime was withheld before."""
    written: set[str] = field(default_factory=set)
    ids_repaired: bool = False
    tried: dict[Endpoint, set[dt.date | None]] | None = None
    """Dates tried in a second shape; None: unwanted."""
    alone: dict[Endpoint, set[dt.date | None]] = field(default_factory=dict)
    """Those requested alone."""
    explained_as: str | None = None
    """A state tried recently."""
    by_rows: bool = False
    """Every row is compared."""
    differing: list[Difference] = field(default_factory=list)
    """Before the write."""
    unequal: dict[Endpoint, list[Difference]] = field(default_factory=dict)
    """After it."""
    counted: dict[dt.date, CountedDay] = field(default_factory=dict)
    """Upstream's daily rows before the history."""
    counted_in_parts: bool = False
    """All of `counted` were read."""
    first_sent: dt.date | None = None
    """Upstream's first date, or the first compared."""
    accepted: dict[str, AcceptedIssue] = field(default_factory=dict)
    """By code."""
    covered: bool = False
    """All known issues are accepted."""
    errors: list[str] = field(default_factory=list)
    untried: str | None = None
    """Why it was not read."""
    effort: Effort = field(default_factory=Effort)

    def dates_read(self, endpoint: Endpoint) -> DatesRead:
        """The dates read of a table."""
        return self.read[endpoint]

    def owes_to_write(self, tables: Collection[str] = ()) -> bool:
        """Whether ids or these tables were written."""
        return self.ids_repaired or bool(
            self.written.intersection(tables) if tables else self.written
        )

    @property
    def moving_figures(self) -> MovingFigures:
        """What upstream shows of unsettled dates, for the decision to lower alltime."""
        was_told = self.read[Endpoint.DAILY].covers_all(self.moving.days)
        return MovingFigures(sum(self.told.values()) if was_told else None, self.grew, self.waits)

    @property
    def withheld_days(self) -> set[dt.date]:
        """Dates with anything withheld."""
        return {day for days in self.withheld.values() for day in days if day is not None}

    @property
    def alltime_is_withheld(self) -> bool:
        """Whether alltime keeps a higher count."""
        return None in self.withheld.get(Endpoint.ALLTIME, ())
