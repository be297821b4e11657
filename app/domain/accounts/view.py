"""An account as detection sees it."""

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.domain.accounts.counts import DayCounts, Drift, IdentityFinding, OddRows, Totals
from app.domain.accounts.money import Money
from app.domain.contract.tables import MAX_DATES


@dataclass(frozen=True, slots=True)
class History:
    """What is known of an account before `first`, the first date that is compared.

    Where it `is_known` what upstream counts before, alltime is told without it. Otherwise upstream
    is to be asked: about all daily rows, or about those since `counted_from`, before which it
    counts `counted` trades. `first_trade` is the date of the first one, if that is known.
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
        return frozenset(
            self.counted_from + dt.timedelta(days=number)
            for number in range((self.first - self.counted_from).days)
        )


@dataclass(frozen=True, slots=True)
class AccountView:
    """What detection sees of one account; `by_login`: upstream knows no id for it, so that it is
    asked for by its logins.

    `days` are the dates that disagree, `known_days` the number of dates with any row, `open_issues`
    what was recorded before, as `trade_recon.issues` holds it, `explained_as` the signature that it
    had when a run could only explain what was left, `explained_times` how often asking again did
    not change that and `ask_again_at` when it is asked once more, `descents` the dates whose daily
    row an audit's heal changed and whose finer rows were not read since, `status` how the last run
    left it, `odd_rows` are rows that were left out of everything else, `doubts` the dates that an
    earlier run lowered on upstream's word and that the audit reads again, `doubled` the dates of
    trades that are stored under several of them. `history` tells what is known of dates before
    those that are compared (None: all are). `pins` are the numbers of rows that a restore brought
    back and that stay as they are, by table and date (0 where upstream has one that stands under
    another date here); `pins_are_due`: upstream is to be asked about them. `money` tells how
    amounts disagree where all counts agree (None: they do not).
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
        """Whether alltime can be compared: all dates are, or it is known what upstream counts
        before those that are.
        """
        return self.history is None or self.history.is_known

    @property
    def surplus_days(self) -> tuple[dt.date, ...]:
        """The dates on which more trades are stored than daily counts: some of them may be stored
        under another date, too.

        Where alltime does not stand by daily, rows of daily may be missing instead; then only dates
        count that the other tables know.
        """
        if not self.totals.has_daily:
            return ()
        if self.totals.alltime == self.totals.daily:
            return tuple(day.date for day in self.days if day.closed > day.daily)
        return tuple(
            day.date
            for day in self.days
            if day.closed > max(day.daily, day.hourly) and (day.daily_rows or day.hourly_rows)
        )

    @property
    def agrees(self) -> bool:
        """Whether its tables agree, in total and on every date, and nothing else is known to be
        wrong: most accounts, on most nights.
        """
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
        """Whether an audit found other figures upstream; an account that is absent there has
        none.
        """
        return self.drift is not None and not self.drift.absent

    @property
    def has_failed(self) -> bool:
        """Whether the last run that took it recorded it as failed by itself."""
        return self.status in ("failed", "exhausted")

    @property
    def signature(self) -> str:
        """What detection sees, in short: equal for two looks between which nothing changed."""
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
    """An issue of an account that somebody accepted, before `until`, with its figures then and how
    the account's tables disagreed.

    `was_held`: the account was held for confirmation, and is guarded as such once this is over.
    """

    account_id: str
    code: str
    until: dt.date
    figures: str
    seen: str
    was_held: bool = False
