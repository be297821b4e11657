"""Which relations between amounts are used, what their differences give reason to read, and when
upstream is blamed.
"""

import datetime as dt
from collections.abc import Collection
from random import Random

import pytest

from app.domain.accounts.counts import Totals
from app.domain.accounts.money import (
    AUTO,
    BY_NAME,
    OFF,
    RELATIONS,
    Figure,
    Known,
    Money,
    MoneyDay,
    MoneyMode,
    Side,
    tolerance,
)
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import Endpoint
from app.domain.ids import AccountId, Login
from app.domain.issues.codes import SHOW_ROWS, IssueCode
from app.domain.issues.money_issues import (
    Unread,
    explained_money,
    money_is_read,
    money_issues,
    unread_money,
)
from app.errors import ConfigurationError

_TOTALS = Totals(
    has_alltime=True,
    alltime=4,
    has_daily=True,
    daily=4,
    has_hourly=True,
    hourly=4,
    has_closed=True,
    closed=4,
)
_DAY = dt.date(2026, 3, 2)
_ROWS = {Side.DAILY: 1, Side.HOURLY: 2, Side.CLOSED: 4}
_ALL = frozenset(RELATIONS)


def _day(daily: float, hourly: float, closed: float, day: dt.date = _DAY) -> MoneyDay:
    profit = {Side.DAILY: daily, Side.HOURLY: hourly, Side.CLOSED: closed}
    return MoneyDay(day, {Figure.PROFIT: profit, Figure.LOTS: dict.fromkeys(profit, 1.0)}, _ROWS)


def _view(
    *days: MoneyDay, broken: Collection[str], pins: Collection[tuple[str, dt.date | None]] = ()
) -> AccountView:
    totals = {figure: dict.fromkeys(Side, 0.0) for figure in Figure}
    money = Money(_ALL, tuple(BY_NAME[name] for name in sorted(broken)), days, totals)
    return AccountView(
        AccountId("a"),
        _TOTALS,
        first_day=_DAY,
        last_day=_DAY,
        logins=(Login("1"),),
        money=money,
        pins=dict.fromkeys(pins, 1),
    )


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("auto", AUTO),
        ("", AUTO),
        (" OFF ", OFF),
        (
            "daily_hourly_net_profit, alltime_daily_total_lots",
            MoneyMode(frozenset({"daily_hourly_net_profit", "alltime_daily_total_lots"})),
        ),
        ("daily_hourly_by_date", MoneyMode(frozenset({"daily_hourly_by_date"}))),
    ],
)
def test_the_setting_is_auto_or_off_or_names(text: str, mode: MoneyMode) -> None:
    assert MoneyMode.read(text) == mode


@pytest.mark.parametrize("text", ["on", "auto,off", "daily_hourly", "hourly_closed_net_profit"])
def test_a_name_of_no_relation_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no relation such as"):
        MoneyMode.read(text)


def test_a_relation_is_used_from_95_of_100_accounts_on_or_where_it_is_named() -> None:
    name = RELATIONS[0].name
    assert [AUTO.is_used(name, 100, holding) for holding in (94, 95, 100)] == [False, True, True]
    assert not AUTO.is_used(name, 0, 0)
    assert MoneyMode(frozenset({name})).is_used(name, 100, 3)
    assert not OFF.is_used(name, 100, 100)


def test_a_learned_relation_stays_in_force_until_fewer_than_half_keep_it() -> None:
    name = RELATIONS[0].name

    def after(*holdings: int, mode: MoneyMode = AUTO) -> Known:
        known = Known()
        for holding in holdings:
            known = Known.judge(mode, name, 100, holding, known)
        return known

    assert [after(95, holding).is_used for holding in (94, 50, 49, 0)] == [True, True, False, False]
    assert after(95, 60, 55).is_used, "learned before, in whatever run"
    assert not after(94, 94).is_used, "never learned"
    assert not after(95, 40, 94).is_used, "once dropped, it is learned as a new one"
    assert after(95, 40, 95).is_used
    assert [after(*each).is_dropped for each in ((95, 40), (95, 40, 94), (40,), (95, 60))] == [
        True,
        True,
        False,
        False,
    ]
    named = after(60, mode=MoneyMode(frozenset({name})))
    assert named.is_used
    assert not Known.judge(AUTO, name, 100, 60, named).is_used, "named is not learned"
    assert Known.judge(AUTO, name, 0, 0, after(95)).is_used, "where no account tells, it stays"


@pytest.mark.parametrize("seed", range(20))
def test_no_rounding_of_so_many_rows_reaches_the_tolerance(seed: int) -> None:
    chance = Random(seed)
    amounts = [chance.uniform(-1000, 1000) for _ in range(chance.choice([2, 30, 900]))]
    rounded = sum(round(amount, 2) for amount in amounts)
    assert abs(rounded - sum(amounts)) < tolerance(Figure.PROFIT, len(amounts) + 1, abs(rounded))
    assert tolerance(Figure.PROFIT, 5, 100) < 0.05


@pytest.mark.parametrize(
    ("day", "first"),
    [
        (_day(5, 7, 5), {Side.HOURLY}),
        (_day(5, 7, 7), {Side.DAILY}),
        (_day(5, 5, 7), {Side.CLOSED}),
        (_day(5, 6, 7), {Side.DAILY, Side.HOURLY, Side.CLOSED}),
    ],
)
def test_the_table_that_stands_alone_is_read_first_and_then_all_that_can_be_wrong(
    day: MoneyDay, first: set[Side]
) -> None:
    broken = [
        relation.name
        for relation in RELATIONS
        if relation.figure is Figure.PROFIT and day.breaks(relation)
    ]
    view, progress = _view(day, broken=broken), Progress()
    assert view.money is not None
    assert view.money.suspects(day) == first
    asked: list[Unread] = []
    while (unread := unread_money(view, progress)) != Unread():
        asked.append(unread)
        for endpoint, days in (
            (Endpoint.DAILY, unread.daily),
            (Endpoint.HOURLY, unread.hourly),
            (Endpoint.CLOSED, unread.closed),
        ):
            progress.read[endpoint].dates |= days or set()
        assert len(asked) <= 2
    assert {
        side for side in (Side.DAILY, Side.HOURLY, Side.CLOSED) if getattr(asked[0], side)
    } == first
    assert money_is_read(view, progress)
    (issue,) = explained_money(view, progress, dt.date(2026, 3, 9), 3)
    assert issue.code is IssueCode.UPSTREAM_INCONSISTENT


def test_where_only_totals_differ_alltime_is_read_and_then_daily() -> None:
    view, progress = (
        _view(broken=["alltime_daily_net_profit", "alltime_closed_net_profit"]),
        Progress(),
    )
    assert unread_money(view, progress) == Unread(alltime=True)
    progress.read[Endpoint.ALLTIME].everything = True
    assert unread_money(view, progress) == Unread(daily=None)
    progress.read[Endpoint.DAILY].everything = True
    assert unread_money(view, progress) == Unread()


def test_what_differs_on_dates_that_still_move_is_not_settled_for_some_runs() -> None:
    view = _view(_day(5, 7, 7), broken=["daily_hourly_net_profit"])
    assert [issue.code for issue in explained_money(view, Progress(), _DAY, 1)] == [
        IssueCode.UNSETTLED
    ]
    assert [issue.code for issue in explained_money(view, Progress(), _DAY, 0)] == [
        IssueCode.UPSTREAM_INCONSISTENT
    ]


def test_an_amount_that_the_column_cannot_hold_is_not_blamed_on_upstream() -> None:
    view = _view(_day(5, 7, 7), broken=["daily_hourly_net_profit"])
    (issue,) = explained_money(
        view, Progress(unheld={"raw_metrics_daily": {"net_profit"}}), dt.date(2026, 3, 9), 3
    )
    assert (issue.code, issue.strategy) == (IssueCode.MONEY_MISMATCH, SHOW_ROWS)
    assert not issue.can_be_healed


def test_rows_that_a_restore_pinned_are_not_judged() -> None:
    later = _day(1, 2, 1, _DAY + dt.timedelta(days=1))
    pinned = _view(
        _day(5, 7, 7), broken=["daily_hourly_net_profit"], pins=[("raw_metrics_daily", _DAY)]
    )
    assert money_issues(pinned) == []
    both = _view(
        _day(5, 7, 7), later, broken=["daily_hourly_net_profit"], pins=[("raw_metrics_daily", _DAY)]
    )
    (issue,) = money_issues(both)
    assert issue.evidence["dates"] == [later.date.isoformat()]
