"""What the pages name is there: files and headings that they link to, paths of the code, and tests
by name.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *DOCS.rglob("*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    ]
)

_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_PATH = re.compile(r"(?<![\w./-])(?:app|bench|db|docs|requirements|tests|tools)/[\w./-]*[\w/]")
_IDENTIFIER = re.compile(r"`([a-z]+(?:_[a-z]+)+)`")
_FOREIGN = {"drop_old_partitions", "pool_mode", "query_timeout", "trade_reconciliation"}
"""Names of other programs."""
_TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
_WIDTH = 100
_LINES = 120
_LONG = {"README.md", "benchmarks.md", "guides/a-day.md", "reference/cli.md", "reference/http.md"}
"""Pages whose length is that of what they show."""


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _prose(page: Path) -> str:
    return _CODE.sub(
        lambda found: "\n" * found.group().count("\n"), page.read_text(encoding="utf-8")
    )


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = (
        re.sub(r"\[([^\]]+)\]\([^)]*\)|`", r"\1", head) for head in _HEADING.findall(_prose(page))
    )
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def _broken_links(page: Path) -> Iterator[str]:
    for link in _LINK.findall(_prose(page)):
        target, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        file = (page.parent / unquote(target)).resolve() if target else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert list(_broken_links(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    paths = {path.rstrip(".") for path in _PATH.findall(_prose(page))}
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    named = _TEST.findall(page.read_text(encoding="utf-8"))
    assert [
        name
        for path, name in named
        if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")
    ] == []


def test_every_name_that_pages_tell_is_one_of_the_code() -> None:
    words: set[str] = set()
    for folder in ("app", "bench", "db", "tests", "tools"):
        for path in (ROOT / folder).rglob("*.*"):
            if path.suffix in (".py", ".sql"):
                words.update(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    pages = [page for page in PAGES if page.name != "metrics.md"]  # whose names are put together
    told = {(_name(page), name) for page in pages for name in _IDENTIFIER.findall(_prose(page))}
    assert sorted(each for each in told if each[1] not in words | _FOREIGN) == []


def test_the_index_leads_to_every_page() -> None:
    listed = {
        (DOCS / link.partition("#")[0]).resolve()
        for link in _LINK.findall(_prose(DOCS / "index.md"))
    }
    listed |= {
        (DOCS / "adr" / link).resolve() for link in _LINK.findall(_prose(DOCS / "adr" / "index.md"))
    }
    assert (
        sorted(
            _name(page)
            for page in DOCS.rglob("*.md")
            if page not in listed and page != DOCS / "index.md"
        )
        == []
    )


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=_name)
def test_a_page_is_short_and_its_prose_fits_a_screen(page: Path) -> None:
    lines = _prose(page).splitlines()
    # A path that is moved makes its line longer; a single word cannot be wrapped.
    prose = [line for line in lines if not line.startswith("|") and not _PATH.search(line)]
    wide = [line for line in prose if len(line) > _WIDTH and len(line.split()) > 2]
    assert wide == []
    if _name(page).removeprefix("docs/") not in _LONG:
        assert len(lines) <= _LINES
