"""SQL text for the raw tables: names quoted, values always parameters."""

from collections.abc import Iterable, Mapping, Sequence

import asyncpg
import msgspec

from app.sandbox.world.trades import Value

REFUSALS = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError, asyncpg.RaiseError)
"""How a table refuses a row: by a constraint, a length, a partition that is not there, or a
trigger.
"""

_ENCODER = msgspec.json.Encoder(decimal_format="number")


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def in_schema(text: str, schema: str) -> str:
    """`text` with every `SCHEMA.` in it made the quoted `schema`."""
    return text.replace("SCHEMA.", f"{quoted(schema)}.")


def name_list(names: Iterable[str], prefix: str = "") -> str:
    """The quoted `names`, each behind `prefix`, separated by commas."""
    return ", ".join(f"{prefix}{quoted(name)}" for name in names)


def recordset(rows: Sequence[Mapping[str, Value]]) -> str:
    """`rows` as the JSON text that json_populate_recordset opens; decimals keep all their
    digits.
    """
    return _ENCODER.encode(rows).decode()
