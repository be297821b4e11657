"""Prints the fault matrix as a table, once all cells were played."""

import re
from collections import defaultdict

import pytest

from tests.faults.scene import Fault
from tests.faults.steps import Step

_CELL = re.compile(r"test_matrix\.py::.*\[([\w-]+?)-([\w-]+)\]$")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    held: dict[tuple[str, str], str] = defaultdict(lambda: "")
    checks = 0
    for outcome in ("passed", "failed", "skipped", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            cell = _CELL.search(report.nodeid)
            if cell is None:
                continue
            seen = dict(report.user_properties).get("held", 0)
            checks += int(str(seen))
            held[cell[1], cell[2]] = str(seen) if outcome == "passed" else outcome
    if checks:
        terminalreporter.section("fault matrix: what was seen to hold, in the run that the fault met and in the next one")
        terminalreporter.line("| | " + " | ".join(Fault) + " |")
        terminalreporter.line("|---|" + "--:|" * len(Fault))
        for step in Step:
            terminalreporter.line(f"| {step} | " + " | ".join(held[step, fault.replace(" ", "-")] for fault in Fault) + " |")
        terminalreporter.line(f"{len(held)} cells, {checks} checks")
