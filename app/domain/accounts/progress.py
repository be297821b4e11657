"""What a run learned and wrote of an account so far."""

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
    """The dates of one table of one account that were read completely in this run; `rows` of them
    were compared with stored ones.
    """

    everything: bool = False
    dates: set[dt.date] = field(default_factory=set)
    ranges: list[tuple[dt.date, dt.date]] = field(default_factory=list)
    rows: int = 0

    def clear(self) -> None:
        """What was read counts as not read: it is to be read again."""
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
    """What was written for an account in one run, in rows; `values_nulled` in fields.

    `requests` are those that it took part in, `own_requests` its share of them and `seconds` that
    of their time: what is asked for several accounts at once is shared by them in equal parts.
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
        """Rows that do not stand any more as they stood before."""
        return self.updated + self.moved + self.removed

    @property
    def written(self) -> int:
        """Rows of raw tables that were touched."""
        return self.inserted + self.rewritten


@dataclass(slots=True)
class Progress:
    """What one run learned about an account so far: the only mutable value of the domain, one per
    account and run.

    `kept` holds the trades of stored rows that upstream no longer sends, by table and date (None
    for alltime); `refused` tells why rows could not be held, `unheld` which columns, by table, hold
    something else than what was sent, `strangers` that its logins have trades of natural keys that
    no account has; `known` that an earlier run explained just this state for good, so that nothing
    is asked; `again` the dates to be read once more since daily may condemn rows there that keep
    others out; `sent` the tables of which upstream sent any row, `silent` those that were read
    without one, `named` those that were asked for by login since a request by id brought none, or
    always are, `hold` that nothing more may be done for it; `untried` why it was not read, though
    it did not fail alone.

    `moving` are the dates that still move. `withheld` are the dates, by table, on which nothing was
    removed or lowered for that reason (None: the alltime row), `told` is what upstream's daily rows
    count on such dates, `grew` that the run brought in rows of them, and `waits` that an earlier
    run put off a fall of alltime until they are settled. `written` are the tables in which rows of
    the account were written, `mended` tells that account ids were mended.

    `tried` are the dates, by table, that were asked for in a second shape (None for alltime; None
    itself: no trial is wanted), `alone` those of them for which nobody else was asked,
    `explained_as` a state that needs no trial, since one was made not long ago.

    `by_rows` tells that every row of the account is compared, whatever the counts say. `differing`
    is how rows of upstream and stored ones differed before anything of them was written, `unequal`
    how they still differed after it, by table.

    `counted` is what upstream's daily rows say of single dates before the history that is compared,
    and `counted_in_parts` that all of them were read like this; `first_sent` is the first of them
    that upstream has, or else the first that is compared, once all were read.

    `accepted` is what somebody accepted of the account, by code; it is `covered` where that is all
    that is known to be wrong with it: then nothing is asked.
    """

    read: Mapping[Endpoint, DatesRead] = field(
        default_factory=lambda: {endpoint: DatesRead() for endpoint in _FETCHED}
    )
    kept: dict[Endpoint, dict[dt.date | None, int]] = field(default_factory=dict)
    refused: SetAside = field(default_factory=SetAside)
    unheld: dict[str, set[str]] = field(default_factory=dict)
    strangers: list[str] = field(default_factory=list)
    too_narrow: list[Mapping[str, object]] = field(default_factory=list)
    again: dict[Endpoint, set[dt.date]] = field(default_factory=dict)
    left_alone: set[Endpoint] = field(default_factory=set)
    sent: set[Endpoint] = field(default_factory=set)
    silent: set[Endpoint] = field(default_factory=set)
    named: set[Endpoint] = field(default_factory=set)
    hold: Hold | None = None
    known: bool = False
    moving: Moving = field(default_factory=Moving)
    withheld: dict[Endpoint, set[dt.date | None]] = field(default_factory=dict)
    told: dict[dt.date, int] = field(default_factory=dict)
    grew: bool = False
    waits: bool = False
    written: set[str] = field(default_factory=set)
    mended: bool = False
    tried: dict[Endpoint, set[dt.date | None]] | None = None
    alone: dict[Endpoint, set[dt.date | None]] = field(default_factory=dict)
    explained_as: str | None = None
    by_rows: bool = False
    differing: list[Difference] = field(default_factory=list)
    unequal: dict[Endpoint, list[Difference]] = field(default_factory=dict)
    counted: dict[dt.date, CountedDay] = field(default_factory=dict)
    counted_in_parts: bool = False
    first_sent: dt.date | None = None
    accepted: dict[str, AcceptedIssue] = field(default_factory=dict)
    covered: bool = False
    errors: list[str] = field(default_factory=list)
    untried: str | None = None
    effort: Effort = field(default_factory=Effort)

    def dates_read(self, endpoint: Endpoint) -> DatesRead:
        """The dates read of the endpoint's table."""
        return self.read[endpoint]

    def owes_to_write(self, tables: Collection[str] = ()) -> bool:
        """Whether anything was written in these tables (none named: in any), or to account ids."""
        return self.mended or bool(self.written.intersection(tables) if tables else self.written)

    @property
    def moving_figures(self) -> MovingFigures:
        """What the run knows of the dates that still move when alltime is written."""
        was_told = self.read[Endpoint.DAILY].covers_all(self.moving.days)
        return MovingFigures(sum(self.told.values()) if was_told else None, self.grew, self.waits)

    @property
    def withheld_days(self) -> set[dt.date]:
        """The dates on which something was withheld, of all tables."""
        return {day for days in self.withheld.values() for day in days if day is not None}

    @property
    def alltime_is_withheld(self) -> bool:
        """Whether alltime keeps a count that upstream does not confirm, since it may lie in dates
        that still move.
        """
        return None in self.withheld.get(Endpoint.ALLTIME, ())
