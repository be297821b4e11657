import uuid

import pytest

from app.domain.holds import HoldLimits, Waiting
from app.domain.models import RunStatus
from app.domain.wording import choose, counted

_RUN, _EARLIER = uuid.UUID(int=7), uuid.UUID(int=6)


@pytest.mark.parametrize(("number", "said"), [(0, "0 accounts"), (1, "1 account"), (2, "2 accounts"), (-1, "-1 accounts")])
def test_a_noun_agrees_with_its_number(number: int, said: str) -> None:
    assert counted(number, "account") == said


def test_an_irregular_plural_is_given() -> None:
    assert [counted(number, "copy", "copies") for number in (1, 2)] == ["1 copy", "2 copies"]
    assert [choose(number, "is", "are") for number in (1, 2)] == ["is", "are"]


@pytest.mark.parametrize(
    ("waiting", "said"),
    [
        (Waiting(_RUN, RunStatus.SUCCEEDED, 0), ""),
        (Waiting(_RUN, RunStatus.NEEDS_CONFIRMATION, 0), f"To let the run go on: `trade-recon confirm {_RUN}`"),
        (Waiting(_RUN, RunStatus.COMPLETED_WITH_ISSUES, 1, 1), "1 account waits for confirmation: 1 newly held by this run. GET"),
        (
            Waiting(_RUN, RunStatus.NEEDS_CONFIRMATION, 9, 2, _EARLIER),
            f"2 newly held by this run and 7 held before, the first since run {_EARLIER}.",
        ),
        (Waiting(_RUN, RunStatus.CANCELLED, 3, 3), "A new run compares them again."),
    ],
)
def test_a_run_tells_of_the_accounts_that_it_holds_and_what_to_call(waiting: Waiting, said: str) -> None:
    assert said in waiting.sentence
    assert bool(said) == bool(waiting.sentence)
    assert ("trade-recon confirm" in waiting.sentence) == (
        waiting.status in {RunStatus.NEEDS_CONFIRMATION, RunStatus.COMPLETED_WITH_ISSUES}
    )


def test_the_suspicion_says_the_share_of_rows_in_numbers() -> None:
    said = HoldLimits(row_share=0.35, account_share=0.1, accounts=4).suspicion(1, 1)
    assert "1 of the 1 account compared so far has lower figures" in said
    assert "more than 35% of its rows rewritten; allowed are 10%, or fewer than 4" in said
