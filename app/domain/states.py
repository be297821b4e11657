"""Words of the domain as types: what is known of an account, what a run learned, how it ended. Pure: no I/O."""

import datetime as dt
import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from app.domain.accounts.comparison import Difference
from app.domain.accounts.money import Money
from app.domain.accounts.set_aside import SetAside
from app.domain.accounts.settling import Moving, MovingFigures
from app.domain.contract.tables import MAX_DATES, METRICS, TABLES, Endpoint

_METRICS = frozenset(TABLES[endpoint].name for endpoint in METRICS)
_FETCHED = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)


class RunKind(StrEnum):
    """Which accounts a run takes: mismatched ones not backing off, all mismatched ones, or whatever differs from upstream.

    An inspection takes all that disagree and only detects: it heals nothing, and does not ask upstream.
    """

    FULL = "full"
    RETRY = "retry"
    AUDIT = "audit"
    INSPECT = "inspect"


class Depth(StrEnum):
    """How far a run compares an account: the counts that detection sees, or every row and column of every table."""

    COUNTS = "counts"
    ROWS = "rows"


class RunStatus(StrEnum):
    """The states of a run; all but the first three are ends, and from `needs_confirmation` somebody may let it go on."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    COMPLETED_WITH_ISSUES = "completed_with_issues"
    NEEDS_CONFIRMATION = "needs_confirmation"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether nothing more will happen to the run by itself."""
        return self not in (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSED)


class Outcome(StrEnum):
    """How an account left a run.

    `unchanged`: there was nothing to heal; `healed`: issues were there and none is left; `explained`: what is left is not
    the warehouse's to heal (upstream contradicts itself, forgot, still moves, or the identity is ambiguous); `partial`:
    some issues were closed, some that can be healed are left; `failed`: none was closed. Held, and not healed though that is
    possible: `flapping`, where the same issue opens again and again right after healing; `needs_confirmation`, where healing
    would rewrite too much, or upstream suddenly has nothing. `gone`: somebody deleted it from trade_recon while it waited.
    `found`: an inspection found issues.
    """

    UNCHANGED = "unchanged"
    HEALED = "healed"
    EXPLAINED = "explained"
    PARTIAL = "partial"
    FAILED = "failed"
    FLAPPING = "flapping"
    NEEDS_CONFIRMATION = "needs_confirmation"
    GONE = "gone"
    FOUND = "found"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a hold shows, and what confirming it allows: any change that leaves at least `trades` counted in each table.

    `trades` is None where upstream has nothing at all: confirming that allows no write. `blanks` allows figures to become empty. `stored`
    is what the table of the hold counted: one that counts fewer, as where upstream contradicts itself, may be left with fewer.
    """

    trades: int | None = None
    blanks: bool = False
    stored: int | None = None

    def least(self, stored: int) -> int:
        """How many trades a table must be left with that counts so many; what was shown may have been written to it already."""
        trades = self.trades or 0
        before = trades if self.stored is None else self.stored
        if stored < trades:
            return max(0, stored - max(0, before - trades))
        return max(0, trades - min(max(0, before - stored), stored - trades))


@dataclass(frozen=True, slots=True)
class Hold:
    """That an account is held, as what, and the sentence that says why; `absent` if upstream has nothing at all for it.

    `shown` is what confirming the run lets through.
    """

    outcome: Literal[Outcome.FLAPPING, Outcome.NEEDS_CONFIRMATION]
    reason: str
    absent: bool = False
    shown: Shown = field(default_factory=Shown)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Rows of an account that runs rewrote since it was whole for the last time, and how many of them were removed."""

    rows: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """What the tables hold of an account: whether there are rows at all, and the trades that they count."""

    has_alltime: bool
    alltime: int
    has_daily: bool
    daily: int
    has_hourly: bool
    hourly: int
    has_closed: bool
    closed: int

    @property
    def counts(self) -> dict[str, int]:
        """Trades by table name."""
        return {
            "raw_metrics_alltime": self.alltime,
            "raw_metrics_daily": self.daily,
            "raw_metrics_hourly": self.hourly,
            "raw_trades_closed": self.closed,
        }


@dataclass(frozen=True, slots=True)
class DayCounts:
    """One line of the day matrix: the trades that each table counts on a date on which they disagree."""

    date: dt.date
    daily: int
    hourly: int
    closed: int
    daily_rows: int
    hourly_rows: int


@dataclass(frozen=True, slots=True)
class IdentityFinding:
    """Rows of one natural key whose account id is missing (`holder` None) or not theirs, and the ids that fit on their dates."""

    table: str
    login: str
    platform: str
    broker: str
    holder: str | None
    candidates: tuple[str, ...]
    rows: int
    dates: tuple[dt.date, ...]

    @property
    def is_of_metrics(self) -> bool:
        """Whether it tells of metrics rows under an account's id; those under a placeholder go to the account that fits, unasked."""
        return self.holder is not None and self.table in _METRICS and not self._is_of_placeholder

    @property
    def _is_of_placeholder(self) -> bool:
        """Whether the id stands in for an unknown one: the MD5 of the natural key, in any spelling, or the login."""
        keys = [f"{self.login}|{self.platform}|{self.broker}", *([f"{self.login}|{self.platform}"] if not self.broker else [])]
        md5s = (hashlib.md5(key.encode(), usedforsecurity=False).hexdigest() for key in keys)
        return self.holder in ("", self.login) or (self.holder or "").lower() in md5s

    def shown(self) -> dict[str, object]:
        """As reports show it, without the dates."""
        return {
            "table": self.table,
            "login": self.login,
            "platform": self.platform,
            "broker": self.broker,
            "account_id": self.holder,
            "candidates": list(self.candidates),
            "rows": self.rows,
        }


@dataclass(frozen=True, slots=True)
class OddRows:
    """Stored rows of one table whose date no calendar holds, which no count has and no request can ask for; `samples` name the first."""

    table: str
    rows: int
    samples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drift:
    """What an audit found: upstream's figures and ours, or that upstream has the account no more (`absent`).

    `daily_agrees`: the stored daily rows already add up to upstream's figures, so that only the alltime row is stale.
    """

    absent: bool
    evidence: Mapping[str, object]
    daily_agrees: bool = False


@dataclass(frozen=True, slots=True)
class CountedDay:
    """What upstream's daily row of a date says; a figure that it does not tell is None."""

    trades: int
    net_profit: Decimal | None = None
    total_lots: Decimal | None = None


@dataclass(frozen=True, slots=True)
class History:
    """What is known of an account before `first`, the first date that is compared.

    Where it `is_known` what upstream counts before, alltime is told without it. Otherwise upstream is to be asked: about all daily rows, or
    about those since `counted_from`, before which it counts `counted` trades. `first_trade` is the date of the first one, if that is known.
    """

    first: dt.date
    is_known: bool
    counted_from: dt.date | None = None
    counted: int = 0
    first_trade: dt.date | None = None

    @property
    def uncounted(self) -> frozenset[dt.date] | None:
        """The dates of which upstream's counts are not known; None: all before the first one."""
        if self.is_known:
            return frozenset()
        if self.counted_from is None or (self.first - self.counted_from).days > MAX_DATES:
            return None
        return frozenset(self.counted_from + dt.timedelta(days=number) for number in range((self.first - self.counted_from).days))


@dataclass(frozen=True, slots=True)
class AccountView:
    """What detection sees of one account; `by_login`: upstream knows no id for it, so that it is asked for by its logins.

    `days` are the dates that disagree, `known_days` the number of dates with any row, `open_issues` what was recorded
    before, as `trade_recon.issues` holds it, `explained_as` the signature that it had when a run could only explain what was
    left, `explained_times` how often asking again did not change that and `ask_again_at` when it is asked once more, `descents` the dates
    whose daily row an audit's heal changed and whose finer rows were not read since, `status` how the last run left it,
    `odd_rows` are rows that were left out of everything else, `doubts` the dates that an earlier run lowered on upstream's word and that
    the audit reads again, `doubled` the dates of trades that are stored under several of them. `history` tells what is known of dates
    before those that are compared (None: all are). `pins` are the numbers of
    rows that a restore brought back and that stay as they are, by table and date (0 where upstream has one that stands
    under another date here); `pins_are_due`: upstream is to be asked about them. `money` tells how amounts disagree where all counts
    agree (None: they do not).
    """

    account_id: str
    totals: Totals
    days: tuple[DayCounts, ...] = ()
    known_days: int = 0
    first_day: dt.date | None = None
    last_day: dt.date | None = None
    findings: tuple[IdentityFinding, ...] = ()
    drift: Drift | None = None
    logins: tuple[str, ...] = ()
    by_login: bool = False
    open_issues: tuple[Mapping[str, object], ...] = ()
    descents: frozenset[dt.date] = frozenset()
    explained_as: str | None = None
    explained_times: int = 0
    ask_again_at: dt.datetime | None = None
    status: str = "pending"
    odd_rows: tuple[OddRows, ...] = ()
    doubts: frozenset[dt.date] = frozenset()
    history: History | None = None
    pins: Mapping[tuple[str, dt.date | None], int] = field(default_factory=dict)
    pins_are_due: bool = False
    doubled: frozenset[dt.date] = frozenset()
    money: Money | None = None

    @property
    def is_history_known(self) -> bool:
        """Whether alltime can be compared: all dates are, or it is known what upstream counts before those that are."""
        return self.history is None or self.history.is_known

    @property
    def surplus_days(self) -> tuple[dt.date, ...]:
        """The dates on which more trades are stored than daily counts: some of them may be stored under another date, too.

        Where alltime does not stand by daily, rows of daily may be missing instead; then only dates count that the other tables know.
        """
        if not self.totals.has_daily:
            return ()
        if self.totals.alltime == self.totals.daily:
            return tuple(day.date for day in self.days if day.closed > day.daily)
        return tuple(day.date for day in self.days if day.closed > max(day.daily, day.hourly) and (day.daily_rows or day.hourly_rows))

    @property
    def agrees(self) -> bool:
        """Whether its tables agree, in total and on every date, and nothing else is known to be wrong: most accounts, on most nights."""
        totals = self.totals
        if not self.is_history_known or not 0 <= totals.alltime == totals.daily == totals.hourly == totals.closed:
            return False
        is_present = totals.has_alltime and totals.has_daily and totals.has_hourly and totals.has_closed
        return (is_present or totals.alltime == 0) and not self._is_doubted

    @property
    def _is_doubted(self) -> bool:
        return bool(
            self.days
            or self.findings
            or self.drift
            or self.descents
            or self.open_issues
            or self.odd_rows
            or self.doubts
            or self.pins
            or self.money
        )

    @property
    def drifts(self) -> bool:
        """Whether an audit found other figures upstream; an account that is absent there has none."""
        return self.drift is not None and not self.drift.absent

    @property
    def has_failed(self) -> bool:
        """Whether the last run that took it recorded it as failed by itself."""
        return self.status in ("failed", "exhausted")

    @property
    def signature(self) -> str:
        """What detection sees, in short: equal for two looks between which nothing changed."""
        beside = [*([self.odd_rows] if self.odd_rows else []), *([sorted(map(repr, self.pins.items()))] if self.pins else [])]
        if self.doubled:
            # As an earlier version explained it, that was not seen.
            beside.append(sorted(self.doubled))
        if self.money:
            beside.append(self.money.signature)
        seen = (self.totals, self.days, sorted(self.findings, key=repr), sorted(self.descents), *beside)
        return hashlib.sha256(repr(seen).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class AcceptedIssue:
    """An issue of an account that somebody accepted, before `until`, with its figures then and how the account's tables disagreed.

    `was_held`: the account was held for confirmation, and is guarded as such once this is over.
    """

    account_id: str
    code: str
    until: dt.date
    figures: str
    seen: str
    was_held: bool = False


@dataclass(slots=True)
class DatesRead:
    """The dates of one table of one account that were read completely in this run; `rows` of them were compared with stored ones."""

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
        return self.everything or day in self.dates or any(first <= day <= last for first, last in self.ranges)

    def covers_span(self, first: dt.date, last: dt.date) -> bool:
        """Whether each date from `first` to `last` was read."""
        if self.everything or any(start <= first and last <= end for start, end in self.ranges):
            return True
        return self.covers_all(first + dt.timedelta(days=number) for number in range((last - first).days + 1))

    def covers_all(self, days: Iterable[dt.date]) -> bool:
        """Whether all of the dates were read."""
        return all(self.covers(day) for day in days)


@dataclass(slots=True)
class Effort:
    """What was written for an account in one run, in rows; `values_nulled` in fields.

    `requests` are those that it took part in, `own_requests` its share of them and `seconds` that of their time: what is asked for several
    accounts at once is shared by them in equal parts.
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
        return bool(self.requests or self.inserted or self.updated or self.moved or self.removed or self.set_aside or self.values_nulled)

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
    """What one run learned about an account so far: the only mutable value of the domain, one per account and run.

    `kept` holds the trades of stored rows that upstream no longer sends, by table and date (None for alltime);
    `refused` tells why rows could not be held, `unheld` which columns, by table, hold something else than what was sent,
    `strangers` that its logins have trades of natural keys that no account has; `known`
    that an earlier run explained just this state for good, so that nothing is asked; `again` the dates to be read once more
    since daily may condemn rows there that keep others out; `sent` the tables of which upstream sent any row, `silent` those that were
    read without one, `named` those that were asked for by login since a request by id brought none, or always are, `hold` that
    nothing more may be done for it; `untried` why it was not read, though it did not fail alone.

    `moving` are the dates that still move. `withheld` are the dates, by table, on which nothing was removed or lowered for that
    reason (None: the alltime row), `told` is what upstream's daily rows count on such dates, `grew` that the run brought in rows of
    them, and `waits` that an earlier run put off a fall of alltime until they are settled. `written` are the tables in which rows of
    the account were written, `mended` tells that account ids were mended.

    `tried` are the dates, by table, that were asked for in a second shape (None for alltime; None itself: no trial is wanted), `alone`
    those of them for which nobody else was asked, `explained_as` a state that needs no trial, since one was made not long ago.

    `by_rows` tells that every row of the account is compared, whatever the counts say. `differing` is how rows of upstream and stored ones
    differed before anything of them was written, `unequal` how they still differed after it, by table.

    `counted` is what upstream's daily rows say of single dates before the history that is compared, and `counted_in_parts` that all of
    them were read like this; `first_sent` is the first of them that upstream has, or else the first that is compared, once all were read.

    `accepted` is what somebody accepted of the account, by code; it is `covered` where that is all that is known to be wrong with it: then
    nothing is asked.
    """

    read: Mapping[Endpoint, DatesRead] = field(default_factory=lambda: {endpoint: DatesRead() for endpoint in _FETCHED})
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
        """Whether alltime keeps a count that upstream does not confirm, since it may lie in dates that still move."""
        return None in self.withheld.get(Endpoint.ALLTIME, ())
