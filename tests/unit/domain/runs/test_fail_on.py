import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.runs.fail_on import Condition, FailOn, parse_fail_on
from app.domain.runs.leftovers import Left, Leftovers
from app.errors import InvalidRequest

_KNOWN = Leftovers({Left.KNOWN: 1})
_NEW = Leftovers({Left.NEW: 1}, 1)
_HELD = Leftovers({Left.HELD: 1})
_ACCEPTED = Leftovers({Left.ACCEPTED: 1})


@pytest.mark.parametrize(
    ("words", "left", "is_met"),
    [
        ((), Leftovers(), False),
        ((), _KNOWN, False),
        ((), _NEW, True),
        ((), _HELD, True),
        ((), _ACCEPTED, False),
        (("issues",), _KNOWN, True),
        (("issues",), _ACCEPTED, False),
        (("new-issues",), _KNOWN, False),
        (("new-issues",), _NEW, True),
        (("new-issues",), _HELD, False),
        (("new_issues, Issues",), _KNOWN, True),
        (("none",), _HELD, False),
        (("new-issues", "failed:50%"), _KNOWN, False),
    ],
)
def test_what_counts_as_a_failure_is_chosen(
    words: tuple[str, ...], left: Leftovers, *, is_met: bool
) -> None:
    assert (parse_fail_on(words).reason(left, done=10, failed=1) is not None) is is_met


@pytest.mark.parametrize("words", [(), ("none",), ("new-issues",), ("failed:100%",)])
def test_a_run_that_failed_at_each_account_is_a_failure_whatever_is_chosen(
    words: tuple[str, ...],
) -> None:
    assert (
        parse_fail_on(words).reason(Leftovers(), done=3, failed=3) == "no account could be healed"
    )
    assert parse_fail_on(words).reason(Leftovers(), done=0, failed=0) is None


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 100))
def test_a_share_of_failed_accounts_counts_from_above_it(
    done: int, failed: int, percent: int
) -> None:
    failed = min(done, failed)
    expected = 0 < failed == done or failed > percent / 100 * done
    assert (
        parse_fail_on([f"failed:{percent}%"]).reason(
            Leftovers({Left.HEALABLE: failed}), done=done, failed=failed
        )
        is not None
    ) is expected
    assert (
        FailOn(frozenset(), percent / 100).reason(Leftovers(), done=done, failed=failed) is not None
    ) is expected


@pytest.mark.parametrize(
    "word",
    [
        "isues",
        "",
        "failed",
        "failed:",
        "failed:abc",
        "failed:101%",
        "failed:-1",
        "failed:nan",
        "5%",
        "none,issues",
        "new-issues,,failed:1",
    ],
)
def test_a_choice_that_cannot_be_is_refused_in_a_sentence(word: str) -> None:
    with pytest.raises(InvalidRequest, match=r"No run was started\.$"):
        parse_fail_on([word])


def test_a_misspelled_condition_is_answered_with_the_one_that_is_meant() -> None:
    with pytest.raises(InvalidRequest, match="Is new-issues meant"):
        parse_fail_on(["newissue"])
    assert parse_fail_on(["issues", "failed:20%,failed:0.1"]) == FailOn(
        frozenset({Condition.ISSUES}), 0.1
    )
