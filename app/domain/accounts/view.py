"""An account as detection sees it."""

import datetime as dt
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from app.domain.accounts.counts import DayCounts, Drift, IdentityFinding, OddRows, Totals
from app.domain.accounts.money import Money
from app.domain.contract.tables import MAX_DATES
from app.domain.ids import AccountId, Login


@dataclass(frozen=True, slots=True)
class History:
    """What is known of an account before `first`, the first compared date.

    Unless it `is_known`, upstream is asked for all daily rows, or those since `counted_from`,
    before which it counts `counted` trades. `first_trade` is the first date, if known.
    """

    first: dt.date
    is_known: bool
    counted_from: dt.date | None = None
    counted: int = 0
    first_trade: dt.date | None = None

    @property
    def uncounted(self) -> frozenset[dt.date] | None:
        """Dates with unknown counts; None: all earlier."""
        if self.is_known:
            return frozenset()
        if self.counted_from is None or (self.first - self.counted_from).days > MAX_DATES:
            return None
        return frozenset(
            self.counted_from + dt.timedelta(days=number)
            for number in range((self.first - self.counted_from).days)
        )


@dataclass(frozen=True, slots=True)
class AccountView:
    """What detection sees of one account."""

    account_id: AccountId
    totals: Totals
    days: tuple[DayCounts, ...] = ()
    """Those that disagree."""
    known_days: int = 0
    """Dates with any row."""
    first_day: dt.date | None = None
    last_day: dt.date | None = None
    findings: tuple[IdentityFinding, ...] = ()
    drift: Drift | None = None
    logins: tuple[Login, ...] = ()
    by_login: bool = False
    """Upstream knows no id for it."""
    open_issues: tuple[Mapping[str, object], ...] = ()
    descents: frozenset[dt.date] = frozenset()
    """Dates of repaired daily rows with unread finer ones."""
    explained_as: str | None = None
    """The last explained signature."""
    explained_times: int = 0
    ask_again_at: dt.datetime | None = None
    status: str = "pending"
    odd_rows: tuple[OddRows, ...] = ()
    doubts: frozenset[dt.date] = frozenset()
    """Dates lowered before, for audits."""
    history: History | None = None
    """None: all dates are compared."""
    pins: Mapping[tuple[str, dt.date | None], int] = field(default_factory=dict)
    """Restored rows by table and date; 0: upstream has another date."""
    pins_elsewhere: int = 0
    """Pins under another id or none."""
    pins_are_due: bool = False
    doubled: frozenset[dt.date] = frozenset()
    """Dates of trades stored under several."""
    money: Money | None = None

    @property
    def is_history_known(self) -> bool:
        """Whether alltime can be compared."""
        return self.history is None or self.history.is_known

    @property
    def surplus_days(self) -> tuple[dt.date, ...]:
        """Known dates where trades exceed daily."""
        if not self.totals.has_daily:
            return ()
        if self.totals.alltime == self.totals.daily:
            return tuple(day.date for day in self.days if day.closed > day.daily)
        return tuple(
            day.date
            for day in self.days
            if day.closed > max(day.daily, day.hourly) and (day.daily_rows or day.hourly_rows)
        )

    def counts_on(self, dates: Collection[dt.date]) -> bool:
        """Whether a table counts trades on one of these dates, which disagrees."""
        return any(
            day.date in dates and max(day.daily, day.hourly, day.closed) for day in self.days
        )

    @property
    def agrees(self) -> bool:
        """Whether nothing is known to be wrong."""
        totals = self.totals
        if (
            not self.is_history_known
            or not 0 <= totals.alltime == totals.daily == totals.hourly == totals.closed
        ):
            return False
        is_present = (
            totals.has_alltime and totals.has_daily and totals.has_hourly and totals.has_closed
        )
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
        """Whether an audit found other figures."""
        return self.drift is not None and not self.drift.absent

    @property
    def has_failed(self) -> bool:
        """Whether the last run failed it."""
        return self.status in ("failed", "exhausted")

    @property
    def signature(self) -> str:
        """A digest of what detection sees."""
        beside = [
            *([self.odd_rows] if self.odd_rows else []),
            *([sorted(map(repr, self.pins.items()))] if self.pins else []),
        ]
        if self.doubled:
            # As an earlier version explained it, that was not seen.
            beside.append(sorted(self.doubled))
        if self.money:
            beside.append(self.money.signature)
        seen = (
            self.totals,
            self.days,
            sorted(self.findings, key=repr),
            sorted(self.descents),
            *beside,
        )
        return hashlib.sha256(repr(seen).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class AcceptedIssue:
    """An issue accepted before `until`; `was_held`: guarded again afterwards."""

    account_id: AccountId
    code: str
    until: dt.date
    figures: str
    seen: str
    was_held: bool = False
