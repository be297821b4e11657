"""Trials in a second shape: a sample alone, then the others together."""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import METRICS, Endpoint, Request
from app.domain.planning.plan import plan_by_login
from app.domain.planning.planned_request import PlannedRequest
from app.domain.planning.second_shape import Disputed, disputed, lacks

_SAMPLE = 10
_SAMPLE_DATES, _SAMPLE_LIVES = 10, 3
_MOST_REQUESTS, _MOST_WORTHWHILE = 600, 6000
"""At first, and once trials help."""
_MOST_DATES = 60
_SHORTEST_LIST = 5
_MOST_LISTS = 40

_Case = tuple[AccountView, Progress, Disputed]


@dataclass(slots=True)
class Trials:
    """Requests `spent`, and whether asking alone `helped`."""

    spent: int = 0
    helped: bool = False
    is_sampled: bool = False
    _before: dict[str, str] = field(default_factory=dict)

    def plan(
        self,
        accounts: Iterable[tuple[AccountView, Progress]],
        *,
        max_ids: int,
        suspects: Collection[str] = (),
    ) -> list[PlannedRequest]:
        """The next trials, within the budget."""
        known = sorted(accounts, key=lambda account: account[0].account_id in suspects)
        self._note_help(known)
        cases = [
            (view, progress, case) for view, progress in known if (case := disputed(view, progress))
        ]
        unnamed = [case for case in cases if case[2].by_login]
        if unnamed:
            return [
                each
                for group in (False, True)
                for each in _by_login(
                    [case for case in unnamed if (case[0].account_id in suspects) is group], max_ids
                )
            ]
        if not cases and self.helped:
            # Sharing a request may have been what cut the answer.
            alone = [
                (view, progress, case)
                for view, progress in known
                if (case := disputed(view, progress, alone=True))
            ]
            return self._alone(alone, _MOST_DATES, len(alone))
        if len(cases) <= _SAMPLE:
            return self._few(cases, max_ids, suspects)
        if not self.is_sampled:
            self.is_sampled = True
            return self._alone(cases[:_SAMPLE], _SAMPLE_DATES, _SAMPLE_LIVES)
        return self._shared(cases, max_ids, suspects)

    def has_more(self, accounts: Iterable[tuple[AccountView, Progress]]) -> bool:
        """Whether `plan` would ask; spends nothing."""
        known = list(accounts)
        cases = [case for view, progress in known if (case := disputed(view, progress))]
        if any(case.by_login for case in cases):
            return True
        if self.spent >= self._most:
            return False
        return bool(cases) or (
            self.helped
            and any(bool(disputed(view, progress, alone=True)) for view, progress in known)
        )

    def _few(
        self, cases: Sequence[_Case], max_ids: int, suspects: Collection[str]
    ) -> list[PlannedRequest]:
        """Each alone; whole lives together, after one."""
        lives: list[_Case] = []
        others: list[_Case] = []
        for case in cases:
            (lives if case[2].life and case[0].account_id not in suspects else others).append(case)
        if len(lives) <= 1:
            return self._alone(cases, _MOST_DATES, len(cases))
        if not self.is_sampled:
            self.is_sampled = True
            return self._alone(cases, _MOST_DATES, 1)
        return [
            *self._take(_together(lives, max_ids, with_life=True)),
            *self._alone(others, _MOST_DATES, len(others)),
        ]

    def _shared(
        self, cases: Sequence[_Case], max_ids: int, suspects: Collection[str]
    ) -> list[PlannedRequest]:
        """Together, each suspect alone; suspects come last."""
        sound = [case for case in cases if case[0].account_id not in suspects]
        apart = [[case] for case in cases[len(sound) :]]
        return self._take(
            [
                each
                for group in (sound, *apart)
                for each in _together(group, max_ids, with_life=self.helped)
            ]
        )

    def _alone(
        self, cases: Sequence[_Case], most_dates: int, most_lives: int
    ) -> list[PlannedRequest]:
        living = [view.account_id for view, _, case in cases if case.life][:most_lives]
        planned = self._take(
            [
                request
                for view, progress, case in cases
                for request in _requests_alone(
                    view, progress, case, most_dates, with_life=view.account_id in living
                )
            ]
        )
        asked = {account_id for each in planned for account_id in each.account_ids}
        self._before = {
            view.account_id: view.signature for view, _, _ in cases if view.account_id in asked
        }
        return planned

    def _note_help(self, accounts: Sequence[tuple[AccountView, Progress]]) -> None:
        asked = [view for view, _ in accounts if view.account_id in self._before]
        self.helped |= any(
            view.agrees or view.signature != self._before[view.account_id] for view in asked
        )
        self._before = {}

    def _take(self, planned: Sequence[PlannedRequest]) -> list[PlannedRequest]:
        taken = list(planned[: max(0, self._most - self.spent)])
        self.spent += len(taken)
        return taken

    @property
    def _most(self) -> int:
        return _MOST_WORTHWHILE if self.helped else _MOST_REQUESTS


def _by_login(cases: Sequence[_Case], max_ids: int) -> Iterator[PlannedRequest]:
    for endpoint in METRICS:
        wanted = [
            # An audit asks for alltime rows before the batch.
            (
                view,
                (
                    None
                    if endpoint is Endpoint.ALLTIME
                    or (read := progress.dates_read(endpoint)).everything
                    else read.dates
                ),
            )
            for view, progress, case in cases
            if endpoint in case.by_login
        ]
        yield from plan_by_login(endpoint, wanted, max_ids=max_ids)


def _requests_alone(
    view: AccountView, progress: Progress, case: Disputed, most_dates: int, *, with_life: bool
) -> Iterator[PlannedRequest]:
    if case.alltime:
        yield _request(Endpoint.ALLTIME, (), [view], by_login=view.by_login)
    for endpoint, dates in case.dates.items():
        for day in sorted(dates)[:most_dates]:
            yield _request(
                endpoint, (day,), [view], by_login=_asks_by_login(view, progress, endpoint, day)
            )
    for days in _lists(case.life, _list_dates([case])) if with_life else ():
        yield _request(Endpoint.DAILY, days, [view], by_login=view.by_login)


def _together(cases: Sequence[_Case], max_ids: int, *, with_life: bool) -> list[PlannedRequest]:
    if not cases:
        return []
    wanted: defaultdict[tuple[Endpoint, tuple[dt.date, ...], bool], list[AccountView]] = (
        defaultdict(list)
    )
    length = _list_dates([case for _, _, case in cases])
    for view, progress, case in cases:
        if case.alltime:
            wanted[Endpoint.ALLTIME, (), view.by_login].append(view)
        for endpoint, dates in case.dates.items():
            for day in dates:
                wanted[endpoint, (day,), _asks_by_login(view, progress, endpoint, day)].append(view)
        if with_life:
            for days in _lists(case.life, length):
                wanted[Endpoint.DAILY, days, view.by_login].append(view)
        elif case.life and progress.tried is not None:
            # Of the first accounts lists of dates brought no more than all dates at once.
            progress.tried.setdefault(Endpoint.DAILY, set()).update(case.life)
    return [
        _request(endpoint, days, part, by_login=by_login)
        for endpoint, days, by_login in sorted(wanted)
        for part in _parts(wanted[endpoint, days, by_login], max_ids, by_login=by_login)
    ]


def _list_dates(cases: Sequence[Disputed]) -> int:
    return max(_SHORTEST_LIST, *(-(-len(case.life) // _MOST_LISTS) for case in cases))


def _lists(days: Iterable[dt.date], length: int) -> Iterator[tuple[dt.date, ...]]:
    """Common borders for all accounts."""
    for _, part in groupby(sorted(days), key=lambda day: day.toordinal() // length):
        yield tuple(part)


def _parts(
    views: Sequence[AccountView], max_ids: int, *, by_login: bool
) -> Iterator[list[AccountView]]:
    """Groups whose ids fit a request."""
    part: list[AccountView] = []
    filled = 0
    for view in views:
        ids = len(view.logins) if by_login else 1
        if part and filled + ids > max_ids:
            yield part
            part, filled = [], 0
        part.append(view)
        filled += ids
    if part:
        yield part


def _asks_by_login(view: AccountView, progress: Progress, endpoint: Endpoint, day: dt.date) -> bool:
    return (
        endpoint.is_trades
        or view.by_login
        or (bool(view.logins) and lacks(view, progress, endpoint, day))
    )


def _request(
    endpoint: Endpoint, days: tuple[dt.date, ...], views: Sequence[AccountView], *, by_login: bool
) -> PlannedRequest:
    account_ids = tuple(view.account_id for view in views)
    if not by_login:
        return PlannedRequest(
            Request(endpoint, account_ids=account_ids, dates=days), account_ids, is_trial=True
        )
    logins = tuple(view.logins for view in views)
    asked = tuple(sorted({login for each in logins for login in each}))
    if endpoint.is_trades:
        request = Request(
            endpoint, logins=asked, date_from=days[0], date_to=days[0], is_single=True
        )
    else:
        request = Request(endpoint, logins=asked, dates=days)
    return PlannedRequest(request, account_ids, logins, is_trial=True)
