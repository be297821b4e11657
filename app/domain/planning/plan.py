"""The planner: from what is known of a batch to the fewest API requests that tell what is not.

Pure: no I/O.

One level at a time, the coarsest first, so that a round's requests are shared by the whole batch:
alltime, then daily, then hourly rows and closed trades. Accounts are named by id, 100 in a request,
or not at all: where most of upstream's accounts need the same dates, a scan of these dates costs
fewer pages. What each account needs is said in `app.domain.planning.descent`, which accounts share
a request in `app.domain.planning.packing`.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import MAX_DATES, PAGE_ROWS, Endpoint, Request
from app.domain.planning.descent import may_need_alltime, needs_of
from app.domain.planning.estimates import (
    Upstream,
    common_gaps,
    expected_elsewhere,
    expected_of,
    expected_on,
    upstream_a_day,
    upstream_rows,
)
from app.domain.planning.packing import Pack, Piece, cost_of, pack, pack_whole, pages_of
from app.domain.sequences import pieces

MAX_ROUNDS = 12
"""Rounds of fetching that a batch can need; more would mean that a round learns nothing."""
_HOT_SHARES = (0.6, 1.0)
"""When a date is scanned: what it costs by id beside what its scan costs; by id some part of a page
stays empty, too.
"""
_HOURS, _HOUR_PARTS = 24, (4, 24)
"""Hours of a date, and in how many requests they are read."""
_WORTH_A_GUESS = 2
"""How much cheaper dates that are only guessed to be missing must look than all dates."""


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """A request and the accounts whose slices it will prove: these accounts, on the request's dates
    (all, if it names none).

    `logins` are those of each account in the same order, for trades, and for metrics of accounts
    that upstream knows by no id (empty for others): an account is only proven when all of its
    logins are asked for. `cost` is the number of requests that it probably takes. `most_rows` is
    set for a scan, which names no id: if upstream has more rows than that, asking by id costs less.
    `is_trial` tells that it asks in a second shape for what was read already, `is_part` that it
    asks for some dates of one account for which all were too much at once, `missing_is_empty` that
    an answer of 404 says that upstream has no such row. `hour_parts` is in how many requests, each
    for some hours, one date of hourly rows is read, since it is too much for one. A suspect is a
    part of a request that failed, or asks for accounts that failed before.
    """

    request: Request
    account_ids: tuple[str, ...]
    logins: tuple[tuple[str, ...], ...] = ()
    cost: float = 1.0
    most_rows: int | None = None
    is_trial: bool = False
    is_part: bool = False
    missing_is_empty: bool = False
    hour_parts: int = 1
    is_suspect: bool = False

    @property
    def ids(self) -> int:
        """How many ids the request names."""
        return max(len(self.request.account_ids), len(self.request.logins))

    @property
    def requests(self) -> tuple[Request, ...]:
        """What is asked for: all of it together is one fetch."""
        if self.hour_parts == 1:
            return (self.request,)
        return tuple(
            replace(self.request, hours=tuple(part))
            for part in pieces(range(_HOURS), _HOURS // self.hour_parts)
        )

    def by_hours(self) -> tuple["PlannedRequest", ...]:
        """The same work of one account and date in requests for fewer hours, each next one in
        smaller ones; none if that cannot be.
        """
        if (
            self.request.endpoint is not Endpoint.HOURLY
            or len(self.account_ids) != 1
            or len(self.request.dates) != 1
        ):
            return ()
        return tuple(replace(self, hour_parts=parts) for parts in _HOUR_PARTS)

    @property
    def is_undated(self) -> bool:
        """Whether it asks for the rows of all dates, whichever they are."""
        return not self.request.dates and self.request.date_from is None

    @property
    def by_login(self) -> tuple[str, ...]:
        """The accounts whose metrics are asked for by login, since upstream may have rows of them
        without an id.
        """
        if self.request.endpoint.is_trades:
            return ()
        return tuple(
            account_id
            for account_id, logins in zip(self.account_ids, self.logins, strict=False)
            if logins
        )

    @property
    def is_scan(self) -> bool:
        """Whether the request names no ids: then upstream sends what it has of everybody."""
        return self.most_rows is not None

    def covers(self, day: dt.date | None) -> bool:
        """Whether rows of the date are asked for; None stands for a row without a date."""
        request = self.request
        if day is not None and request.date_from is not None and request.date_to is not None:
            return request.date_from <= day <= request.date_to
        return not request.dates or day in request.dates

    def halved(self, max_ids: int) -> tuple["PlannedRequest", ...]:
        """The same work in smaller requests, none if that cannot be.

        A scan becomes requests by id; others are cut into one for each half of the accounts, or
        half of the dates of one.
        """
        if self.is_scan:
            return tuple(part for group in self._groups() for part in group.in_pieces(max_ids))
        middle = len(self.account_ids) // 2
        if middle:
            return self._part(slice(None, middle)), self._part(slice(middle, None))
        return self.by_dates()

    def alone(self, number: int) -> "PlannedRequest":
        """The same work for one of its accounts."""
        return self._part(slice(number, number + 1))

    def by_dates(self, life: tuple[dt.date, dt.date] | None = None) -> tuple["PlannedRequest", ...]:
        """The same work of one account in requests for fewer dates, none if that cannot be.

        `life` are the first and the last date of the account, of which a request for all dates is
        cut; without it that cannot be done.
        """
        days = self._days(life)
        if len(days) < 2 and not (days and self.is_undated):  # noqa: PLR2004 - nothing is left to be cut in two
            return ()
        half = -(-len(days) // 2)
        return tuple(
            self._on(part)
            for part in pieces(
                days, half if self.request.endpoint.is_trades else min(half, MAX_DATES)
            )
        )

    def edges(self, life: tuple[dt.date, dt.date] | None = None) -> tuple["PlannedRequest", ...]:
        """Its smallest parts: its last date and its first one, each alone; none if it asks for no
        more than one date.
        """
        days = self._days(life)
        return (
            tuple(self._on([day]) for day in (days[-1], days[0]))
            if len(days) > 1 or (days and self.is_undated)
            else ()
        )

    def _days(self, life: tuple[dt.date, dt.date] | None) -> list[dt.date]:
        request = self.request
        first, last = (
            (request.date_from, request.date_to)
            if request.endpoint.is_trades
            else life or (None, None)
        )
        if request.dates or first is None or last is None or request.endpoint is Endpoint.ALLTIME:
            return sorted(request.dates)
        return [first + dt.timedelta(days=number) for number in range((last - first).days + 1)]

    def _on(self, days: Sequence[dt.date]) -> "PlannedRequest":
        if self.request.endpoint.is_trades:
            return replace(
                self,
                request=replace(self.request, date_from=days[0], date_to=days[-1]),
                is_part=True,
            )
        return replace(self, request=replace(self.request, dates=tuple(days)), is_part=True)

    def in_pieces(self, max_ids: int) -> tuple["PlannedRequest", ...]:
        """The same work by id, so many accounts in a request."""
        return tuple(
            self._part(slice(start, start + max_ids))
            for start in range(0, len(self.account_ids), max_ids)
        )

    def _groups(self) -> tuple["PlannedRequest", ...]:
        """A scan's accounts that are asked for by id, and those that are by login."""
        by_login = frozenset(self.by_login)
        if not by_login:
            return (self,)
        logins = dict(zip(self.account_ids, self.logins, strict=True))
        by_id = tuple(account_id for account_id in self.account_ids if account_id not in by_login)
        named = PlannedRequest(
            self.request, self.by_login, tuple(logins[account_id] for account_id in self.by_login)
        )
        return (*([PlannedRequest(self.request, by_id)] if by_id else []), named)

    def joined_by(self, account_ids: Sequence[str]) -> "PlannedRequest":
        """The same request to a table of metrics for further accounts."""
        ids = (*self.account_ids, *account_ids)
        logins = (*self.logins, *[()] * len(account_ids)) if self.logins else ()
        request = self.request if self.is_scan else replace(self.request, account_ids=ids)
        return replace(self, account_ids=ids, logins=logins, request=request)

    def _part(self, part: slice) -> "PlannedRequest":
        ids, logins = self.account_ids[part], self.logins[part]
        asked = tuple(sorted({login for each in logins for login in each}))
        if self.request.endpoint.is_trades or asked:
            return PlannedRequest(
                replace(self.request, logins=asked), ids, logins, is_trial=self.is_trial
            )
        return PlannedRequest(replace(self.request, account_ids=ids), ids, is_trial=self.is_trial)


def why_not_asked(view: AccountView) -> str | None:
    """Why the API cannot be asked about the account; None if it can."""
    for name, values in (("account id", (view.account_id,)), ("login", view.logins)):
        if any("," in value for value in values):
            return (
                f"Its {name} holds a comma, which separates ids in the API's lists: it cannot be"
                " asked for."
            )
    return None


def plan_round(
    accounts: Iterable[tuple[AccountView, Progress]],
    *,
    max_ids: int,
    upstream: Upstream | None = None,
    gaps: frozenset[dt.date] = frozenset(),
) -> list[PlannedRequest]:
    """The requests of the next round for a batch; none when no account needs anything more.

    `upstream` tells how large upstream is (None: not known, nothing is scanned), `gaps` are the
    dates that everybody lacks. Raises ValueError if `max_ids` is not positive.
    """
    known = list(accounts)
    planner = _Planner([view for view, _ in known], max_ids, upstream)
    needs = [(view, needs_of(view, progress, gaps)) for view, progress in known]
    riders = [view for view, progress in known if may_need_alltime(view, progress)]
    # Each level is planned only when the coarser ones need nothing.
    return (
        planner.fill_up(
            planner.plan(Endpoint.ALLTIME, [(view, None) for view, need in needs if need.alltime]),
            riders,
        )
        or planner.plan(Endpoint.DAILY, [(view, need.daily) for view, need in needs])
        or planner.plan(Endpoint.HOURLY, [(view, need.hourly) for view, need in needs])
        + planner.plan(
            Endpoint.CLOSED,
            [(_living_on(view, need.closed_until), need.closed) for view, need in needs],
        )
    )


def _living_on(view: AccountView, until: dt.date | None) -> AccountView:
    """The account with a life that lasts until the date at least: trades are asked for from a date
    to a date.
    """
    if until is None or view.last_day is None or until <= view.last_day:
        return view
    return replace(view, last_day=until)


def find_gaps(
    short: Sequence[AccountView],
    coverage: Mapping[dt.date, int],
    until: dt.date,
    *,
    max_ids: int,
    upstream: Upstream,
) -> frozenset[dt.date]:
    """The dates that all accounts probably lack, if it costs less to look at them first than at all
    daily rows.

    `short` are the accounts that lack trades of unknown dates, `coverage` how many of them have
    rows on a date, `until` the last date that may be missing.
    """
    gaps = common_gaps(coverage, until)
    if not gaps or len(gaps) > MAX_DATES:
        return frozenset()
    planner = _Planner(short, max_ids, upstream)
    guess, everything = (
        _cost(planner.plan(Endpoint.DAILY, [(view, dates) for view in short]))
        for dates in (gaps, None)
    )
    return gaps if _WORTH_A_GUESS * guess <= everything else frozenset()


_Logins = Mapping[str, tuple[str, ...]]
"""The logins of those accounts that upstream knows by no id."""


def plan_accounts(
    account_ids: Sequence[str], *, max_ids: int, logins: _Logins | None = None
) -> list[PlannedRequest]:
    """Requests that ask alltime about accounts by id, or by login: for accounts that an audit's
    scan did not see.
    """
    return _plan_each(Request(Endpoint.ALLTIME), account_ids, max_ids, logins or {})


def plan_days(
    account_ids: Sequence[str],
    days: tuple[dt.date, ...],
    *,
    max_ids: int,
    logins: _Logins | None = None,
) -> list[PlannedRequest]:
    """Requests that ask for the same daily rows of accounts, by id or by login."""
    return _plan_each(Request(Endpoint.DAILY, dates=days), account_ids, max_ids, logins or {})


def _plan_each(
    request: Request, account_ids: Sequence[str], max_ids: int, logins: _Logins
) -> list[PlannedRequest]:
    by_id = tuple(sorted(account_id for account_id in account_ids if account_id not in logins))
    by_login = tuple(sorted(account_id for account_id in account_ids if account_id in logins))
    named = PlannedRequest(request, by_login, tuple(logins[account_id] for account_id in by_login))
    return [*PlannedRequest(request, by_id).in_pieces(max_ids), *named.in_pieces(max_ids)]


_Wanted = Sequence[tuple[AccountView, Collection[dt.date] | None]]
"""Accounts and the dates that they need; None: every date."""


def plan_by_login(endpoint: Endpoint, wanted: _Wanted, *, max_ids: int) -> list[PlannedRequest]:
    """Requests to a table of metrics for accounts by their logins, though upstream knows ids of
    them at other levels.
    """
    named = [(replace(view, by_login=True), dates) for view, dates in wanted]
    return _Planner([], max_ids, None).plan(endpoint, named)


class _Planner:
    """Plans requests to one endpoint after the other, for accounts of one batch."""

    def __init__(
        self, views: Sequence[AccountView], max_ids: int, upstream: Upstream | None
    ) -> None:
        if max_ids < 1:
            raise ValueError(f"a request needs at least one id, not {max_ids}")
        self._views = views
        self._max_ids = max_ids
        self._upstream = upstream

    def plan(self, endpoint: Endpoint, wanted: _Wanted) -> list[PlannedRequest]:
        """The requests that cost least; accounts with an empty set of dates need none."""
        wanted = [(view, dates) for view, dates in wanted if dates is None or dates]
        plans = [self._by_ids(endpoint, wanted)]
        if wanted and self._upstream is not None:
            a_day = upstream_a_day(self._views, endpoint, self._upstream)
            by_date = self._cost_by_date(endpoint, wanted)
            for share in _HOT_SHARES:
                hot = frozenset(
                    day for day, cost in by_date.items() if cost > share * pages_of(a_day)
                )
                if hot:
                    plans.append(self._by_hot_dates(endpoint, wanted, hot, a_day, _cost(plans[0])))
            if not endpoint.is_trades and any(dates is None for _, dates in wanted):
                cost = cost_of(upstream_rows(self._views, endpoint, self._upstream))
                plans.append(
                    [_scan(Request(endpoint), [view for view, _ in wanted], cost, _cost(plans[0]))]
                )
        return min(plans, key=_cost)

    def fill_up(
        self, planned: Sequence[PlannedRequest], riders: Sequence[AccountView]
    ) -> list[PlannedRequest]:
        """The same requests to alltime, with riders in places that are left: their rows cost no
        request now, and might cost one later.
        """
        asked = {account_id for each in planned for account_id in each.account_ids}
        waiting = [
            view.account_id for view in riders if view.account_id not in asked and not view.by_login
        ]
        filled = []
        for each in planned:
            free = (
                len(waiting)
                if each.is_scan
                else 0
                if each.by_login
                else self._max_ids - len(each.account_ids)
            )
            more, waiting = waiting[:free], waiting[free:]
            filled.append(each.joined_by(more) if more else each)
        return filled

    def _by_ids(self, endpoint: Endpoint, wanted: _Wanted) -> list[PlannedRequest]:
        if endpoint.is_trades:
            return self._by_names(endpoint, wanted)
        # Ids and logins in one request would be those of the same accounts.
        by_login = [(view, dates) for view, dates in wanted if view.by_login]
        if not by_login:
            return self._by_names(endpoint, wanted)
        by_id = [(view, dates) for view, dates in wanted if not view.by_login]
        return self._by_names(endpoint, by_id) + self._by_names(endpoint, by_login)

    def _by_names(self, endpoint: Endpoint, wanted: _Wanted) -> list[PlannedRequest]:
        views = {view.account_id: view for view, _ in wanted}
        whole = [
            Piece(view.account_id, _ids(endpoint, view), {}, expected_of(view, endpoint).rows)
            for view, dates in wanted
            if dates is None
        ]
        dated = [
            Piece(
                view.account_id,
                _ids(endpoint, view),
                rows,
                expected_elsewhere(view, endpoint, rows),
            )
            for view, dates in wanted
            if dates is not None and (rows := expected_on(view, endpoint, dates))
        ]
        packs = pack_whole(whole, max_ids=self._max_ids) + pack(
            dated, max_ids=self._max_ids, is_range=endpoint.is_trades
        )
        return [
            _request_by_ids(endpoint, each, [views[account_id] for account_id in each.account_ids])
            for each in packs
        ]

    def _by_hot_dates(
        self,
        endpoint: Endpoint,
        wanted: _Wanted,
        hot: frozenset[dt.date],
        rows_a_day: float,
        cost_by_ids: float,
    ) -> list[PlannedRequest]:
        """Reads of everybody's rows on the hot dates, and of the rest by id."""
        # A range by id would run over dates that are scanned, and two fetches of one slice disturb
        # each other.
        scanned = {
            view.account_id: _scanned(dates, hot, is_range=endpoint.is_trades)
            for view, dates in wanted
            if dates is not None
        }
        cold: _Wanted = [
            (view, dates and [day for day in dates if day not in scanned[view.account_id]])
            for view, dates in wanted
        ]
        rest = self._by_ids(
            endpoint, [(view, dates) for view, dates in cold if dates is None or dates]
        )
        groups = (
            _ranges(sorted(hot), rows_a_day)
            if endpoint.is_trades
            else [tuple(part) for part in pieces(sorted(hot), MAX_DATES)]
        )
        scans = []
        for days in groups:
            length = (days[-1] - days[0]).days + 1 if endpoint.is_trades else len(days)
            request = (
                Request(endpoint, date_from=days[0], date_to=days[-1])
                if endpoint.is_trades
                else Request(endpoint, dates=days)
            )
            views = [
                view
                for view, dates in wanted
                if dates is not None and not scanned[view.account_id].isdisjoint(days)
            ]
            if views:
                spared = (cost_by_ids - _cost(rest)) * len(days) / len(hot)
                scans.append(_scan(request, views, cost_of(rows_a_day * length), spared))
        return scans + rest

    def _cost_by_date(self, endpoint: Endpoint, wanted: _Wanted) -> Mapping[dt.date, float]:
        """What it costs by id that a date is needed, in parts of requests."""
        cost: defaultdict[dt.date, float] = defaultdict(float)
        for view, dates in wanted:
            for day, rows in expected_on(view, endpoint, dates or ()).items():
                cost[day] += max(pages_of(rows), 1 / self._max_ids / len(dates or (day,)))
        return cost


def _scanned(
    dates: Collection[dt.date], hot: frozenset[dt.date], *, is_range: bool
) -> frozenset[dt.date]:
    """Those of an account's dates that a scan of the hot dates is to read for it."""
    return frozenset() if is_range and not hot.issuperset(dates) else hot.intersection(dates)


def _ids(endpoint: Endpoint, view: AccountView) -> tuple[str, ...]:
    return view.logins if endpoint.is_trades or view.by_login else (view.account_id,)


def _request_by_ids(
    endpoint: Endpoint, packed: Pack, views: Sequence[AccountView]
) -> PlannedRequest:
    ids = tuple(sorted({each for view in views for each in _ids(endpoint, view)}))
    if endpoint.is_trades:
        # Trades know no request without dates: all of them are those of the accounts' lives.
        days = packed.dates or sorted(
            day for view in views for day in (view.first_day, view.last_day) if day is not None
        )
        request = Request(endpoint, logins=ids, date_from=days[0], date_to=days[-1])
        return PlannedRequest(
            request, packed.account_ids, tuple(view.logins for view in views), cost=packed.cost
        )
    if views[0].by_login:
        request = Request(endpoint, logins=ids, dates=packed.dates)
        return PlannedRequest(
            request, packed.account_ids, tuple(view.logins for view in views), cost=packed.cost
        )
    return PlannedRequest(
        Request(endpoint, account_ids=ids, dates=packed.dates), packed.account_ids, cost=packed.cost
    )


def _scan(
    request: Request, views: Sequence[AccountView], cost: float, spared: float
) -> PlannedRequest:
    """`spared` are the requests that the scan makes unnecessary: it may take as many."""
    named = request.endpoint.is_trades or any(view.by_login for view in views)
    logins = (
        tuple(view.logins if request.endpoint.is_trades or view.by_login else () for view in views)
        if named
        else ()
    )
    most_rows = PAGE_ROWS * (1 + round(max(cost, spared)))
    return PlannedRequest(
        request, tuple(view.account_id for view in views), logins, cost=cost, most_rows=most_rows
    )


def _ranges(days: Sequence[dt.date], rows_a_day: float) -> list[tuple[dt.date, ...]]:
    """Dates in ranges; the dates between two of one range fill less than a page."""
    ranges: list[list[dt.date]] = []
    for day in days:
        if ranges and pages_of(rows_a_day * ((day - ranges[-1][-1]).days - 1)) < 1:
            ranges[-1].append(day)
        else:
            ranges.append([day])
    return [tuple(each) for each in ranges]


def _cost(planned: Iterable[PlannedRequest]) -> float:
    return sum(each.cost for each in planned)
