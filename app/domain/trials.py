"""The requests of a trial, at a bounded cost: a few accounts alone, the others together, and alone only where that told more. Pure: no I/O.

An account alone on a single date is the smallest request there is. Many accounts on a single date still differ in shape from a long
range, and cost a hundredth; whether that is enough is told by the first few, which are asked for alone.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from app.domain.contract import Endpoint, Request
from app.domain.models import AccountView, Progress
from app.domain.plan import PlannedRequest
from app.domain.trial import Disputed, disputed

_SAMPLE = 10
"""Accounts of a batch that are asked for alone, whatever comes of it."""
_MOST_REQUESTS = 600
"""Requests of a batch for trials: what is left in dispute after them is blamed on nobody, and tried by the next run."""
_MOST_DATES = 60
"""Dates of one table that one round asks for of an account alone."""
_SHORTEST_LIST = 5
_MOST_LISTS = 40
"""Where it is not known on which dates anything is missing, a life is asked for in so many short lists of dates, or fewer."""

_Case = tuple[AccountView, Progress, Disputed]


@dataclass(slots=True)
class Trials:
    """The trials of one batch.

    `sample` are the accounts that were asked for alone without a reason to, `helped` that one of them got more by it.
    """

    spent: int = 0
    sample: set[str] = field(default_factory=set)
    helped: bool = False
    _before: dict[str, str] = field(default_factory=dict)

    def plan(self, accounts: Iterable[tuple[AccountView, Progress]], *, max_ids: int) -> list[PlannedRequest]:
        """The next requests, once nothing else is to be read of the batch; none when all is tried, or the batch has spent what it may."""
        known = list(accounts)
        self._note_help(known)
        cases = [(view, progress, case) for view, progress in known if progress.tried is not None and (case := disputed(view, progress))]
        chosen = [each for each in cases if each[0].account_id in self.sample]
        for view, progress, case in cases:
            if view.account_id not in self.sample and len(self.sample) < _SAMPLE:
                self.sample.add(view.account_id)
                chosen.append((view, progress, case))
        if not chosen and cases:
            return self._take(_together(cases, max_ids, with_life=self.helped))
        if not chosen and self.helped:
            chosen = [(view, progress, case) for view, progress in known if (case := disputed(view, progress, alone=True))]
        planned = self._take([request for view, _, case in chosen for request in _alone(view, case)])
        asked = {account_id for each in planned for account_id in each.account_ids}
        self._before = {view.account_id: view.signature for view, _, _ in chosen if view.account_id in asked}
        return planned

    def _note_help(self, accounts: Sequence[tuple[AccountView, Progress]]) -> None:
        self.helped |= any(self._before.get(view.account_id, view.signature) != view.signature for view, _ in accounts if self._before)
        self._before = {}

    def _take(self, planned: Sequence[PlannedRequest]) -> list[PlannedRequest]:
        taken = list(planned[: max(0, _MOST_REQUESTS - self.spent)])
        self.spent += len(taken)
        return taken


def _alone(view: AccountView, case: Disputed) -> Iterator[PlannedRequest]:
    if case.alltime:
        yield _request(Endpoint.ALLTIME, (), [view])
    for endpoint, dates in case.dates.items():
        for day in sorted(dates)[:_MOST_DATES]:
            yield _request(endpoint, (day,), [view])
    for days in _lists(case.life, _list_dates([case])):
        yield _request(Endpoint.DAILY, days, [view])


def _together(cases: Sequence[_Case], max_ids: int, *, with_life: bool) -> list[PlannedRequest]:
    wanted: defaultdict[tuple[Endpoint, tuple[dt.date, ...]], list[AccountView]] = defaultdict(list)
    length = _list_dates([case for _, _, case in cases])
    for view, progress, case in cases:
        if case.alltime:
            wanted[Endpoint.ALLTIME, ()].append(view)
        for endpoint, dates in case.dates.items():
            for day in dates:
                wanted[endpoint, (day,)].append(view)
        if with_life:
            for days in _lists(case.life, length):
                wanted[Endpoint.DAILY, days].append(view)
        elif case.life and progress.tried is not None:
            # Of the first accounts lists of dates brought no more than all dates at once.
            progress.tried.setdefault(Endpoint.DAILY, set()).update(case.life)
    return [_request(*key, part) for key in sorted(wanted) for part in _parts(wanted[key], max_ids, is_trades=key[0].is_trades)]


def _list_dates(cases: Sequence[Disputed]) -> int:
    """How many dates a list has, so that the longest life is not too many of them."""
    return max(_SHORTEST_LIST, *(-(-len(case.life) // _MOST_LISTS) for case in cases))


def _lists(days: Iterable[dt.date], length: int) -> Iterator[tuple[dt.date, ...]]:
    """The dates in lists whose borders are the same for all accounts."""
    for _, part in groupby(sorted(days), key=lambda day: day.toordinal() // length):
        yield tuple(part)


def _parts(views: Sequence[AccountView], max_ids: int, *, is_trades: bool) -> Iterator[list[AccountView]]:
    """The accounts in groups whose ids fit into a request; one of more logins than that goes alone."""
    part: list[AccountView] = []
    filled = 0
    for view in views:
        ids = len(view.logins) if is_trades else 1
        if part and filled + ids > max_ids:
            yield part
            part, filled = [], 0
        part.append(view)
        filled += ids
    if part:
        yield part


def _request(endpoint: Endpoint, days: tuple[dt.date, ...], views: Sequence[AccountView]) -> PlannedRequest:
    account_ids = tuple(view.account_id for view in views)
    if endpoint.is_trades:
        logins = tuple(view.logins for view in views)
        asked = tuple(sorted({login for each in logins for login in each}))
        request = Request(endpoint, logins=asked, date_from=days[0], date_to=days[0], is_single=True)
        return PlannedRequest(request, account_ids, logins, is_trial=True)
    return PlannedRequest(Request(endpoint, account_ids=account_ids, dates=days), account_ids, is_trial=True)
