import re
import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.accounts.counts import IdentityFinding, OddRows
from app.domain.holds.limits import HoldLimits
from app.domain.holds.waiting import Waiting
from app.domain.ids import Login
from app.domain.issues.detection import detect
from app.domain.states import RunStatus
from app.domain.wording.counts import choose, counted
from app.domain.wording.validation import requirement
from tests.support.views import DAY, days, view

_RUN, _EARLIER = uuid.UUID(int=7), uuid.UUID(int=6)


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 accounts"), (1, "1 account"), (2, "2 accounts"), (-1, "-1 accounts")],
)
def test_a_noun_agrees_with_its_number(number: int, said: str) -> None:
    assert counted(number, "account") == said


def test_an_irregular_plural_is_given() -> None:
    assert [counted(number, "copy", "copies") for number in (1, 2)] == ["1 copy", "2 copies"]
    assert [choose(number, "is", "are") for number in (1, 2)] == ["is", "are"]


@pytest.mark.parametrize(
    ("kind", "context", "message", "said"),
    [
        ("greater_than", {"gt": 0}, "Input should be greater", "must be above 0"),
        (
            "greater_than",
            {},
            "Input should be greater.",
            "cannot be taken: input should be greater",
        ),
        ("string_too_long", {"max_length": 1}, "", "must have at most 1 character"),
        ("string_too_long", {}, "Too long", "must be a text"),
        ("date_from_datetime_inexact", {}, "Inexact", "must be a date, such as 2026-11-28"),
        ("value_error", {}, "Value error, Ids repeat.", "cannot be taken: ids repeat"),
        ("is_instance_of", {}, "", "cannot be taken"),
    ],
)
def test_a_validators_error_is_said_as_a_requirement_also_where_it_is_not_known(
    kind: str, context: dict[str, object], message: str, said: str
) -> None:
    assert requirement(kind, context, message) == said


@pytest.mark.parametrize(
    ("waiting", "said"),
    [
        (Waiting(_RUN, RunStatus.SUCCEEDED, 0), ""),
        (
            Waiting(_RUN, RunStatus.NEEDS_CONFIRMATION, 0),
            f"To let the run go on: `trade-recon confirm {_RUN}`",
        ),
        (
            Waiting(_RUN, RunStatus.COMPLETED_WITH_ISSUES, 1, 1),
            "1 account waits for confirmation: 1 newly held by this run. GET",
        ),
        (
            Waiting(_RUN, RunStatus.NEEDS_CONFIRMATION, 9, 2, _EARLIER),
            f"2 newly held by this run and 7 held before, the first since run {_EARLIER}.",
        ),
        (
            Waiting(_RUN, RunStatus.NEEDS_CONFIRMATION, 8, 0, None, was_confirmed=True),
            (
                "0 newly held by this run and 8 held before by earlier runs, or by this run until"
                " it was confirmed. GET"
            ),
        ),
        (Waiting(_RUN, RunStatus.CANCELLED, 3, 3), "A new run compares them again."),
        (
            Waiting(_RUN, RunStatus.NEEDS_CONFIRMATION, 3, 3, still=3),
            "3 accounts wait for confirmation: 3 newly held",
        ),
        (
            Waiting(_RUN, RunStatus.NEEDS_CONFIRMATION, 3, 3, still=1),
            "It held 3 accounts, of which 1 still waits for confirmation",
        ),
        (
            Waiting(_RUN, RunStatus.NEEDS_CONFIRMATION, 3, 3, still=0),
            "It held 3 accounts, none of which is held any more: later runs",
        ),
    ],
)
def test_a_run_tells_of_the_accounts_that_it_holds_and_what_to_call(
    waiting: Waiting, said: str
) -> None:
    assert said in waiting.sentence
    assert bool(said) == bool(waiting.sentence)
    assert ("trade-recon confirm" in waiting.sentence) == (
        waiting.still != 0
        and waiting.status in {RunStatus.NEEDS_CONFIRMATION, RunStatus.COMPLETED_WITH_ISSUES}
    )


def test_the_suspicion_says_the_share_of_rows_in_numbers() -> None:
    said = HoldLimits(row_share=0.35, account_share=0.1, accounts=4).suspicion(1, 1)
    assert "1 of the 1 account compared so far has lower figures" in said
    assert "more than 35% of its rows rewritten; allowed are 10%, or fewer than 4" in said


@given(
    st.lists(st.tuples(*[st.integers(0, 2)] * 3), max_size=3),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 2),
    st.lists(st.integers(1, 2), max_size=2),
)
def test_no_issue_counts_one_in_the_plural(
    counts: list[tuple[int, int, int]], alltime: int, daily: int, descents: int, rows: list[int]
) -> None:
    found = view("acc-1", alltime, daily, *counts, finer=0)
    findings = tuple(
        IdentityFinding(
            "raw_trades_closed", Login("7"), "1", "1", holder, candidates, number, (DAY,)
        )
        for number in rows
        for holder, candidates in ((None, ("acc-1",)), ("acc-2", ()), (None, ("acc-1", "acc-2")))
    )
    odd = tuple(OddRows("raw_metrics_daily", number, ("infinity",)) for number in rows[:1])
    found = replace(found, descents=days(*range(descents)), findings=findings, odd_rows=odd)
    for issue in detect(found):
        assert not re.search(
            r"\b1 ([a-z]+ ){0,1}(accounts|dates|rows|trades|ids)\b", issue.description
        ), issue.description
        assert not re.search(
            r"\b([02-9]|\d\d+) ([a-z]+ )?(account|date|row|trade|id)\b(?! ids)", issue.description
        ), issue.description
