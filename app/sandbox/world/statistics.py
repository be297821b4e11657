"""Statistics on floats, faster than the library's."""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Summary(NamedTuple):
    """Statistics of a sample; None without values."""

    mean: float | None
    median: float | None
    std: float | None
    low: float | None
    high: float | None
    variation: float | None
    """Standard deviation by mean."""


NOTHING = Summary(None, None, None, None, None, None)


def summary(values: Sequence[float]) -> Summary:
    """Mean, median, population deviation, range and variation."""
    count = len(values)
    if count == 0:
        return NOTHING
    if count == 1:
        only = values[0]
        return Summary(only, only, 0.0, only, only, 0.0 if only else None)
    ordered = sorted(values)
    mean = math.fsum(ordered) / count
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in ordered) / count)
    return Summary(
        mean, percentile(ordered, 0.5), std, ordered[0], ordered[-1], std / mean if mean else None
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The interpolated percentile of ascending, non-empty values."""
    place = share * (len(ordered) - 1)
    below = int(place)
    if below + 1 >= len(ordered):
        return ordered[-1]
    return ordered[below] + (ordered[below + 1] - ordered[below]) * (place - below)


def places(value: float | None, digits: int) -> float | None:
    """`value` rounded to `digits` places."""
    return None if value is None else round(value, digits)


def ratio(numerator: float | None, denominator: float | None) -> float | None:
    """The quotient, if defined."""
    return None if numerator is None or not denominator else numerator / denominator


class Streaks(NamedTuple):
    """Runs of one sign."""

    lengths: list[int]
    sums: list[float]


def streaks(values: Sequence[float], sign: int) -> Streaks:
    """Runs of values above 0 (`sign` 1) or below."""
    found = Streaks([], [])
    within = False
    for value in values:
        if value * sign > 0:
            if within:
                found.lengths[-1] += 1
                found.sums[-1] += value
            else:
                found.lengths.append(1)
                found.sums.append(value)
                within = True
        else:
            within = False
    return found


def mean(values: list[float]) -> float | None:
    """The arithmetic mean."""
    return math.fsum(values) / len(values) if values else None


def distance(first: float | None, second: float | None) -> float | None:
    """The difference of absolute values."""
    return None if first is None or second is None else abs(first) - abs(second)


def multiple(first: float | None, second: float | None) -> float | None:
    """The ratio of absolute values."""
    return ratio(None if first is None else abs(first), None if second is None else abs(second))


def whole(value: float | None) -> int | None:
    """Truncated."""
    return None if value is None else int(value)
