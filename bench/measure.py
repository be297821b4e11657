"""What benchmarks have in common: a measured ratio beside its target, and the median of several rounds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ratio:
    """One line of a benchmark's table; `target` in words, such as "<= 1.25", `is_met` None where nothing is asked."""

    name: str
    measured: float
    target: str
    unit: str
    is_met: bool | None


def at_most(name: str, measured: float, most: float, unit: str) -> Ratio:
    """A figure that may not be larger than `most`."""
    return Ratio(name, measured, f"<= {most:g}", unit, measured <= most)


def at_least(name: str, measured: float, least: float, unit: str) -> Ratio:
    """A figure that may not be smaller than `least`."""
    return Ratio(name, measured, f">= {least:g}", unit, measured >= least)


def for_the_record(name: str, measured: float, unit: str) -> Ratio:
    """A figure that tells how the others came about."""
    return Ratio(name, measured, "", unit, None)


def spread(values: Sequence[float]) -> str:
    """The values of several rounds as text: least, median, most."""
    return f"{min(values):.2f} / {statistics.median(values):.2f} / {max(values):.2f}"


def show(ratio: Ratio) -> str:
    """A line of text for one figure."""
    verdict = {True: "met", False: "MISSED", None: ""}[ratio.is_met]
    return f"{ratio.name:62} {ratio.measured:12,.2f} {ratio.unit:12} {ratio.target:10} {verdict}"
