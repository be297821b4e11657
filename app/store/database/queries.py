"""Named SQL from db/queries: read once, so that a missing name fails at start and not at night.

The file of ``app/store/apply/parts.py`` is ``db/queries/apply/parts.sql``, which that module alone
loads. A file holds queries as ``-- name: verb_noun``, one line that says what the query is for,
and the statement. The SQL is written for the schema ``prop_trading_model``; another schema is put
in its place when the file is loaded. ``{{token}}`` marks lists of columns and conditions that
depend on the warehouse's own tables; db/rendered shows what a fresh install runs (`make sql`).
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
    """An identifier as SQL takes it, whatever characters it has."""
    return '"' + identifier.replace('"', '""') + '"'


def for_schema(sql: str, schema: str) -> str:
    """The SQL text with the schema that it was written for replaced by `schema`.

    Raises ConfigurationError if `schema` is not a plain identifier: it becomes part of the text.
    """
    if not _IDENTIFIER.fullmatch(schema):
        raise ConfigurationError(
            f"RECON_SCHEMA must be letters, digits and underscores, at most 63; {schema!r} is not."
        )
    return sql.replace(f"{WRITTEN_SCHEMA}.", f"{quote(schema)}.").replace(
        f"'{WRITTEN_SCHEMA}'", f"'{schema}'"
    )


def list_files() -> list[str]:
    """The files of db/queries as `load_queries` takes them: `pins`, `apply/writer`."""
    return sorted(
        path.relative_to(_QUERIES).with_suffix("").as_posix() for path in _QUERIES.rglob("*.sql")
    )


@cache
def load_queries(name: str, schema: str) -> Mapping[str, str]:
    """The statements of db/queries/NAME.sql by their names, for `schema`; read once in a
    process.
    """
    text = for_schema((_QUERIES / f"{name}.sql").read_text(encoding="utf-8"), schema)
    parts = _NAME.split(text)
    return MappingProxyType(
        dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))
    )


def fill(sql: str, **tokens: str) -> str:
    """The statement with each ``{{token}}`` replaced; the values are made of quoted identifiers by
    the caller.

    Raises KeyError if a token of the statement has no value.
    """
    return _TOKEN.sub(lambda match: tokens[match.group(1)], sql)


def require_known(sql: Mapping[str, str], tokens: Collection[str]) -> None:
    """Raise KeyError for the first token of a statement that is none of `tokens`."""
    for name, statement in sql.items():
        for token in _TOKEN.findall(statement):
            if token not in tokens:
                raise KeyError(f"{{{{{token}}}}} of {name}")
