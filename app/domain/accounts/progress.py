"""What a run has learned and written of an account."""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from app.domain.accounts.comparison import Difference
from app.domain.accounts.counts import CountedDay
from app.domain.accounts.hold import Hold
from app.domain.accounts.set_aside import SetAside
from app.domain.accounts.settling import Moving, MovingFigures
from app.domain.accounts.view import AcceptedIssue
from app.domain.contract.tables import Endpoint

_FETCHED = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)


@dataclass(slots=True)
class DatesRead:
    """Dates of one table that were read completely; `rows` of them were compared."""

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
        """Whether each date from `first` to `last` was read."""
        if self.everything or any(start <= first and last <= end for start, end in self.ranges):
            return True
        return self.covers_all(
            first + dt.timedelta(days=number) for number in range((last - first).days + 1)
        )

    def covers_all(self, days: Iterable[dt.date]) -> bool:
        """Whether all of the dates were read."""
        return all(self.covers(day) for day in days)


@dataclass(slots=True)
class Effort:
    """Rows written for an account in one run; `values_nulled` in fields.

    `requests` that it took part in; `own_requests` and `seconds` are its equal share of requests
    for several accounts.
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
        """Rows that no longer stand as before."""
        return self.updated + self.moved + self.removed

    @property
    def written(self) -> int:
        """Rows of raw tables that were touched."""
        return self.inserted + self.rewritten


@dataclass(slots=True)
class Progress:
    """What one run learned about an account; the only mutable value of the domain."""

    read: Mapping[Endpoint, DatesRead] = field(
        default_factory=lambda: {endpoint: DatesRead() for endpoint in _FETCHED}
    )
    kept: dict[Endpoint, dict[dt.date | None, int]] = field(default_factory=dict)
    """Trades of stored rows that upstream does not send, by date; None: alltime."""
    refused: SetAside = field(default_factory=SetAside)
    """Rows that the table cannot hold, with reasons."""
    unheld: dict[str, set[str]] = field(default_factory=dict)
    """Columns that hold something else than was sent, by table."""
    unknown_keys: list[str] = field(default_factory=list)
    """Trades of the account's logins whose natural key no account has."""
    too_narrow: list[Mapping[str, object]] = field(default_factory=list)
    """Rows that share a key of the table."""
    again: dict[Endpoint, set[dt.date]] = field(default_factory=dict)
    """Dates to read once more, since daily may refute stored rows there."""
    left_alone: set[Endpoint] = field(default_factory=set)
    """Tables that another writer changed meanwhile."""
    sent: set[Endpoint] = field(default_factory=set)
    """Tables of which upstream sent any row."""
    silent: set[Endpoint] = field(default_factory=set)
    """Tables that were read without a row."""
    named: set[Endpoint] = field(default_factory=set)
    """Tables that were asked for by login."""
    hold: Hold | None = None
    known: bool = False
    """An earlier run explained this state: nothing is asked."""
    moving: Moving = field(default_factory=Moving)
    """The unsettled dates."""
    withheld: dict[Endpoint, set[dt.date | None]] = field(default_factory=dict)
    """Unsettled dates with a withheld removal or lower count; None: alltime."""
    told: dict[dt.date, int] = field(default_factory=dict)
    """Upstream's daily counts on unsettled dates."""
    grew: bool = False
    """The run brought in rows of unsettled dates."""
    waits: bool = False
    """An earlier run withheld a lower alltime."""
    written: set[str] = field(default_factory=set)
    """Tables in which rows were written."""
    ids_repaired: bool = False
    tried: dict[Endpoint, set[dt.date | None]] | None = None
    """Dates asked for in a second shape; None: no trial is wanted."""
    alone: dict[Endpoint, set[dt.date | None]] = field(default_factory=dict)
    """Those of `tried` that were asked for the account alone."""
    explained_as: str | None = None
    """A state that needs no trial, since one was made not long ago."""
    by_rows: bool = False
    """Every row is compared, whatever the counts say."""
    differing: list[Difference] = field(default_factory=list)
    """How rows differed before the write."""
    unequal: dict[Endpoint, list[Difference]] = field(default_factory=dict)
    """How rows still differ after the write."""
    counted: dict[dt.date, CountedDay] = field(default_factory=dict)
    """Upstream's daily rows before the history."""
    counted_in_parts: bool = False
    """All of `counted` were read."""
    first_sent: dt.date | None = None
    """The first date before the history that upstream has, or the first compared one."""
    accepted: dict[str, AcceptedIssue] = field(default_factory=dict)
    """Accepted issues by code."""
    covered: bool = False
    """The accepted issues are all that is known to be wrong."""
    errors: list[str] = field(default_factory=list)
    untried: str | None = None
    """Why the account was not read, though it did not fail alone."""
    effort: Effort = field(default_factory=Effort)

    def dates_read(self, endpoint: Endpoint) -> DatesRead:
        """The dates read of the endpoint's table."""
        return self.read[endpoint]

    def owes_to_write(self, tables: Collection[str] = ()) -> bool:
        """Whether these tables (none: any), or account ids, were written."""
        return self.ids_repaired or bool(
            self.written.intersection(tables) if tables else self.written
        )

    @property
    def moving_figures(self) -> MovingFigures:
        """What is known of the unsettled dates when alltime is written."""
        was_told = self.read[Endpoint.DAILY].covers_all(self.moving.days)
        return MovingFigures(sum(self.told.values()) if was_told else None, self.grew, self.waits)

    @property
    def withheld_days(self) -> set[dt.date]:
        """The dates on which something was withheld, of all tables."""
        return {day for days in self.withheld.values() for day in days if day is not None}

    @property
    def alltime_is_withheld(self) -> bool:
        """Whether alltime keeps a count that may lie on unsettled dates."""
        return None in self.withheld.get(Endpoint.ALLTIME, ())
