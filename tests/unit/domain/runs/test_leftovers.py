import itertools

import pytest

from app.domain.runs.leftovers import Left, Leftovers, OpenKinds, gathered, left_of, status_of
from app.domain.states import Outcome, RunStatus

_ACTS = {
    Left.WAITING,
    Left.HEALABLE,
    Left.EXHAUSTED,
    Left.BACKING_OFF,
    Left.HELD,
    Left.FLAPPING,
    Left.GONE,
    Left.FOUND,
    Left.NEW,
    Left.INCOMPLETE,
    Left.NOTHING_KNOWN,
    Left.UNMATCHED_NEW,
}
_BY_OUTCOME = {
    None: Left.WAITING,
    Outcome.UNCHANGED: None,
    Outcome.HEALED: None,
    Outcome.FLAPPING: Left.FLAPPING,
    Outcome.NEEDS_CONFIRMATION: Left.HELD,
    Outcome.GONE: Left.GONE,
    Outcome.FOUND: Left.FOUND,
}
_KINDS = [OpenKinds(*flags) for flags in itertools.product((False, True), repeat=4)]


@pytest.mark.parametrize("left", Left)
def test_somebody_acts_on_what_can_be_healed_is_new_or_needs_a_word(left: Left) -> None:
    assert left.needs_somebody is (left in _ACTS)


@pytest.mark.parametrize(
    ("outcome", "is_exhausted"), list(itertools.product([None, *Outcome], (False, True)))
)
def test_each_way_to_leave_a_run_is_told_for_all_kinds_of_issues(
    outcome: Outcome | None, *, is_exhausted: bool
) -> None:
    for kinds in _KINDS:
        left = left_of(outcome, kinds, is_exhausted=is_exhausted)
        if outcome in (Outcome.PARTIAL, Outcome.FAILED):
            assert left is (Left.EXHAUSTED if is_exhausted else Left.HEALABLE)
        elif outcome is Outcome.EXPLAINED:
            urgent = [
                each
                for each, there in (
                    (Left.NEW, kinds.new),
                    (Left.KNOWN, kinds.known),
                    (Left.SETTLING, kinds.settling),
                    (Left.ACCEPTED, kinds.accepted),
                )
                if there
            ]
            assert left is (urgent[0] if urgent else Left.KNOWN)
        else:
            assert left is _BY_OUTCOME[outcome]


@pytest.mark.parametrize("is_stopped", [False, True])
@pytest.mark.parametrize("is_faulty", [False, True])
def test_the_status_follows_from_every_set_of_what_is_left(
    *, is_faulty: bool, is_stopped: bool
) -> None:
    for present in itertools.chain.from_iterable(
        itertools.combinations(Left, size) for size in range(len(Left) + 1)
    ):
        status = status_of(
            Leftovers(dict.fromkeys(present, 1)), is_faulty=is_faulty, is_stopped=is_stopped
        )
        if is_faulty:
            assert status is RunStatus.FAILED
        elif is_stopped:
            assert status is RunStatus.NEEDS_CONFIRMATION
        else:
            assert status is (
                RunStatus.COMPLETED_WITH_ISSUES if _ACTS & set(present) else RunStatus.SUCCEEDED
            )


@pytest.mark.parametrize("left", Left)
def test_what_is_left_is_told_in_one_of_two_sentences_and_survives_the_record(left: Left) -> None:
    leftovers = gathered([(left, 1), (None, 5), (left, 1)], new_issues=1)
    assert leftovers.counts == {left: 2}
    assert leftovers.sentence.startswith(
        "To act on: " if left in _ACTS else "Known, and nothing to be done by the warehouse: "
    )
    again = Leftovers.from_json(leftovers.as_json())
    assert again is not None
    assert (again.counts[left], again.new_issues, again.needs_somebody) == (2, 1, left in _ACTS)


def test_a_run_that_leaves_nothing_says_so() -> None:
    assert Leftovers().sentence == "Nothing is left."
    assert Leftovers.from_json(None) is None
