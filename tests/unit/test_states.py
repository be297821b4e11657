"""The diagrams of docs/explanation/states.md show the transitions that the statements in db/queries
make.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.domain.states import RunStatus

_ROOT = Path(__file__).parents[2]
_ACCOUNT = {
    "pending",
    "reconciled",
    "needs_reconciliation",
    "explained",
    "failed",
    "exhausted",
    "flapping",
    "needs_confirmation",
}
_RUN = {status.value for status in RunStatus}
_EDGE = re.compile(r"^ +(\S+) --> (\S+): .*\(([\w, ]+)\)$", re.MULTILINE)
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_GIVEN = {
    "finish_run": {"succeeded", "completed_with_issues", "needs_confirmation", "failed"},
    "end_run": {"failed"},
}
"""Statuses that are parameters: those of `status_of`, and of a run that cannot go on."""
_CONDITIONS = {"follow_state": "stale_accounts"}
"""Statements whose condition is another statement."""


@dataclass(slots=True)
class Change:
    """Which states a statement, or an edge of a diagram, leads from and to; no state to lead from
    means any.
    """

    sources: set[str] = field(default_factory=set)
    targets: set[str] = field(default_factory=set)


def _statements() -> dict[str, str]:
    """All statements by name, without comments and line breaks."""
    found: dict[str, str] = {}
    for path in sorted((_ROOT / "db" / "queries").rglob("*.sql")):
        parts = _NAME.split(path.read_text(encoding="utf-8"))
        found |= {
            name: " ".join(re.sub(r"--.*", "", text).split())
            for name, text in zip(parts[1::2], parts[2::2], strict=True)
        }
    return found


def _words(text: str, states: set[str]) -> set[str]:
    return {word for word in re.findall(r"'(\w+)'", text) if word in states}


def _assigned(text: str, column: str) -> str | None:
    """What a SET clause gives to the column: the text up to the comma or clause that ends it."""
    found = re.search(rf"(?<![\w.]){column} = ", text)
    if found is None:
        return None
    depth = cases = 0
    words: list[str] = []
    for word in re.findall(r"[(),]|'[^']*'|[^\s(),']+", text[found.end() :]):
        depth += (word == "(") - (word == ")")
        cases += (word.upper() == "CASE") - (word.upper() == "END")
        if depth < 0 or (
            depth == cases == 0 and (word == "," or word.upper() in ("FROM", "WHERE", "RETURNING"))
        ):
            break
        words.append(word)
    return " ".join(words)


def _changes(table: str, column: str, states: set[str]) -> Iterator[tuple[str, Change]]:
    update_of = re.compile(rf"\bUPDATE (?:\S+\.)?{table}\b", re.IGNORECASE)
    compared = rf"\b{column} (?:= ('\w+')|IN \(([^)]*)\))"
    words_before = r"(?:WHERE|WHEN|AND|OR|THEN|ELSE|\() ?(?:NOT )?(?:t\.)?"
    condition_of = re.compile(words_before + compared, re.IGNORECASE)
    statements = _statements()
    for name, text in statements.items():
        for update in update_of.split(text)[1:]:
            given = _assigned(update.partition(" RETURNING ")[0], column)
            if given is None or given == column:
                continue
            condition = statements.get(_CONDITIONS.get(name, ""), update)
            sources = _words(" ".join(map("".join, condition_of.findall(condition))), states)
            targets = _GIVEN.get(name) or _words(re.sub(compared, "", given), states)
            yield name, Change(sources, targets)


def _shown(heading: str) -> Mapping[str, Change]:
    page = (_ROOT / "docs" / "explanation" / "states.md").read_text(encoding="utf-8")
    shown: dict[str, Change] = defaultdict(Change)
    for source, target, names in _EDGE.findall(page.split(f"## {heading}\n")[1].split("\n## ")[0]):
        for name in names.split(", "):
            shown[name].sources.add(source)
            shown[name].targets.add(target)
    return shown


@pytest.mark.parametrize(
    ("heading", "table", "column", "states"),
    [
        ("A run", "recon_runs", "status", _RUN),
        ("An account", "trade_recon", "reconciliation_status", _ACCOUNT),
    ],
)
def test_a_diagram_shows_the_transitions_that_the_statements_make(
    heading: str, table: str, column: str, states: set[str]
) -> None:
    made: dict[str, Change] = defaultdict(Change)
    for name, change in _changes(table, column, states):
        made[name].sources |= change.sources
        made[name].targets |= change.targets
    shown = _shown(heading)
    assert {name for name in shown if "[*]" not in shown[name].sources} == set(made)
    for name, change in made.items():
        assert shown[name].targets == change.targets, name
        if change.sources:
            assert shown[name].sources == change.sources, name
    assert {state for change in shown.values() for state in change.targets} - {"[*]"} <= states
    assert states <= {
        state for change in shown.values() for state in change.sources | change.targets
    }
