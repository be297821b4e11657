"""Scripts for owners, as a client runs them that sends one statement after the other."""

import re
from collections.abc import Iterator


def statements(script: str) -> Iterator[str]:
    """Split at lines that end with a semicolon, outside of DO blocks."""
    lines: list[str] = []
    end: str | None = None
    for line in script.split("\n"):
        lines.append(line)
        opening = re.fullmatch(r"DO (\$\w*\$)", line)
        if opening and end is None:
            end = f"{opening[1]};"
        elif line == end or (end is None and line.endswith(";")):
            yield "\n".join(lines)
            lines, end = [], None
    assert all(line.startswith("--") or not line for line in lines)
