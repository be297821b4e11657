"""The pages of docs/reference that are made from the code are what the code makes of them (`make
docs`).
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.domain.issues.codes import IssueCode, Severity
from app.domain.runs.leftovers import Left
from app.domain.states import Outcome, RunStatus
from app.settings import Settings
from tools.reference.issues import EXPLANATIONS
from tools.reference.pages import PAGES
from tools.reference.settings import variables

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", PAGES)
def test_a_reference_page_is_what_the_code_makes_of_it(name: str) -> None:
    committed = (_ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert committed == PAGES[name](), "run `make docs`"


def test_every_setting_has_a_meaning_and_says_what_it_may_be() -> None:
    told = {each.name.lower(): each for each in variables()}
    assert set(told) == set(Settings.model_fields)
    assert [name for name, each in told.items() if not each.meaning or not each.section] == []
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_issue_code_is_explained() -> None:
    assert set(EXPLANATIONS) == set(IssueCode)


def test_issues_are_recorded_with_the_severities_that_the_reference_names() -> None:
    recorded = [
        pair for path in (_ROOT / "app" / "domain").rglob("*.py") for pair in _recorded(path)
    ]
    assert recorded
    assert [
        (code, severity)
        for code, severity in recorded
        if severity not in EXPLANATIONS[code].severities
    ] == []


def test_the_page_of_outcomes_names_each_outcome_status_and_kind_of_leftover() -> None:
    path = _ROOT / "docs" / "reference" / "outcomes-and-statuses.md"
    page = path.read_text(encoding="utf-8")
    values = [*Outcome, *(status for status in RunStatus if status.is_end), *Left]
    assert [value for value in values if f"`{value}`" not in page] == []


def _recorded(path: Path) -> Iterator[tuple[IssueCode, Severity]]:
    """The codes and severities that stand side by side in a module: arguments of `Issue`, or
    entries of a table of issues.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        values = (
            node.args
            if isinstance(node, ast.Call)
            else node.elts
            if isinstance(node, ast.Tuple)
            else []
        )
        match [value for value in values[:2] if isinstance(value, ast.Attribute)]:
            case [
                ast.Attribute(value=ast.Name(id="IssueCode"), attr=code),
                ast.Attribute(value=ast.Name(id="Severity"), attr=severity),
            ]:
                yield IssueCode[code], Severity[severity]
