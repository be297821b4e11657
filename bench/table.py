"""What a benchmark measured, as lines of one table."""

import os
import platform
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


def at_most(name: str, measured: float, most: float, unit: str = "x") -> Ratio:
    """A figure that may not be larger than `most`."""
    return Ratio(name, measured, f"<= {most:g}", unit, measured <= most)


def at_least(name: str, measured: float, least: float, unit: str = "x") -> Ratio:
    """A figure that may not be smaller than `least`."""
    return Ratio(name, measured, f">= {least:g}", unit, measured >= least)


def figure(name: str, measured: float, unit: str) -> Ratio:
    """A figure of which nothing is asked."""
    return Ratio(name, measured, "", unit, None)


def render(rows: Sequence[Ratio]) -> str:
    """The lines as a table in Markdown."""
    cells = [("what", "measured", "target", ""), ("---", "---:", "---:", "---")]
    marks = {True: "met", False: "missed", None: ""}
    cells += [(row.name, f"{row.measured:,.4g} {row.unit}".rstrip(), row.target, marks[row.is_met]) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells)


def machine(server_version: str) -> str:
    """The machine's facts in one line."""
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, PostgreSQL {server_version}"
    )
