"""The raw tables as they stand in this warehouse: which columns the API fills here, and how each value gets in.

A warehouse that trade-recon did not make may have fewer columns or other types; everything that is written or compared
goes through what is read here.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from app.domain.contract import TABLES, Endpoint, Table
from app.errors import ConfigurationError
from app.store.pool import Database
from app.store.queries import for_schema, quote

STAGED = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
"""The endpoints that are fetched and healed; open trades are snapshots, in which only ids are mended."""

FIGURES = ("num_trades", "net_profit", "total_lots")
"""The columns whose difference means drift."""

_COLUMNS = """
SELECT attname AS column, format_type(atttypid, atttypmod) AS type
FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
"""
_TYPE = re.compile(r"(?P<name>[a-z ]+?)(?:\((?P<first>\d+)(?:,(?P<second>-?\d+))?\))?(?P<zone> with(?:out)? time zone)?")
_INTEGER_BOUNDS = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}


class Kind(StrEnum):
    """How a value of a column is opened from JSON."""

    NUMBER = "number"
    TEXT = "text"
    DATE = "date"
    TIMESTAMP = "timestamp"


@dataclass(frozen=True, slots=True)
class Column:
    """A column that the API fills in this warehouse; `sql_type` as the catalogue writes it."""

    name: str
    api_name: str
    sql_type: str

    @property
    def kind(self) -> Kind:
        """How its values are opened; ConfigurationError for a type that no value of the API fits."""
        base = self._parts()[0]
        if base in (*_INTEGER_BOUNDS, "numeric", "double precision", "real"):
            return Kind.NUMBER
        if base in ("character varying", "text", "character"):
            return Kind.TEXT
        if base == "date":
            return Kind.DATE
        if base == "timestamp":
            return Kind.TIMESTAMP
        raise ConfigurationError(f"Column {self.name} has the type {self.sql_type}, which the API's values do not fit.")

    @property
    def longest(self) -> int | None:
        """The most characters that a text column holds; None for no limit."""
        return self._parts()[1] if self.kind is Kind.TEXT else None

    def converted(self, value: str, readers: str | None = None) -> str:
        """The SQL expression that turns the opened `value` into the column's type, NULL where a number is out of range.

        `readers` names the schema of functions that read from text what the plain casts cannot, and give NULL for what is
        not readable at all.
        """
        match self.kind:
            case Kind.NUMBER:
                return self._number(value if readers is None else f"{readers}.recon_number({value})")
            case Kind.TEXT:
                return value
            case Kind.DATE if readers is None:
                return rf"substring({value} from '^\d{{4}}-?\d{{2}}-?\d{{2}}')::date"
            case Kind.DATE:
                return f"{readers}.recon_date({value})"
            case Kind.TIMESTAMP:
                return self._timestamp(value, readers)

    def _parts(self) -> tuple[str, int | None, int | None]:
        match = _TYPE.fullmatch(self.sql_type)
        if match is None:
            return self.sql_type, None, None
        first, second = match["first"], match["second"]
        return match["name"], int(first) if first else None, int(second) if second else None

    def _number(self, value: str) -> str:
        base, precision, scale = self._parts()
        if base in _INTEGER_BOUNDS:
            bound = _INTEGER_BOUNDS[base]
            return f"CASE WHEN round({value}) BETWEEN {-bound} AND {bound - 1} THEN round({value})::{base} END"
        if base == "numeric" and precision is not None:
            return f"CASE WHEN abs(round({value}, {scale or 0})) < 1e{precision - (scale or 0)} THEN round({value}, {scale or 0}) END"
        if base == "numeric":
            return f"CASE WHEN abs({value}) < 'Infinity' THEN {value} END"
        # Below the smallest normal number the cast would fail instead of rounding to zero.
        least, largest = ("1.2e-38", "3.4e38") if base == "real" else ("2.3e-308", "1.79e308")
        return f"CASE WHEN abs({value}) < {least} THEN 0 WHEN abs({value}) <= {largest} THEN {value}::{base} END"

    def _timestamp(self, value: str, readers: str | None) -> str:
        zoned = self.sql_type.endswith("with time zone") and "without" not in self.sql_type
        if readers is not None:
            read = f"{readers}.recon_timestamp({value})"
            return f"{read} AT TIME ZONE 'UTC'" if zoned else read
        # PostgreSQL also takes words such as now or yesterday for times.
        wordy = rf"{value} !~ '^\d{{4}}-?\d{{2}}-?\d{{2}}'"
        if zoned:
            stated = rf"{value} ~ '\d:\d\d.*(Z|[+-]\d\d(:?\d\d)?)$'"
            return f"CASE WHEN {wordy} THEN NULL WHEN {stated} THEN {value}::timestamptz ELSE {value}::timestamp AT TIME ZONE 'UTC' END"
        # A timestamp with a zone is taken to UTC; the plain cast would drop the zone silently.
        offset = rf"{value} ~ '\d:\d\d.*[+-]\d\d(:?\d\d)?$'"
        return f"CASE WHEN {wordy} THEN NULL WHEN {offset} THEN {value}::timestamptz AT TIME ZONE 'UTC' ELSE {value}::timestamp END"


@dataclass(frozen=True, slots=True)
class WarehouseTable:
    """A raw table, its staging table, and the columns that both have and the API fills."""

    table: Table
    raw: str
    stage: str
    columns: tuple[Column, ...]
    has_origin: bool

    @property
    def key(self) -> tuple[str, ...]:
        """The key columns."""
        return self.table.key

    @property
    def names(self) -> frozenset[str]:
        """The names of the columns that the API fills."""
        return frozenset(column.name for column in self.columns)

    @property
    def values(self) -> tuple[Column, ...]:
        """The columns that are no part of the key."""
        return tuple(column for column in self.columns if column.name not in self.table.key)


class Catalogue:
    """The raw tables of this warehouse by endpoint."""

    def __init__(self, tables: dict[Endpoint, WarehouseTable]) -> None:
        """Use `read`."""
        self._tables = tables

    def __getitem__(self, endpoint: Endpoint) -> WarehouseTable:
        """The table that an endpoint fills; KeyError for open trades, which are never fetched."""
        return self._tables[endpoint]

    @classmethod
    async def read(cls, database: Database) -> "Catalogue":
        """Read the tables from the catalogue.

        Raises ConfigurationError naming the tables and key columns that are missing: then nothing can be healed.
        """
        tables: dict[Endpoint, WarehouseTable] = {}
        missing: list[str] = []
        for endpoint in STAGED:
            table = TABLES[endpoint]
            raw = for_schema(f"prop_trading_model.{table.name}", database.schema)
            stage_name = table.name.replace("raw_metrics", "recon_stage").replace("raw_trades", "recon_stage")
            types = {row["column"]: row["type"] for row in await database.fetch(_COLUMNS, raw)}
            missing += [f"{table.name}.{column}" for column in table.key if column not in types] if types else [table.name]
            columns = tuple(Column(field.column, field.api_name, types[field.column]) for field in table.fields if field.column in types)
            origin = {"ingestion_timestamp", "source_api_endpoint"} <= types.keys()
            stage = for_schema(f"prop_trading_model.{stage_name}", database.schema)
            tables[endpoint] = WarehouseTable(table, raw, stage, columns, origin)
        if missing:
            raise ConfigurationError(
                f"The warehouse lacks {', '.join(missing)}; run `trade-recon migrate` or set RECON_SCHEMA. Nothing was changed."
            )
        return cls(tables)


def names(columns: tuple[Column, ...], prefix: str = "") -> str:
    """The columns as a list for SQL, each behind `prefix`."""
    return ", ".join(f"{prefix}{quote(column.name)}" for column in columns)
