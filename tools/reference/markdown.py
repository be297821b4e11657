"""Markdown as the generated pages use it."""

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells are text in one line."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell(each) for each in line)} |\n" for line in lines)


def cell(text: str) -> str:
    """Text as a cell of a table holds it."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """Text as code; nothing where there is none."""
    return f"`{text}`" if text else ""


def page(title: str, head: str, *parts: str) -> str:
    """A page whose first lines say that it is generated."""
    return "\n\n".join([f"# {title}", head, *(part.rstrip("\n") for part in parts if part)]) + "\n"
