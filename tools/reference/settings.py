"""docs/reference/settings.md: what a value may be from `Settings`; meanings and defaults from
`.env.example`, which a test holds equal.
"""

from dataclasses import dataclass
from pathlib import Path

from app.settings.model import Settings
from tools.reference.markdown import code, page, table

_EXAMPLE = Path(__file__).parents[2] / ".env.example"
_HEAD = """\
Variables of the environment, or of `.env` in the working directory; the environment wins. An empty
value means the default. A value that is not allowed stops the start, and the error names what is.
Names that are nearly those of settings are warned of. Guards are explained in
[guards](../explanation/guards.md)."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the example file, with its section and the comment above it."""

    section: str
    name: str
    default: str
    meaning: str


def variables() -> list[Variable]:
    """The variables of `.env.example`, in order: `## ` begins a section, a comment belongs to the
    variable below it.
    """
    found: list[Variable] = []
    section, comment = "", list[str]()
    for line in _EXAMPLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section, comment = line.removeprefix("## "), []
        elif line.startswith("# "):
            comment.append(line.removeprefix("# "))
        elif "=" in line:
            name, _, default = line.partition("=")
            found.append(Variable(section, name, default, " ".join(comment)))
            comment = []
    return found


def settings_page() -> str:
    """The page."""
    sections: dict[str, list[list[str]]] = {}
    for each in variables():
        allowed = Settings.model_fields[each.name.lower()].description or ""
        sections.setdefault(each.section, []).append(
            [code(each.name), each.meaning, code(each.default), allowed]
        )
    heads = ("variable", "meaning", "default", "values")
    return page(
        "Settings",
        _HEAD,
        *(f"## {section}\n\n{table(heads, rows)}" for section, rows in sections.items()),
    )
