"""What a benchmark measured, as lines of one table."""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ratio:
    """One line of a benchmark's table; `target` in words, such as "<= 1.25", `is_met` None where
    nothing is asked.
    """

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


def spread(values: Sequence[float]) -> str:
    """The values of several rounds as text: least, median, most."""
    return f"{min(values):.2f} / {statistics.median(values):.2f} / {max(values):.2f}"


def show(ratio: Ratio) -> str:
    """A line of text for one figure."""
    return (
        f"{ratio.name:62} {ratio.measured:12,.2f} {ratio.unit:12} {ratio.target:10}"
        f" {_verdict([ratio])}"
    )


def render(columns: Mapping[str, Sequence[Ratio]]) -> str:
    """Figures by what they were measured on, as one table in Markdown: a line for each name and
    unit, a column for each key.
    """
    names = list(dict.fromkeys((row.name, row.unit) for rows in columns.values() for row in rows))
    found = {(key, row.name, row.unit): row for key, rows in columns.items() for row in rows}
    lines = [["what", *columns, "target", ""], ["---", *("---:" for _ in columns), "---:", "---"]]
    for name, unit in names:
        rows = [found[key, name, unit] for key in columns if (key, name, unit) in found]
        cells = [
            f"{found[key, name, unit].measured:,.2f} {unit}" if (key, name, unit) in found else ""
            for key in columns
        ]
        lines.append([name, *cells, rows[0].target, _verdict(rows)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


def _verdict(rows: Sequence[Ratio]) -> str:
    asked = [row.is_met for row in rows if row.is_met is not None]
    return "" if not asked else "met" if all(asked) else "missed"


def machine(server_version: str) -> str:
    """The machine's facts in one line."""
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python"
        f" {platform.python_version()}, PostgreSQL {server_version}"
    )
