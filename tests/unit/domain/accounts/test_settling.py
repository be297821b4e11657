"""When alltime may fall though some dates still move."""

import pytest

from app.domain.accounts.settling import MovingFigures, StoredLevels


@pytest.mark.parametrize(
    ("figures", "to", "stored", "falls"),
    [
        # The stored daily rows add up to the new count, and count all that the warehouse knows of
        # the dates that still move.
        (MovingFigures(), 10, StoredLevels(10, 4, 4, 4), True),
        (MovingFigures(), 10, StoredLevels(10, 4, 3, 4), False),
        # Otherwise upstream's own word on these dates is needed.
        (MovingFigures(), 7, StoredLevels(10, 4, 4, 4), False),
        (MovingFigures(told=1), 7, StoredLevels(10, 4, 4, 4), False),
        (MovingFigures(told=4), 9, StoredLevels(10, 4, 4, 4), True),
        (MovingFigures(told=4, grew=True), 9, StoredLevels(10, 4, 4, 4), True),
        # What the run brought in itself says nothing about what alltime counted before.
        (MovingFigures(told=1, grew=True), 7, StoredLevels(7, 1, 1, 0), False),
        (MovingFigures(told=4, waits=True), 10, StoredLevels(10, 4, 4, 4), False),
        (MovingFigures(told=0), 3, StoredLevels(), True),
    ],
)
def test_alltime_falls_only_where_what_it_loses_cannot_lie_in_dates_that_still_move(
    figures: MovingFigures, to: int, stored: StoredLevels, *, falls: bool
) -> None:
    assert figures.allow_fall(to, stored) is falls
