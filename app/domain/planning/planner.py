"""The cheapest requests, by id or as scans."""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from app.domain.accounts.view import AccountView
from app.domain.contract.tables import MAX_DATES, PAGE_ROWS, Endpoint, Request
from app.domain.planning.bins import Pack, Piece, cost_of, pages_of
from app.domain.planning.estimates import (
    Upstream,
    expected_elsewhere,
    expected_of,
    expected_on,
    upstream_a_day,
    upstream_rows,
)
from app.domain.planning.packing import pack, pack_whole
from app.domain.planning.planned_request import PlannedRequest
from app.domain.planning.shared_parts import NONE_SHARED, Shared, Wanted
from app.domain.sequences import pieces

_HOT_SHARES = (0.6, 1.0)
"""Of a scan's cost."""


class Planner:
    """Plans a batch's requests."""

    def __init__(
        self,
        views: Sequence[AccountView],
        max_ids: int,
        upstream: Upstream | None,
        shared: Shared = NONE_SHARED,
    ) -> None:
        if max_ids < 1:
            raise ValueError(f"a request needs at least one id, not {max_ids}")
        self._views = views
        self._max_ids = max_ids
        self._upstream = upstream
        self._shared = shared

    def plan(self, endpoint: Endpoint, wanted: Wanted) -> list[PlannedRequest]:
        """The cheapest requests."""
        wanted = [(view, dates) for view, dates in wanted if dates is None or dates]
        shared, wanted = self._shared.divide(endpoint, wanted)
        return [*shared, *self._plan_apart(endpoint, wanted)]

    def _plan_apart(self, endpoint: Endpoint, wanted: Wanted) -> list[PlannedRequest]:
        """The cheapest requests of this batch alone."""
        plans = [self._by_ids(endpoint, wanted)]
        if wanted and self._upstream is not None:
            a_day = upstream_a_day(self._views, endpoint, self._upstream)
            by_date = self._cost_by_date(endpoint, wanted)
            for share in _HOT_SHARES:
                hot = frozenset(
                    day for day, cost in by_date.items() if cost > share * pages_of(a_day)
                )
                if hot:
                    plans.append(
                        self._by_hot_dates(endpoint, wanted, hot, a_day, total_cost(plans[0]))
                    )
            if not endpoint.is_trades and any(dates is None for _, dates in wanted):
                cost = cost_of(upstream_rows(self._views, endpoint, self._upstream))
                plans.append(
                    [
                        _scan(
                            Request(endpoint),
                            [view for view, _ in wanted],
                            cost,
                            total_cost(plans[0]),
                        )
                    ]
                )
        return min(plans, key=total_cost)

    def fill_up(
        self, planned: Sequence[PlannedRequest], opportunistic: Sequence[AccountView]
    ) -> list[PlannedRequest]:
        """The requests with opportunistic accounts in spare places."""
        asked = {account_id for each in planned for account_id in each.account_ids}
        waiting = [
            view.account_id
            for view in opportunistic
            if view.account_id not in asked and not view.by_login
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

    def _by_ids(self, endpoint: Endpoint, wanted: Wanted) -> list[PlannedRequest]:
        if endpoint.is_trades:
            return self._by_names(endpoint, wanted)
        # Ids and logins in one request would be those of the same accounts.
        by_login = [(view, dates) for view, dates in wanted if view.by_login]
        if not by_login:
            return self._by_names(endpoint, wanted)
        by_id = [(view, dates) for view, dates in wanted if not view.by_login]
        return self._by_names(endpoint, by_id) + self._by_names(endpoint, by_login)

    def _by_names(self, endpoint: Endpoint, wanted: Wanted) -> list[PlannedRequest]:
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
        wanted: Wanted,
        hot: frozenset[dt.date],
        rows_a_day: float,
        cost_by_ids: float,
    ) -> list[PlannedRequest]:
        # A range by id would run over dates that are scanned, and two fetches of one slice disturb
        # each other.
        scanned = {
            view.account_id: _scanned(dates, hot, is_range=endpoint.is_trades)
            for view, dates in wanted
            if dates is not None
        }
        cold: Wanted = [
            (view, dates and [day for day in dates if day not in scanned[view.account_id]])
            for view, dates in wanted
        ]
        rest = self._by_ids(
            endpoint, [(view, dates) for view, dates in cold if dates is None or dates]
        )
        scans = []
        for days, request in _reads_of_all(endpoint, hot, rows_a_day):
            length = (days[-1] - days[0]).days + 1 if endpoint.is_trades else len(days)
            views = [
                view
                for view, dates in wanted
                if dates is not None and not scanned[view.account_id].isdisjoint(days)
            ]
            if views:
                spared = (cost_by_ids - total_cost(rest)) * len(days) / len(hot)
                scans.append(_scan(request, views, cost_of(rows_a_day * length), spared))
        return scans + rest

    def _cost_by_date(self, endpoint: Endpoint, wanted: Wanted) -> Mapping[dt.date, float]:
        cost: defaultdict[dt.date, float] = defaultdict(float)
        for view, dates in wanted:
            for day, rows in expected_on(view, endpoint, dates or ()).items():
                cost[day] += max(pages_of(rows), 1 / self._max_ids / len(dates or (day,)))
        return cost


def _scanned(
    dates: Collection[dt.date], hot: frozenset[dt.date], *, is_range: bool
) -> frozenset[dt.date]:
    return frozenset() if is_range and not hot.issuperset(dates) else hot.intersection(dates)


def _ids(endpoint: Endpoint, view: AccountView) -> tuple[str, ...]:
    return view.logins if endpoint.is_trades or view.by_login else (view.account_id,)


def _request_by_ids(
    endpoint: Endpoint, packed: Pack, views: Sequence[AccountView]
) -> PlannedRequest:
    logins = tuple(sorted({login for view in views for login in view.logins}))
    if endpoint.is_trades:
        # Trades know no request without dates: all of them are those of the accounts' lives.
        days = packed.dates or sorted(
            day for view in views for day in (view.first_day, view.last_day) if day is not None
        )
        request = Request(endpoint, logins=logins, date_from=days[0], date_to=days[-1])
        return PlannedRequest(
            request, packed.account_ids, tuple(view.logins for view in views), cost=packed.cost
        )
    if views[0].by_login:
        request = Request(endpoint, logins=logins, dates=packed.dates)
        return PlannedRequest(
            request, packed.account_ids, tuple(view.logins for view in views), cost=packed.cost
        )
    ids = tuple(sorted({view.account_id for view in views}))
    return PlannedRequest(
        Request(endpoint, account_ids=ids, dates=packed.dates), packed.account_ids, cost=packed.cost
    )


def _scan(
    request: Request, views: Sequence[AccountView], cost: float, spared: float
) -> PlannedRequest:
    """`spared` requests may be spent."""
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


def _reads_of_all(
    endpoint: Endpoint, hot: frozenset[dt.date], rows_a_day: float
) -> list[tuple[tuple[dt.date, ...], Request]]:
    if endpoint.is_trades:
        return [
            (days, Request(endpoint, date_from=days[0], date_to=days[-1]))
            for days in _ranges(sorted(hot), rows_a_day)
        ]
    groups = [tuple(part) for part in pieces(sorted(hot), MAX_DATES)]
    return [(days, Request(endpoint, dates=days)) for days in groups]


def _ranges(days: Sequence[dt.date], rows_a_day: float) -> list[tuple[dt.date, ...]]:
    """Gaps within fill less than a page."""
    ranges: list[list[dt.date]] = []
    for day in days:
        if ranges and pages_of(rows_a_day * ((day - ranges[-1][-1]).days - 1)) < 1:
            ranges[-1].append(day)
        else:
            ranges.append([day])
    return [tuple(each) for each in ranges]


def total_cost(planned: Iterable[PlannedRequest]) -> float:
    """Expected requests."""
    return sum(each.cost for each in planned)
