"""Requests of rounds and audits."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import MAX_DATES, Endpoint, Request
from app.domain.ids import AccountId, Login
from app.domain.planning.descent import may_need_alltime, needs_of
from app.domain.planning.estimates import (
    Upstream,
    common_gaps,
)
from app.domain.planning.planned_request import PlannedRequest
from app.domain.planning.planner import Planner, total_cost
from app.domain.planning.shared_parts import NONE_SHARED, Shared, Wanted

MAX_ROUNDS = 12
"""More would mean nothing is learned."""
_WORTH_A_GUESS = 2


def why_not_asked(view: AccountView) -> str | None:
    """Why the API cannot be asked, if so."""
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
    shared: Shared = NONE_SHARED,
) -> list[PlannedRequest]:
    """The next round's requests, scans of its own only with `upstream`. ValueError: bad
    `max_ids`.
    """
    known = list(accounts)
    planner = Planner([view for view, _ in known], max_ids, upstream, shared)
    needs = [(view, needs_of(view, progress, gaps)) for view, progress in known]
    opportunistic = [view for view, progress in known if may_need_alltime(view, progress)]
    # Each level is planned only when the coarser ones need nothing.
    return (
        planner.fill_up(
            planner.plan(Endpoint.ALLTIME, [(view, None) for view, need in needs if need.alltime]),
            opportunistic,
        )
        or planner.plan(Endpoint.DAILY, [(view, need.daily) for view, need in needs])
        or planner.plan(Endpoint.HOURLY, [(view, need.hourly) for view, need in needs])
        + planner.plan(
            Endpoint.CLOSED,
            [(_living_on(view, need.closed_until), need.closed) for view, need in needs],
        )
    )


def _living_on(view: AccountView, until: dt.date | None) -> AccountView:
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
    """Dates that all probably lack, if worth a guess.

    `short` accounts lack trades; `coverage` counts accounts by date.
    """
    gaps = common_gaps(coverage, until)
    if not gaps or len(gaps) > MAX_DATES:
        return frozenset()
    planner = Planner(short, max_ids, upstream)
    guess, everything = (
        total_cost(planner.plan(Endpoint.DAILY, [(view, dates) for view in short]))
        for dates in (gaps, None)
    )
    return gaps if _WORTH_A_GUESS * guess <= everything else frozenset()


_Logins = Mapping[AccountId, tuple[Login, ...]]
"""Of accounts without an id."""


def plan_accounts(
    account_ids: Sequence[AccountId], *, max_ids: int, logins: _Logins | None = None
) -> list[PlannedRequest]:
    """Requests for alltime rows that a scan missed."""
    return _plan_each(Request(Endpoint.ALLTIME), account_ids, max_ids, logins or {})


def plan_days(
    account_ids: Sequence[AccountId],
    days: tuple[dt.date, ...],
    *,
    max_ids: int,
    logins: _Logins | None = None,
) -> list[PlannedRequest]:
    """Requests for daily rows."""
    return _plan_each(Request(Endpoint.DAILY, dates=days), account_ids, max_ids, logins or {})


def _plan_each(
    request: Request, account_ids: Sequence[AccountId], max_ids: int, logins: _Logins
) -> list[PlannedRequest]:
    by_id = tuple(sorted(account_id for account_id in account_ids if account_id not in logins))
    by_login = tuple(sorted(account_id for account_id in account_ids if account_id in logins))
    named = PlannedRequest(request, by_login, tuple(logins[account_id] for account_id in by_login))
    return [*PlannedRequest(request, by_id).in_pieces(max_ids), *named.in_pieces(max_ids)]


def plan_by_login(endpoint: Endpoint, wanted: Wanted, *, max_ids: int) -> list[PlannedRequest]:
    """Requests for metrics by login."""
    named = [(replace(view, by_login=True), dates) for view, dates in wanted]
    return Planner([], max_ids, None).plan(endpoint, named)
