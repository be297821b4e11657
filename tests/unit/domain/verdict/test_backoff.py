"""Back-off: it grows, is bounded, and spreads."""

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from app.domain.verdict.backoff import FIRST_WAIT, LONGEST_WAIT, next_attempt

NOW = dt.datetime(2026, 5, 4, tzinfo=dt.UTC)


def test_the_wait_doubles_from_a_minute_to_a_day() -> None:
    waits = [next_attempt(failures, NOW, jitter=0) - NOW for failures in range(1, 15)]
    assert waits[0] == FIRST_WAIT
    assert waits[1] == 2 * FIRST_WAIT
    assert waits[-1] == LONGEST_WAIT
    assert waits == sorted(waits)


@given(st.integers(-3, 10_000), st.floats(0, 1))
def test_jitter_takes_away_at_most_half_and_never_adds(failures: int, jitter: float) -> None:
    whole = next_attempt(failures, NOW, jitter=0) - NOW
    assert whole / 2 <= next_attempt(failures, NOW, jitter=jitter) - NOW <= whole <= LONGEST_WAIT
