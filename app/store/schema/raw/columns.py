"""Columns that the API fills, and the conversion of JSON values."""

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import cache

from app.store.database.queries import quote
from app.store.database.sql_text import literal

FIGURES = ("num_trades", "net_profit", "total_lots")
"""Columns whose difference is drift."""
IS_TEXT = "is a text, which the column cannot hold"
"""The reason for a text in a numeric key."""
_SCHEMA = r"""(?:pg_catalog\.|(?:[^".]+|"(?:[^"]|"")+")\.(?=citext$))?"""
_TYPE = re.compile(
    _SCHEMA
    + r"(?P<name>[a-z ]+?)(?:\((?P<first>\d+)(?:,(?P<second>-?\d+))?\))?(?P<zone> with(?:out)? time"
    r" zone)?"
)
_INTEGER_BOUNDS = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}
_COUNTS = ("num_", "max_num_")
NO_COUNT = "no count"
"""The reason for an unchanged count."""
_HOUR, _LAST_HOUR = "hour", 23
_CODES, _NUMBERED = ("login", "position", "ticket"), ("platform", "broker")
"""Key parts that may be stored as numbers, and numeric ones."""
_PLAIN = "^-?[0-9]{1,60}$"


class Kind(StrEnum):
    """How JSON is read."""

    NUMBER = "number"
    TEXT = "text"
    DATE = "date"
    TIMESTAMP = "timestamp"


@dataclass(frozen=True, slots=True)
class Column:
    """A column that the API fills; `sql_type` is the catalogue's, below domains.

    `default` is an INSERT's, `cap` the largest amount that ingestion stores.
    """

    name: str
    api_name: str
    sql_type: str
    labels: tuple[str, ...] | None = None
    default: str | None = None
    cap: Decimal | None = None

    @property
    def kind(self) -> Kind | None:
        """How values are read; None: none fits the type."""
        return _kind_of(self.sql_type, is_enum=self.labels is not None)

    @property
    def is_count(self) -> bool:
        """Whether only whole numbers from 0 replace the stored value."""
        return self.kind is Kind.NUMBER and self.name.startswith(_COUNTS)

    @property
    def is_always_number(self) -> bool:
        """Whether a text is meaningless: hour, count, figure."""
        return self.is_count or self.name == _HOUR or self.name in FIGURES

    @property
    def is_code(self) -> bool:
        """Whether a documented text is stored as number."""
        return self.kind is Kind.NUMBER and self.name in _CODES

    @property
    def is_opened_as_number(self) -> bool:
        """Whether JSON is read as a number."""
        return self.kind is Kind.NUMBER and not self.is_code

    @property
    def largest_count(self) -> int:
        """The type's largest count."""
        return _INTEGER_BOUNDS.get(_parts(self.sql_type)[0], 2**63) - 1

    @property
    def is_whole(self) -> bool:
        """Whether it holds integers only."""
        return _parts(self.sql_type)[0] in _INTEGER_BOUNDS

    @property
    def largest(self) -> Decimal | None:
        """Its type's largest amount, if limited."""
        base, precision, scale = _parts(self.sql_type)
        if base != "numeric" or precision is None or not 0 <= (scale or 0) <= precision:
            return None
        return Decimal(10) ** (precision - (scale or 0)) - Decimal(10) ** -(scale or 0)

    @property
    def unheld(self) -> str:
        """Its name where a value cannot be held."""
        return f"{self.name} ({NO_COUNT})" if self.is_count else self.name

    @property
    def longest(self) -> int | None:
        """The most characters of a text."""
        return _parts(self.sql_type)[1] if self.kind is Kind.TEXT and self.labels is None else None

    @property
    def is_free_text(self) -> bool:
        """Whether it takes any text."""
        return self.kind is Kind.TEXT and self.labels is None

    def converted(self, value: str, readers: str | None = None) -> str:
        """The expression that casts `value`, NULL for a number out of range.

        `readers` is the schema of functions for other forms.
        """
        match self.kind:
            case Kind.NUMBER:
                return self._number(value, readers)
            case Kind.TEXT | None if self.labels is not None:
                known = ", ".join(literal(label) for label in self.labels)
                return f"CASE WHEN {value} IN ({known}) THEN {value}::{self.sql_type} END"
            case Kind.TEXT | None:
                return value
            case Kind.DATE if readers is None:
                return rf"substring({value} from '^\d{{4}}-?\d{{2}}-?\d{{2}}')::date"
            case Kind.DATE:
                return f"{readers}.recon_date({value})"
            case Kind.TIMESTAMP:
                return self._timestamp(value, readers)

    def _number(self, value: str, readers: str | None) -> str:
        """The number, NULL out of range: compared before rounding, as rounding twice costs more."""
        if self.is_code:
            return self._rounded(f"(CASE WHEN {value} ~ '{_PLAIN}' THEN {value}::numeric END)")
        if readers is not None:
            value = f"{readers}.recon_number({value})"
        if self.is_count or self.name == _HOUR:
            upper = f"BETWEEN 0 AND {_LAST_HOUR}" if self.name == _HOUR else ">= 0"
            return (
                f"CASE WHEN {value} {upper} AND {value} = trunc({value}) THEN"
                f" {self._rounded(value)} END"
            )
        if self.name in _NUMBERED:
            # Rounding would change the key.
            return f"CASE WHEN {value} = trunc({value}) THEN {self._rounded(value)} END"
        if self.cap is not None:
            # Uncapped until it is written: the stored value may equal the sent one.
            is_beyond = f"abs({value}) >= {self.cap:f} AND {value} <> 'NaN'"
            return (
                f"coalesce({self._rounded(value)}, CASE WHEN {is_beyond} THEN {self._most(value)}"
                " END)"
            )
        return self._rounded(value)

    def capped(self, sent: str) -> str:
        """The value written for a `sent` one."""
        return (
            sent
            if self.cap is None
            else f"CASE WHEN abs({sent}) >= {self.cap:f} THEN {self._most(sent)} ELSE {sent} END"
        )

    def kept(self, stored: str, sent: str) -> str:
        """The stored value if it equals the `sent` one, else `capped`."""
        return (
            sent
            if self.cap is None
            else f"CASE WHEN {stored} = {sent} THEN {stored} ELSE {self.capped(sent)} END"
        )

    def _most(self, value: str) -> str:
        return self._rounded(f"(CASE WHEN {value} < 0 THEN -1 ELSE 1 END * {self.cap or 0:f})")

    def _rounded(self, value: str) -> str:
        base, precision, scale = _parts(self.sql_type)
        if base in _INTEGER_BOUNDS:
            bound = _INTEGER_BOUNDS[base]
            return (
                f"CASE WHEN {value} > {-bound}.5 AND {value} < {bound - 1}.5 THEN"
                f" {value}::{base} END"
            )
        if base == "numeric" and precision is not None and 0 <= (scale or 0) <= precision:
            whole, parts = "9" * (precision - (scale or 0)), "9" * (scale or 0)
            return f"CASE WHEN abs({value}) < {whole}.{parts}5 THEN {value}::{self.sql_type} END"
        if base == "numeric" and precision is not None:
            return (
                f"CASE WHEN abs(round({value}, {scale or 0})) < 1e{precision - (scale or 0)} THEN"
                f" round({value}, {scale or 0}) END"
            )
        if base == "numeric":
            return f"CASE WHEN abs({value}) < 'Infinity' THEN {value} END"
        # Below the smallest normal number the cast would fail instead of rounding to zero.
        least, largest = (
            ("1.2e-38", "3.4028234663852886e38")
            if base == "real"
            else ("2.3e-308", "1.7976931348623157e308")
        )
        return (
            f"CASE WHEN abs({value}) < {least} THEN 0 WHEN abs({value}) <= {largest} THEN"
            f" {value}::{base} END"
        )

    def _timestamp(self, value: str, readers: str | None) -> str:
        zoned = self.sql_type.endswith("with time zone") and "without" not in self.sql_type
        if readers is not None:
            read = f"{readers}.recon_timestamp({value})"
            return f"{read} AT TIME ZONE 'UTC'" if zoned else read
        # PostgreSQL also takes words such as now or yesterday for times.
        wordy = rf"{value} !~ '^\d{{4}}-?\d{{2}}-?\d{{2}}'"
        if zoned:
            stated = rf"{value} ~ '\d:\d\d.*(Z|[+-]\d\d(:?\d\d)?)$'"
            return (
                f"CASE WHEN {wordy} THEN NULL WHEN {stated} THEN {value}::timestamptz ELSE"
                f" {value}::timestamp AT TIME ZONE 'UTC' END"
            )
        # A timestamp with a zone is taken to UTC; the plain cast would drop the zone silently.
        offset = rf"{value} ~ '\d:\d\d.*[+-]\d\d(:?\d\d)?$'"
        return (
            f"CASE WHEN {wordy} THEN NULL WHEN {offset} THEN {value}::timestamptz AT TIME ZONE"
            f" 'UTC' ELSE {value}::timestamp END"
        )


@cache
def _kind_of(sql_type: str, *, is_enum: bool) -> Kind | None:
    base = _parts(sql_type)[0]
    if base in (*_INTEGER_BOUNDS, "numeric", "double precision", "real"):
        return Kind.NUMBER
    if is_enum or base in ("character varying", "text", "character", "citext"):
        return Kind.TEXT
    if base == "date":
        return Kind.DATE
    return Kind.TIMESTAMP if base == "timestamp" else None


@cache
def _parts(sql_type: str) -> tuple[str, int | None, int | None]:
    match = _TYPE.fullmatch(sql_type)
    if match is None:
        return sql_type, None, None
    first, second = match["first"], match["second"]
    return match["name"], int(first) if first else None, int(second) if second else None


def names(columns: tuple[Column, ...], prefix: str = "") -> str:
    """Quoted columns, each after `prefix`."""
    return ", ".join(f"{prefix}{quote(column.name)}" for column in columns)
