"""The pages of docs/reference that are made from the code are what the code makes of them (`make
docs`).
"""

import ast
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import pytest

from app.cli.output.issues import MEANINGS
from app.domain.issues.codes import IssueCode, Severity
from app.domain.states import Depth, Outcome, RunKind
from app.settings.model import Settings
from tools.reference.issues import EXPLANATIONS
from tools.reference.pages import PAGES
from tools.reference.settings import variables

_ROOT = Path(__file__).parents[2]
_DOMAIN = sorted((_ROOT / "app" / "domain").rglob("*.py"))


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
    assert set(EXPLANATIONS) == set(MEANINGS) == set(IssueCode)


def test_each_issue_code_is_recorded_by_the_domain() -> None:
    assert {code for path in _DOMAIN for code, _ in _recorded(path)} == set(IssueCode)


def test_issues_are_recorded_with_the_severities_that_the_reference_names() -> None:
    recorded = [pair for path in _DOMAIN for pair in _recorded(path)]
    assert recorded
    assert [
        (code, severity)
        for code, severity in recorded
        if severity is not None and severity not in EXPLANATIONS[code].severities
    ] == []


def test_each_outcome_has_a_row() -> None:
    page = (_ROOT / "docs/reference/outcomes-and-statuses.md").read_text(encoding="utf-8")
    table = page.split("## Outcomes of an account\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [each.value for each in Outcome]


@pytest.mark.parametrize(("term", "words"), [("run", RunKind), ("depth", Depth)])
def test_the_glossary_names_the_kinds_of_runs_and_depths(term: str, words: type[StrEnum]) -> None:
    page = (_ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    row = page.split(f"\n| {term} | ")[1].split("\n")[0]
    assert re.findall(r"`(\w+)`", row) == [each.value for each in words]


def _recorded(path: Path) -> Iterator[tuple[IssueCode, Severity | None]]:
    """The codes that stand first in a call of `Issue` or in a row of a table of issues, with the
    severity behind them; None where that is computed.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case (
                ast.Call(
                    func=ast.Name(id="Issue"),
                    args=[ast.Attribute(value=ast.Name(id="IssueCode"), attr=code), second, *_],
                )
                | ast.Tuple(
                    elts=[
                        ast.Attribute(value=ast.Name(id="IssueCode"), attr=code),
                        second,
                        _,
                        _,
                        *_,
                    ]
                )
            ):
                yield IssueCode[code], _severity(second)
            case ast.Tuple(elts=[_, ast.Attribute(value=ast.Name(id="IssueCode"), attr=code), _]):
                yield IssueCode[code], None


def _severity(node: ast.expr) -> Severity | None:
    match node:
        case ast.Attribute(value=ast.Name(id="Severity"), attr=name):
            return Severity[name]
    return None
