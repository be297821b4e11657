import datetime as dt
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.accounts.counts import DayCounts, Drift, Totals
from app.domain.accounts.money import Figure, Money, MoneyDay, Relation, Side
from app.domain.accounts.view import AcceptedIssue, AccountView
from app.domain.ids import AccountId
from app.domain.issues.acceptance import (
    disagreement_of,
    figures_of,
    how_it_ended,
    is_covered,
    last_date,
)
from app.domain.issues.codes import Issue, IssueCode, Severity
from app.domain.issues.detection import detect
from app.errors import InvalidRequest

_DAY = dt.date(2026, 1, 5)


def _view(alltime: int = 10, daily: int = 10, hourly: int = 7, closed: int = 10) -> AccountView:
    day = DayCounts(_DAY, 5, 5 - (daily - hourly), 5, 1, 1)
    return AccountView(
        AccountId("a"),
        Totals(True, alltime, True, daily, True, hourly, True, closed),  # noqa: FBT003
        days=(day,),
    )


def _figures(view: AccountView) -> dict[IssueCode, str]:
    return {issue.code: figures_of(issue) for issue in detect(view)}


@given(st.integers(0, 10_000))
def test_trades_that_come_in_everywhere_change_no_figure_that_was_accepted(more: int) -> None:
    before, after = _view(), _view(10 + more, 10 + more, 7 + more, 10 + more)
    assert _figures(before) == _figures(after)
    assert disagreement_of(before) == disagreement_of(after)


@given(st.integers(1, 6))
def test_a_difference_that_grows_is_another_figure(more: int) -> None:
    before, after = _view(), _view(hourly=7 - more)
    assert not _figures(before).items() & _figures(after).items()
    assert disagreement_of(before) != disagreement_of(after)


def test_figures_survive_the_record_and_what_tells_of_the_run_alone_is_no_figure() -> None:
    evidence = {
        "missing_dates": ["2026-01-05"],
        "metadata": {"looks": {"2026-01-05": 1}, "upstream_counts": {"raw_metrics_daily": 4}},
    }
    issue = Issue(
        IssueCode.UPSTREAM_INCONSISTENT,
        Severity.INFO,
        "text",
        ("raw_metrics_daily",),
        "none",
        evidence,
    )
    again = Issue.from_json(msgspec.json.decode(msgspec.json.encode(issue.as_json())))
    other = replace(
        issue,
        description="another",
        evidence={**evidence, "metadata": {"looks": {"2026-01-05": 2}}},
    )
    assert figures_of(issue) == figures_of(again) == figures_of(other)


def test_where_no_date_tells_it_the_difference_of_upstreams_own_totals_is_the_figure() -> None:
    def figures(alltime: int, daily: int) -> str:
        metadata = {"upstream_counts": {"raw_metrics_alltime": alltime, "raw_metrics_daily": daily}}
        evidence = {"missing_dates": [], "metadata": metadata}
        return figures_of(
            Issue(
                IssueCode.UPSTREAM_INCONSISTENT,
                Severity.INFO,
                "",
                ("raw_metrics_daily",),
                "none",
                evidence,
            )
        )

    assert figures(10, 8) == figures(15, 13) != figures(15, 12)


@given(st.lists(st.integers(0, 9), min_size=11, max_size=15), st.data())
def test_a_count_on_any_date_is_a_figure_also_beyond_those_that_are_shown(
    counts: list[int], data: st.DataObject
) -> None:
    def view(hourly: list[int]) -> AccountView:
        days = tuple(
            DayCounts(_DAY + dt.timedelta(days=n), 20, count, 20, 1, 1)
            for n, count in enumerate(hourly)
        )
        return replace(_view(300, 300, sum(hourly), 300), days=days)

    place = data.draw(st.integers(0, len(counts) - 1))
    changed = [count + (number == place) for number, count in enumerate(counts)]
    before, after = _figures(view(counts)), _figures(view(changed))
    assert before[IssueCode.HOURLY_DAILY_MISMATCH] != after[IssueCode.HOURLY_DAILY_MISMATCH]


def test_a_drift_is_accepted_by_its_difference() -> None:
    def drift(upstream: float, stored: float) -> str:
        evidence = {
            "upstream": {"net_profit": upstream},
            "stored": {"net_profit": stored},
            "settled_before": f"{upstream}",
        }
        [issue] = detect(
            replace(_view(hourly=10), days=(), drift=Drift(absent=False, evidence=evidence))
        )
        return figures_of(issue)

    assert drift(100.3, 100.1) == drift(5.2, 5.0) != drift(5.3, 5.0)


def test_an_account_is_covered_only_while_all_that_is_open_is_accepted_and_nothing_else_disagrees() -> (
    None
):
    view = replace(_view(), open_issues=tuple(issue.as_json() for issue in detect(_view())))
    until, seen = dt.date(2026, 2, 1), disagreement_of(view)
    accepted = {
        issue.code.value: AcceptedIssue(AccountId("a"), issue.code, until, figures_of(issue), seen)
        for issue in detect(view)
    }
    assert is_covered(view, accepted)
    for code in accepted:
        assert not is_covered(
            view, {other: each for other, each in accepted.items() if other != code}
        )
    assert not is_covered(replace(view, totals=_view(hourly=6).totals), accepted)
    assert not is_covered(
        replace(view, drift=Drift(absent=False, evidence={"upstream": {"num_trades": 9}})), accepted
    )
    assert not is_covered(replace(view, doubts=frozenset({_DAY})), accepted)
    assert not is_covered(replace(view, open_issues=()), accepted)


def test_an_acceptance_ends_as_what_became_of_its_issue() -> None:
    [issue, *_] = detect(_view())
    today = dt.date(2026, 2, 1)
    accepted = AcceptedIssue(
        AccountId("a"), issue.code, today + dt.timedelta(days=1), figures_of(issue), ""
    )
    assert how_it_ended(accepted, [issue], [issue.code], today) is None
    assert how_it_ended(accepted, [], [issue.code], today) == "closed"
    assert how_it_ended(accepted, [], [], today) is None, "nobody looked"
    assert how_it_ended(accepted, [replace(issue, evidence={})], [issue.code], today) == "changed"
    assert how_it_ended(accepted, [issue], [issue.code], today + dt.timedelta(days=1)) == "expired"


@given(st.integers(-400, 800))
def test_an_acceptance_ends_within_a_year_and_after_today(days: int) -> None:
    today = dt.date(2026, 3, 10)
    until = today + dt.timedelta(days=days)
    if 0 < days <= 366:
        assert last_date(until, today) == until
    else:
        with pytest.raises(InvalidRequest, match="Nothing was changed"):
            last_date(until, today)
    assert last_date(None, today) == today + dt.timedelta(days=90)


@given(st.integers(-(10**8), 10**8), st.integers(1, 10**6))
def test_amounts_are_accepted_by_how_much_they_differ(cents: int, more_cents: int) -> None:
    before, differs = cents / 100, more_cents / 100

    def view(base: float, difference: float) -> AccountView:
        totals = {
            Side.ALLTIME: base,
            Side.DAILY: base,
            Side.HOURLY: base + difference,
            Side.CLOSED: base,
        }
        relation = Relation(Side.ALLTIME, Side.HOURLY, Figure.PROFIT)
        money = Money(frozenset({relation}), (relation,), (), {Figure.PROFIT: totals})
        return replace(_view(hourly=10), days=(), money=money)

    [one], [other], [more] = (
        detect(view(*each))
        for each in ((before, differs), (before + 512, differs), (before, differs + 1))
    )
    assert figures_of(one) == figures_of(other) != figures_of(more)
    assert disagreement_of(view(before, differs)) == disagreement_of(view(before + 512, differs))
    assert disagreement_of(view(before, differs)) != disagreement_of(view(before, differs + 1))


@given(st.sampled_from([-900.0, 900.0]), st.integers(0, 3), st.sampled_from([(), (_DAY,)]))
def test_which_relations_are_compared_ends_no_acceptance(
    difference: float, off: int, dates: tuple[dt.date, ...]
) -> None:
    def view(compared: tuple[Relation, ...], wrong: float) -> AccountView:
        amounts = {
            Figure.PROFIT: {
                side: 100 + (wrong if side is Side.DAILY else 0)
                for side in (Side.DAILY, Side.HOURLY, Side.CLOSED)
            }
        }
        rows = dict.fromkeys(amounts[Figure.PROFIT], 1)
        days = tuple(MoneyDay(day, amounts, rows) for day in dates)
        totals = {side: 100 + (wrong if side is Side.DAILY else 0) for side in Side}
        money = Money(frozenset(compared), compared, days, {Figure.PROFIT: totals})
        return replace(_view(hourly=10), days=(), money=money)

    broken = (
        Relation(Side.ALLTIME, Side.DAILY, Figure.PROFIT),
        Relation(Side.DAILY, Side.HOURLY, Figure.PROFIT),
        Relation(Side.DAILY, Side.CLOSED, Figure.PROFIT),
    )
    fewer = broken[:off] + broken[off + 1 :]
    [all_], [some], [more] = (
        detect(view(*each))
        for each in ((broken, difference), (fewer, difference), (broken, 2 * difference))
    )
    assert all_.code is IssueCode.MONEY_MISMATCH
    assert figures_of(all_) == figures_of(some) != figures_of(more)
    assert disagreement_of(view(broken, difference)) == disagreement_of(view(fewer, difference))
