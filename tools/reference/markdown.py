"""Markdown as the generated pages use it."""

import textwrap
from collections.abc import Iterable, Sequence

_WIDTH = 100


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells are text in one line."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell(each) for each in line)} |\n" for line in lines)


def prose(text: str) -> str:
    """Paragraphs, wrapped."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return "\n\n".join(
        textwrap.fill(each, _WIDTH, break_long_words=False, break_on_hyphens=False)
        for each in paragraphs
    )


def cell(text: str) -> str:
    """Text as a cell of a table holds it."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """Text as code; nothing where there is none."""
    return f"`{text}`" if text else ""


def page(title: str, head: str, *parts: str) -> str:
    """A page whose first lines say that it is generated."""
    return (
        "\n\n".join([f"# {title}", prose(head), *(part.rstrip("\n") for part in parts if part)])
        + "\n"
    )
