"""The planner: from what is known of a batch to the fewest API requests that tell what is not. Pure: no I/O.

Coarse levels come first: where alltime and daily disagree, or an audit saw drift, both are read before anything finer,
since they say on which dates the finer tables are wrong. A date whose daily figure stands is then read in those tables
that differ from it. What still differs after that makes daily itself suspect. Requests are shared by the whole batch:
accounts are packed together while one request for all costs no more pages than one for each.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.domain.contract import PAGE_ROWS, Endpoint, Request
from app.domain.models import AccountView, DayCounts, Progress
from app.domain.sequences import pieces

MAX_DATES = 100
"""Dates of one request, for the length of the URL."""
MAX_ROUNDS = 8
"""Rounds of fetching that a batch can need; more would mean that a round learns nothing."""
_OPEN_BINS = 20
_ROWS_A_DAY = {Endpoint.DAILY: 1.0, Endpoint.HOURLY: 8.0}
_MOST_OF = 0.5


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """A request and the accounts whose slices it will prove: these accounts, on the request's dates (all, if it names none).

    `logins` are, for trades, those of each account in the same order: an account is only proven when all of its logins are asked for.
    """

    request: Request
    account_ids: tuple[str, ...]
    logins: tuple[tuple[str, ...], ...] = ()

    def halved(self) -> tuple["PlannedRequest", ...]:
        """The same work in two requests, each for half of the accounts, or half of the dates of one; none if that cannot be."""
        middle = len(self.account_ids) // 2
        if middle:
            return self._part(slice(None, middle)), self._part(slice(middle, None))
        days = len(self.request.dates) // 2
        if days:
            return tuple(
                replace(self, request=replace(self.request, dates=dates))
                for dates in (self.request.dates[:days], self.request.dates[days:])
            )
        return ()

    def _part(self, part: slice) -> "PlannedRequest":
        ids, logins = self.account_ids[part], self.logins[part]
        if self.request.endpoint.is_trades:
            asked = tuple(sorted({login for each in logins for login in each}))
            return PlannedRequest(replace(self.request, logins=asked), ids, logins)
        return PlannedRequest(replace(self.request, account_ids=ids), ids)


@dataclass(frozen=True, slots=True)
class Needs:
    """What must be read next of one account; an empty set of dates means nothing, None every date."""

    alltime: bool = False
    daily: frozenset[dt.date] | None = frozenset()
    hourly: frozenset[dt.date] | None = frozenset()
    closed: frozenset[dt.date] = frozenset()


def why_not_asked(view: AccountView) -> str | None:
    """Why the API cannot be asked about the account; None if it can."""
    for name, values in (("account id", (view.account_id,)), ("login", view.logins)):
        if any("," in value for value in values):
            return f"Its {name} holds a comma, which separates ids in the API's lists: it cannot be asked for."
    return None


def needs_of(view: AccountView, progress: Progress) -> Needs:
    """What must be read next of the account, given what this run has read already.

    Empty when nothing more can be learned. An account that failed, that someone else is writing, or
    that is explained for good is left.
    """
    if progress.errors or progress.left_alone or progress.known:
        return Needs()
    coarse = _coarse_needs(view, progress)
    return coarse if coarse != Needs() else _fine_needs(view, progress)


def _coarse_needs(view: AccountView, progress: Progress) -> Needs:
    totals = view.totals
    drifts = view.drift is not None and not view.drift.absent
    # Without alltime or daily rows an account also lacks what tells its trades from others'.
    lacks = any(totals.counts.values()) and not (totals.has_alltime and totals.has_daily)
    coarse = totals.alltime != totals.daily or drifts or lacks
    suspect = [day for day in view.days if _daily_is_suspect(day)]
    alltime = (coarse or bool(suspect)) and not progress.dates_read(Endpoint.ALLTIME).everything
    daily = progress.dates_read(Endpoint.DAILY)
    if coarse and not daily.everything:
        return Needs(alltime=alltime, daily=None)
    unread = frozenset(day.date for day in suspect if not daily.covers(day.date))
    return Needs(alltime=alltime, daily=unread | {day for day in _squatters(progress) if not daily.covers(day)})


def _squatters(progress: Progress) -> set[dt.date]:
    """Dates of stored rows that upstream does not send and that may hold the key of one that it does: only daily can condemn them."""
    if not progress.too_narrow:
        return set()
    return {day for endpoint in (Endpoint.HOURLY, Endpoint.CLOSED) for day in progress.kept.get(endpoint, {}) if day is not None}


def _daily_is_suspect(day: DayCounts) -> bool:
    """Whether daily is to be read before the finer tables: they agree against it, or have more than it, which only it can condemn."""
    return (day.hourly == day.closed != day.daily and day.hourly > 0) or day.hourly > day.daily or day.closed > day.daily


def _fine_needs(view: AccountView, progress: Progress) -> Needs:
    hourly_read, closed_read = progress.dates_read(Endpoint.HOURLY), progress.dates_read(Endpoint.CLOSED)
    # Only an audit's drift makes the finer tables suspect where the counts agree.
    hourly = {day.date for day in view.days if day.hourly != day.daily} | view.descents | progress.again.get(Endpoint.HOURLY, set())
    closed = {day.date for day in view.days if day.closed != day.daily} | view.descents | progress.again.get(Endpoint.CLOSED, set())
    hourly = {day for day in hourly if not hourly_read.covers(day)}
    closed = {day for day in closed if not closed_read.covers(day)} if view.logins else set()
    if hourly or closed:
        # A table without a row also lacks those of days without trades, which no count shows.
        most = len(hourly) > MAX_DATES and len(hourly) >= _MOST_OF * view.known_days
        everything = bool(hourly) and (most or not view.totals.has_hourly)
        return Needs(hourly=None if everything else frozenset(hourly), closed=frozenset(closed))
    daily_read = progress.dates_read(Endpoint.DAILY)
    daily = frozenset(day.date for day in view.days if not daily_read.covers(day.date))
    return Needs(alltime=bool(view.days) and not progress.dates_read(Endpoint.ALLTIME).everything, daily=daily)


def plan_round(accounts: Iterable[tuple[AccountView, Progress]], *, max_ids: int) -> list[PlannedRequest]:
    """The requests of the next round for a batch; none when no account needs anything more.

    Raises ValueError if `max_ids` is not positive.
    """
    if max_ids < 1:
        raise ValueError(f"a request needs at least one id, not {max_ids}")
    needs = [(view, needs_of(view, progress)) for view, progress in accounts]
    planned = _by_ids(Endpoint.ALLTIME, [view.account_id for view, need in needs if need.alltime], max_ids)
    for endpoint, wanted in (
        (Endpoint.DAILY, [(view, need.daily) for view, need in needs]),
        (Endpoint.HOURLY, [(view, need.hourly) for view, need in needs]),
    ):
        planned += _by_ids(endpoint, [view.account_id for view, dates in wanted if dates is None], max_ids)
        planned += _by_dates(endpoint, {view.account_id: dates for view, dates in wanted if dates}, max_ids)
    return planned + _by_logins([(view, need.closed) for view, need in needs if need.closed], max_ids)


def plan_accounts(account_ids: Sequence[str], *, max_ids: int) -> list[PlannedRequest]:
    """Requests that ask alltime about accounts by id: for accounts that an audit's scan did not see."""
    return _by_ids(Endpoint.ALLTIME, account_ids, max_ids)


def plan_days(account_ids: Sequence[str], days: tuple[dt.date, ...], *, max_ids: int) -> list[PlannedRequest]:
    """Requests that ask for the same daily rows of accounts, by id."""
    return [replace(each, request=replace(each.request, dates=days)) for each in _by_ids(Endpoint.DAILY, account_ids, max_ids)]


def _by_ids(endpoint: Endpoint, account_ids: Sequence[str], max_ids: int) -> list[PlannedRequest]:
    ordered = sorted(account_ids)
    packs = [tuple(pack) for pack in pieces(ordered, max_ids)]
    return [PlannedRequest(Request(endpoint, account_ids=pack), pack) for pack in packs]


def _pages(rows: float) -> int:
    """Pages that hold `rows`; neighbouring pages share a row."""
    return max(1, -int(-rows // (PAGE_ROWS - 1)))


@dataclass(slots=True)
class _DatesBin:
    rows_a_day: float
    account_ids: list[str] = field(default_factory=list)
    dates: frozenset[dt.date] = frozenset()

    def pages(self, accounts: int, dates: Collection[dt.date]) -> int:
        return _pages(self.rows_a_day * accounts * len(dates))

    def takes(self, dates: frozenset[dt.date], max_ids: int) -> bool:
        union = self.dates | dates
        if len(self.account_ids) == max_ids or len(union) > MAX_DATES:
            return False
        together = self.pages(len(self.account_ids) + 1, union)
        return together <= self.pages(len(self.account_ids), self.dates) + self.pages(1, dates)


def _by_dates(endpoint: Endpoint, wanted: Mapping[str, frozenset[dt.date]], max_ids: int) -> list[PlannedRequest]:
    cut = [(piece, account_id) for account_id, dates in wanted.items() for piece in pieces(sorted(dates), MAX_DATES)]
    bins: list[_DatesBin] = []
    for piece, account_id in sorted(cut, key=lambda pair: (list(pair[0]), pair[1])):
        needed = frozenset(piece)
        chosen = next(
            (each for each in reversed(bins[-_OPEN_BINS:]) if account_id not in each.account_ids and each.takes(needed, max_ids)), None
        )
        if chosen is None:
            chosen = _DatesBin(_ROWS_A_DAY[endpoint])
            bins.append(chosen)
        chosen.account_ids.append(account_id)
        chosen.dates |= needed
    return [
        PlannedRequest(Request(endpoint, account_ids=tuple(each.account_ids), dates=tuple(sorted(each.dates))), tuple(each.account_ids))
        for each in bins
    ]


@dataclass(slots=True)
class _RangeBin:
    first: dt.date
    last: dt.date
    account_ids: list[str] = field(default_factory=list)
    account_logins: list[tuple[str, ...]] = field(default_factory=list)
    logins: set[str] = field(default_factory=set)
    rows_a_day: float = 0.0

    def pages(self, first: dt.date, last: dt.date, rows_a_day: float) -> int:
        return _pages(rows_a_day * ((last - first).days + 1))


def _by_logins(wanted: Sequence[tuple[AccountView, frozenset[dt.date]]], max_ids: int) -> list[PlannedRequest]:
    """Closed trades are asked by login and by one range of dates, from an account's first affected date to its last."""
    bins: list[_RangeBin] = []
    for view, dates in sorted(wanted, key=lambda pair: (min(pair[1]), max(pair[1]), pair[0].account_id)):
        first, last, density = min(dates), max(dates), _trades_a_day(view)
        chosen = next((each for each in reversed(bins[-_OPEN_BINS:]) if _joins(each, view, first, last, density, max_ids)), None)
        if chosen is None:
            chosen = _RangeBin(first, last)
            bins.append(chosen)
        chosen.first, chosen.last = min(chosen.first, first), max(chosen.last, last)
        chosen.account_ids.append(view.account_id)
        chosen.account_logins.append(view.logins)
        chosen.logins |= set(view.logins)
        chosen.rows_a_day += density
    return [
        PlannedRequest(
            Request(Endpoint.CLOSED, logins=tuple(sorted(each.logins)), date_from=each.first, date_to=each.last),
            tuple(each.account_ids),
            tuple(each.account_logins),
        )
        for each in bins
    ]


def _joins(chosen: _RangeBin, view: AccountView, first: dt.date, last: dt.date, density: float, max_ids: int) -> bool:
    if len(chosen.logins | set(view.logins)) > max_ids:
        return False
    union = (min(chosen.first, first), max(chosen.last, last))
    apart = chosen.pages(chosen.first, chosen.last, chosen.rows_a_day) + chosen.pages(first, last, density)
    return chosen.pages(*union, chosen.rows_a_day + density) <= apart


def _trades_a_day(view: AccountView) -> float:
    if view.first_day is None or view.last_day is None:
        return 1.0
    trades = max(view.totals.alltime, view.totals.daily, view.totals.closed, 1)
    return trades / ((view.last_day - view.first_day).days + 1)
