"""SQL for raw tables: quoted names, parameters."""

from collections.abc import Iterable, Mapping, Sequence

import asyncpg
import msgspec

from app.sandbox.world.trades import Value

REFUSALS = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError, asyncpg.RaiseError)
"""They reject a row."""

_ENCODER = msgspec.json.Encoder(decimal_format="number")


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def in_schema(text: str, schema: str) -> str:
    """`text` with the quoted `schema` for `SCHEMA.`."""
    return text.replace("SCHEMA.", f"{quoted(schema)}.")


def name_list(names: Iterable[str], prefix: str = "") -> str:
    """Quoted `names` behind `prefix`, separated by commas."""
    return ", ".join(f"{prefix}{quoted(name)}" for name in names)


def recordset(rows: Sequence[Mapping[str, Value]]) -> str:
    """`rows` as JSON with all digits."""
    return _ENCODER.encode(rows).decode()
