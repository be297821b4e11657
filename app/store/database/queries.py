"""Named SQL from db/queries, read once: a missing name fails at start.

``app/store/apply/parts.py`` alone loads ``db/queries/apply/parts.sql``: per query ``-- name:
verb_noun``, a line of purpose, the statement. The schema is replaced on loading; ``{{token}}``
depends on the raw tables, as db/rendered shows (`make sql`).
"""

import re
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import app
from app.errors import ConfigurationError

SQL_DIRECTORY = Path(app.__file__).parent.parent / "db"
WRITTEN_SCHEMA = "prop_trading_model"

_QUERIES = SQL_DIRECTORY / "queries"
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_TOKEN = re.compile(r"\{\{(\w+)\}\}")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


def quote(identifier: str) -> str:
    """A quoted identifier."""
    return '"' + identifier.replace('"', '""') + '"'


def for_schema(sql: str, schema: str) -> str:
    """SQL with ``prop_trading_model`` replaced by `schema`.

    Raises ConfigurationError unless that is a plain identifier.
    """
    if not _IDENTIFIER.fullmatch(schema):
        raise ConfigurationError(
            f"RECON_SCHEMA must be letters, digits and underscores, at most 63; {schema!r} is not."
        )
    return sql.replace(f"{WRITTEN_SCHEMA}.", f"{quote(schema)}.").replace(
        f"'{WRITTEN_SCHEMA}'", f"'{schema}'"
    )


def list_files() -> list[str]:
    """The names that `load_queries` takes: `pins`, `apply/writer`."""
    return sorted(
        path.relative_to(_QUERIES).with_suffix("").as_posix() for path in _QUERIES.rglob("*.sql")
    )


@cache
def load_queries(name: str, schema: str) -> Mapping[str, str]:
    """Statements of db/queries/NAME.sql by name."""
    text = for_schema((_QUERIES / f"{name}.sql").read_text(encoding="utf-8"), schema)
    parts = _NAME.split(text)
    return MappingProxyType(
        dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))
    )


def fill(sql: str, **tokens: str) -> str:
    """Replace each ``{{token}}`` by trusted SQL; KeyError for one without a value."""
    return _TOKEN.sub(lambda match: tokens[match.group(1)], sql)


def require_known(sql: Mapping[str, str], tokens: Collection[str]) -> None:
    """Raise KeyError for a token not among `tokens`."""
    for name, statement in sql.items():
        for token in _TOKEN.findall(statement):
            if token not in tokens:
                raise KeyError(f"{{{{{token}}}}} of {name}")
