"""Columns that cannot hold the API's values."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import msgspec

from app.domain.contract.caps import Caps
from app.domain.contract.rows import fields_of
from app.domain.contract.tables import TABLES, Endpoint, Field
from app.domain.wording.counts import counted
from app.store.database.sql_text import literal
from app.store.schema.introspect import Survey, TableFacts
from app.store.schema.raw.columns import Column, Kind

_KEYS: Mapping[str, frozenset[str]] = {
    table.name: frozenset(table.key) for table in TABLES.values()
}
TEXT_TYPE = "varchar(255)"
_SHOWN = 40
_SPARE_DIGITS = 4
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
_PLAIN = re.compile(r"-?\d+(?:\.0*)?")


@dataclass(frozen=True, slots=True)
class Misfit:
    """A column that cannot hold the API's values; the type `wanted` can.

    `reason` completes a sentence. `loses_rows`: rows are set aside. `is_documented`: upstream's
    figures exceed its documentation.
    """

    table: str
    column: str
    sql_type: str
    wanted: str
    reason: str
    loses_rows: bool = False
    is_documented: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of an endpoint; `error` says why there are none."""

    rows: Sequence[bytes] = ()
    error: str | None = None


Samples = Mapping[Endpoint, Sample]


def misfits(survey: Survey, samples: Samples, caps: Caps) -> list[Misfit]:
    """Misfits by type and by sampled rows."""
    found: list[Misfit] = []
    for endpoint, table in TABLES.items():
        facts = survey.tables.get(table.name)
        if facts is None:
            continue
        rows = [fields_of(row) for row in samples[endpoint].rows] if endpoint in samples else []
        for field, column in _columns(endpoint, facts, caps):
            values = [fields[field.api_name] for fields in rows if field.api_name in fields]
            misfit = _of_values(table.name, field, column, values) or _of_type(
                table.name, field, column, len(values)
            )
            found += [misfit] if misfit else []
    return found


def _columns(endpoint: Endpoint, facts: TableFacts, caps: Caps) -> Iterator[tuple[Field, Column]]:
    table = TABLES[endpoint]
    for field in table.fields:
        stored = facts.by_name.get(field.column)
        if stored is not None and stored.is_written:
            cap = caps.of(table.name, field.column, stored.base_type)
            yield (
                field,
                Column(field.column, field.api_name, stored.base_type, stored.labels, cap=cap),
            )


def _of_type(table: str, field: Field, column: Column, seen: int) -> Misfit | None:
    """A numeric column for a documented text."""
    if column.kind is not Kind.NUMBER or not field.sql_type.startswith("varchar"):
        return None
    read = f"; of {counted(seen, 'row')} read just now none had a text there" if seen else ""
    reason = (
        f"holds numbers alone, and the API's {field.api_name} is a text: rows with one such as"
        f" W8994 are set aside{read}"
    )
    return Misfit(table, column.name, column.sql_type, field.sql_type, reason)


def _of_values(
    table: str, field: Field, column: Column, values: Iterable[msgspec.Raw]
) -> Misfit | None:
    sent = [value for raw in values if (value := _opened(raw)) not in (None, "")]
    if column.kind is Kind.NUMBER:
        return _of_numbers(table, field, column, sent)
    longest = max((len(str(value)) for value in sent), default=0)
    if column.longest is not None and longest > column.longest:
        value = next(value for value in sent if len(str(value)) == longest)
        wanted = field.sql_type if field.sql_type == f"varchar({max(longest, 255)})" else "text"
        reason = (
            f"is too short for what the API sends, such as {_shown(value)}: such rows are set aside"
        )
        return Misfit(table, column.name, column.sql_type, wanted, reason, loses_rows=True)
    return None


def _of_numbers(table: str, field: Field, column: Column, sent: Sequence[object]) -> Misfit | None:
    # A code in another spelling, such as 1e3, is another code.
    numbers = {
        value: (
            None if column.is_code and not _PLAIN.fullmatch(str(value).strip()) else _number(value)
        )
        for value in sent
    }
    texts = [value for value, number in numbers.items() if number is None]
    if texts and not column.is_always_number:
        wanted = field.sql_type if field.sql_type.startswith("varchar") else TEXT_TYPE
        is_key = field.column in _KEYS[table]
        lost = "rows with one are set aside" if is_key else "they become NULL"
        reason = f"holds numbers alone, and the API sends texts such as {_shown(texts[0])}: {lost}"
        return Misfit(table, column.name, column.sql_type, wanted, reason, loses_rows=is_key)
    if column.cap is not None:
        return None
    outside = [
        number
        for number in numbers.values()
        if number is not None and number.is_finite() and not _holds(column, number)
    ]
    return _too_narrow(table, field, column, max(outside, key=abs)) if outside else None


def _too_narrow(table: str, field: Field, column: Column, largest: Decimal) -> Misfit:
    is_key = field.column in _KEYS[table]
    lost = (
        "rows with one are set aside"
        if is_key
        else "such figures are stored as NULL, their rows come in"
    )
    return Misfit(
        table,
        column.name,
        column.sql_type,
        _wider(column, largest),
        f"is too narrow for what the API sends, such as {largest:f}: {lost}",
        loses_rows=is_key,
        is_documented=column.sql_type == field.sql_type and not is_key,
    )


def _opened(raw: msgspec.Raw) -> object:
    """A text, or a number with all digits; else None."""
    text = bytes(raw).decode("utf-8", "replace")
    if text[:1] in ('"', "t", "f", "n"):
        try:
            value = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return value if isinstance(value, str) else None if value is None else text
    return None if text[:1] in ("{", "[") else text


def _number(value: object) -> Decimal | None:
    try:
        return Decimal(str(value).strip())
    except InvalidOperation:
        return None


def _holds(column: Column, number: Decimal) -> bool:
    if column.is_whole:
        return abs(number) <= column.largest_count
    largest = column.largest
    return largest is None or abs(number) <= largest


def _wider(column: Column, number: Decimal) -> str:
    """A type for the number, with spare digits."""
    if column.is_whole:
        return "bigint" if _SMALLEST <= number <= _LARGEST else "numeric"
    scale = -column.largest.as_tuple().exponent if column.largest is not None else 0  # type: ignore[operator]
    return f"numeric({number.adjusted() + 1 + _SPARE_DIGITS + scale},{scale})"


def _shown(value: object) -> str:
    text = str(value)
    return literal(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
