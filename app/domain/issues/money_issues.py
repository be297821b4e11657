"""Issues of amounts; a cut answer would change counts, so no second shape."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.accounts.money import Figure, Money, MoneyDay, Relation, Side, shown
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import TABLES, Endpoint
from app.domain.issues.codes import (
    SAMPLE,
    SHOW_ROWS,
    Issue,
    IssueCode,
    Severity,
    plain_dates_evidence,
)
from app.domain.wording.counts import counted

ENDPOINTS: Mapping[Side, Endpoint] = {
    Side.ALLTIME: Endpoint.ALLTIME,
    Side.DAILY: Endpoint.DAILY,
    Side.HOURLY: Endpoint.HOURLY,
    Side.CLOSED: Endpoint.CLOSED,
}
_COLUMNS: Mapping[Side, Mapping[Figure, str]] = {
    Side.CLOSED: {Figure.PROFIT: "profit", Figure.LOTS: "lots"}
}


@dataclass(frozen=True, slots=True)
class Unread:
    """Amounts to read next; None: every date."""

    alltime: bool = False
    daily: frozenset[dt.date] | None = frozenset()
    hourly: frozenset[dt.date] | None = frozenset()
    closed: frozenset[dt.date] | None = frozenset()


def table_of(side: Side) -> str:
    """The side's raw table."""
    return TABLES[ENDPOINTS[side]].name


def judged(view: AccountView) -> Money | None:
    """The disagreement beyond pinned rows, if any."""
    if view.money is None or not view.pins:
        return view.money
    pinned = {day for _, day in view.pins}
    days = tuple(day for day in view.money.days if day.date not in pinned)
    # A pin tells on totals where the amounts of its date differ, or where it holds alltime itself.
    telling = {
        table
        for table, day in view.pins
        if day is None or any(each.date == day for each in view.money.days)
    }
    broken = tuple(
        relation
        for relation in view.money.broken
        if any(day.breaks(relation) for day in days)
        or (
            not relation.has_dates
            and telling.isdisjoint({table_of(relation.left), table_of(relation.right)})
        )
    )
    return Money(view.money.used, broken, days, view.money.totals) if broken else None


def money_issues(view: AccountView) -> list[Issue]:
    """Amounts disagree though counts agree."""
    money = judged(view)
    if money is None:
        return []
    where = f"on {counted(len(money.days), 'date')}" if money.days else "in total"
    figures = " and ".join(
        figure.value for figure in Figure if any(each.figure is figure for each in money.broken)
    )
    tables = _tables(money)
    text = (
        f"The counts agree, and {figures} of {' and '.join(tables)}"
        f" {'differ' if len(tables) > 1 else 'differs'} {where}."
    )
    return [
        Issue(
            IssueCode.MONEY_MISMATCH,
            Severity.HIGH,
            text,
            tables,
            "refetch_all_data",
            _evidence(money),
        )
    ]


def unread_money(view: AccountView, progress: Progress) -> Unread:
    """What to read next: by date the contradicted table, then others, then alltime."""
    money = judged(view)
    if money is None:
        return Unread()
    dated = _unread_dates(view, progress, money)
    if any(dated.values()):
        return Unread(daily=dated[Side.DAILY], hourly=dated[Side.HOURLY], closed=dated[Side.CLOSED])
    if not money.broken_totals:
        return Unread()
    if not progress.dates_read(Endpoint.ALLTIME).everything:
        return Unread(alltime=True)
    if not progress.dates_read(Endpoint.DAILY).everything:
        return Unread(daily=None)
    return _unread_totals(view, progress, money.broken_totals)


def money_is_read(view: AccountView, progress: Progress) -> bool:
    """Whether nothing more can end it."""
    money = judged(view)
    can_ask = bool(view.logins) or money is None or Side.CLOSED not in money.sides
    return can_ask and unread_money(view, progress) == Unread()


def explained_money(
    view: AccountView, progress: Progress, moving_from: dt.date, looks: int
) -> tuple[Issue, ...]:
    """What a difference comes to once all was read: upstream's contradiction or, on unsettled
    dates, unsettled; `looks` is how often in a row it was so.
    """
    money = judged(view)
    if money is None:
        return ()
    tables, evidence = _tables(money), _evidence(money)
    if refused := _refused_columns(money, progress):
        text = (
            f"Amounts differ, since columns cannot hold what upstream sends: {', '.join(refused)}."
        )
        return (Issue(IssueCode.MONEY_MISMATCH, Severity.HIGH, text, tables, SHOW_ROWS, evidence),)
    # Dates that differ must all move; of totals alone it is not known in which dates they do.
    first = min((day.date for day in money.days), default=view.last_day)
    if first is not None and first >= moving_from and looks > 0:
        text = (
            f"Amounts differ on dates from {moving_from} on, which still move; the next run"
            " compares them again."
        )
        return (Issue(IssueCode.UNSETTLED, Severity.INFO, text, tables, "look_again", evidence),)
    text = (
        "Upstream contradicts itself: everything was read again, the counts agree, and the amounts"
        " still differ."
    )
    return (Issue(IssueCode.UPSTREAM_INCONSISTENT, Severity.INFO, text, tables, "none", evidence),)


def _refused_columns(money: Money, progress: Progress) -> list[str]:
    unheld = {
        (table, column.split()[0])
        for table, columns in progress.unheld.items()
        for column in columns
    }
    return sorted(f"{table}.{column}" for table, column in _columns(money) & unheld)


def _unread_dates(
    view: AccountView, progress: Progress, money: Money
) -> dict[Side, frozenset[dt.date]]:
    unread: dict[Side, set[dt.date]] = {Side.DAILY: set(), Side.HOURLY: set(), Side.CLOSED: set()}
    can_ask = frozenset(unread if view.logins else (Side.DAILY, Side.HOURLY))
    for day in money.days:
        for sides in (money.suspects(day), money.involved(day)):
            lacking = [
                side
                for side in sides & can_ask
                if not progress.dates_read(ENDPOINTS[side]).covers(day.date)
            ]
            for side in lacking:
                unread[side].add(day.date)
            if lacking:
                break
    return {side: frozenset(days) for side, days in unread.items()}


def _unread_totals(view: AccountView, progress: Progress, broken: Sequence[Relation]) -> Unread:
    """Whole finer tables that alltime contradicts."""
    by_daily = {relation.figure for relation in broken if relation.right is Side.DAILY}
    finer = {relation.right for relation in broken if relation.figure not in by_daily}
    if view.first_day is None or view.last_day is None:
        return Unread()
    days = frozenset(
        view.first_day + dt.timedelta(days=number)
        for number in range((view.last_day - view.first_day).days + 1)
    )
    hourly, closed = progress.dates_read(Endpoint.HOURLY), progress.dates_read(Endpoint.CLOSED)
    is_unread = Side.HOURLY in finer and not hourly.everything and not hourly.covers_all(days)
    return Unread(
        hourly=(None if view.history is None else days) if is_unread else frozenset(),
        closed=(
            None
            if Side.CLOSED in finer
            and view.logins
            and not closed.covers_span(view.first_day, view.last_day)
            else frozenset()
        ),
    )


def _columns(money: Money) -> set[tuple[str, str]]:
    return {
        (table_of(side), _COLUMNS.get(side, {}).get(relation.figure, relation.figure.value))
        for relation in money.broken
        for side in (relation.left, relation.right)
    }


def _tables(money: Money) -> tuple[str, ...]:
    return tuple(table_of(side) for side in Side if side in money.sides)


def _evidence(money: Money) -> Mapping[str, object]:
    dates = [day.date for day in money.days]
    samples = [sample for day in money.days for sample in _samples(money, day)]
    figures = [
        figure for figure in Figure if any(relation.figure is figure for relation in money.broken)
    ]
    return {
        **plain_dates_evidence(dates),
        "sample_mismatches": samples[:SAMPLE],
        "total_mismatches": len(dates),
        "metadata": {
            "relations": [relation.name for relation in money.broken],
            "totals": {
                figure.value: {
                    table_of(side): shown(money.totals[figure][side])
                    for side in Side
                    if side in money.sides
                }
                for figure in figures
            },
        },
    }


def _samples(money: Money, day: MoneyDay) -> list[dict[str, object]]:
    broken = [relation for relation in money.broken if day.breaks(relation)]
    found: list[dict[str, object]] = []
    for figure in Figure:
        sides = {
            side
            for relation in broken
            if relation.figure is figure
            for side in (relation.left, relation.right)
        }
        if sides:
            amounts = {
                table_of(side): shown(day.amounts[figure][side]) for side in Side if side in sides
            }
            found.append({"date": day.date.isoformat(), "figure": figure.value, **amounts})
    return found
