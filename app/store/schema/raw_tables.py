"""The raw tables as they stand in this warehouse: which columns the API fills here, and how each
value gets in.

A warehouse that trade-recon did not make may have fewer columns, other types and other keys;
everything that is written or compared goes through what is read here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from functools import cache

from app.domain.contract.caps import NO_CAPS, Caps
from app.domain.contract.tables import TABLES, Endpoint, Field, Table
from app.errors import ConfigurationError
from app.store.database.pool import Database
from app.store.database.queries import for_schema, quote
from app.store.schema.introspect import CheckFacts, ColumnFacts, Survey, TableFacts, UniqueKey

IS_TEXT = "is a text, which the column cannot hold"
"""What is said of a key part that is no number, where the column holds numbers alone."""
STAGED = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
"""The endpoints that are fetched and healed; open trades are snapshots, in which only ids are
mended.
"""
FIGURES = ("num_trades", "net_profit", "total_lots")
"""The columns whose difference means drift."""
STAGING_COLUMNS = """
SELECT attname AS column, format_type(atttypid, atttypmod) AS type
FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
ORDER BY attnum
"""
"""The columns of the staging table $1 and their types, in its order."""
_SCHEMA = r"""(?:pg_catalog\.|(?:[^".]+|"(?:[^"]|"")+")\.(?=citext$))?"""
"""What stands before a type that the search path does not find: the extension citext often lies in
a schema of its own.
"""
_TYPE = re.compile(
    _SCHEMA
    + r"(?P<name>[a-z ]+?)(?:\((?P<first>\d+)(?:,(?P<second>-?\d+))?\))?(?P<zone> with(?:out)? time"
    r" zone)?"
)
_INTEGER_BOUNDS = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}
_COUNTS = ("num_", "max_num_")
"""How the names of columns begin that count things."""
NO_COUNT = "no count"
"""What is said of a count that is stored as it was, since what was sent is none."""
_HOUR, _LAST_HOUR = "hour", 23
_WHOSE = ("account_id", "login", "platform", "broker")
_CODES, _NUMBERED = ("login", "position", "ticket"), ("platform", "broker")
"""Parts of keys: texts that a warehouse may hold as numbers, and numbers."""
_PLAIN = "^-?[0-9]{1,60}$"
_LONGEST_PATH = 32
"""Characters that the name of an endpoint takes at most."""


class Kind(StrEnum):
    """How a value of a column is opened from JSON."""

    NUMBER = "number"
    TEXT = "text"
    DATE = "date"
    TIMESTAMP = "timestamp"


@dataclass(frozen=True, slots=True)
class Column:
    """A column that the API fills in this warehouse; `sql_type` as the catalogue writes it, below
    any domain; `labels` of an enum.

    `default` is the expression of what an INSERT without the column stores; None: NULL. `cap` is
    the largest amount that the firm's own ingestion stores in it; None: any.
    """

    name: str
    api_name: str
    sql_type: str
    labels: tuple[str, ...] | None = None
    default: str | None = None
    cap: Decimal | None = None

    @property
    def kind(self) -> Kind | None:
        """How its values are opened; None for a type that no value of the API fits."""
        return _kind_of(self.sql_type, is_enum=self.labels is not None)

    @property
    def is_count(self) -> bool:
        """Whether it counts things: then only a whole number from 0 on is a value of it, and any
        other leaves what is stored.
        """
        return self.kind is Kind.NUMBER and self.name.startswith(_COUNTS)

    @property
    def is_always_number(self) -> bool:
        """Whether a text has no meaning in it at all: in an hour, a count, a figure that is
        compared.
        """
        return self.is_count or self.name == _HOUR or self.name in FIGURES

    @property
    def is_code(self) -> bool:
        """Whether it holds as numbers what the API documents as texts: only a text of digits is
        one, and no other spelling of a number.
        """
        return self.kind is Kind.NUMBER and self.name in _CODES

    @property
    def is_opened_as_number(self) -> bool:
        """Whether JSON is opened as a number at once; else as text, which is judged before it is
        cast.
        """
        return self.kind is Kind.NUMBER and not self.is_code

    @property
    def largest_count(self) -> int:
        """The largest count that it holds."""
        return _INTEGER_BOUNDS.get(_parts(self.sql_type)[0], 2**63) - 1

    @property
    def is_whole(self) -> bool:
        """Whether it holds whole numbers only."""
        return _parts(self.sql_type)[0] in _INTEGER_BOUNDS

    @property
    def largest(self) -> Decimal | None:
        """The largest amount that its type holds, where that is a number of digits."""
        base, precision, scale = _parts(self.sql_type)
        if base != "numeric" or precision is None or not 0 <= (scale or 0) <= precision:
            return None
        return Decimal(10) ** (precision - (scale or 0)) - Decimal(10) ** -(scale or 0)

    @property
    def unheld(self) -> str:
        """How it is named where its value cannot be held."""
        return f"{self.name} ({NO_COUNT})" if self.is_count else self.name

    @property
    def longest(self) -> int | None:
        """The most characters that a text column holds; None for no limit."""
        return _parts(self.sql_type)[1] if self.kind is Kind.TEXT and self.labels is None else None

    @property
    def is_free_text(self) -> bool:
        """Whether it takes any text as it is."""
        return self.kind is Kind.TEXT and self.labels is None

    def converted(self, value: str, readers: str | None = None) -> str:
        """The SQL expression that turns the opened `value` into the column's type, NULL where a
        number is out of range.

        `readers` names the schema of functions that read from text what the plain casts cannot, and
        give NULL for what is not readable at all.
        """
        match self.kind:
            case Kind.NUMBER:
                return self._number(value, readers)
            case Kind.TEXT | None if self.labels is not None:
                known = ", ".join(_literal(label) for label in self.labels)
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
        """NULL outside the range, told by bounds on what is not rounded yet (half away from zero):
        rounding each value twice costs more.
        """
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
            # Rounded, a part of a key would be another one.
            return f"CASE WHEN {value} = trunc({value}) THEN {self._rounded(value)} END"
        if self.cap is not None:
            # What the column holds is kept as it was sent until it is written: a stored value may
            # be just that one.
            is_beyond = f"abs({value}) >= {self.cap:f} AND {value} <> 'NaN'"
            return (
                f"coalesce({self._rounded(value)}, CASE WHEN {is_beyond} THEN {self._most(value)}"
                " END)"
            )
        return self._rounded(value)

    def capped(self, sent: str) -> str:
        """The SQL expression of what is written for a value that was `sent`, which a cap may cut
        off.
        """
        return (
            sent
            if self.cap is None
            else f"CASE WHEN abs({sent}) >= {self.cap:f} THEN {self._most(sent)} ELSE {sent} END"
        )

    def kept(self, stored: str, sent: str) -> str:
        """The SQL expression of what a row keeps in the column: the stored value where it is the
        one that was `sent`, also beyond a cap.
        """
        return (
            sent
            if self.cap is None
            else f"CASE WHEN {stored} = {sent} THEN {stored} ELSE {self.capped(sent)} END"
        )

    def _most(self, value: str) -> str:
        """The cap with the sign of a value."""
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


@dataclass(frozen=True, slots=True)
class WarehouseTable:
    """A raw table, its staging table, and the columns that both have and the API fills.

    `nullable` are the parts of our key that may be NULL here; `is_unique` tells whether the table
    itself keeps two rows of one key apart; `narrow_keys` are its unique keys that two rows of
    upstream may share; `checks` what a row must meet, as far as the columns that the API fills
    tell; `has_guards` whether triggers have their say before a row is written; `origin` the
    expressions for the columns that tell where a row came from; `distributed_by` the column by
    which Citus spreads the rows over servers (None: it does not), which no statement may assign;
    `stored` all columns that can be written, whoever fills them.
    """

    table: Table
    raw: str
    stage: str
    columns: tuple[Column, ...]
    nullable: frozenset[str]
    is_unique: bool
    narrow_keys: tuple[UniqueKey, ...]
    is_partitioned: bool
    checks: tuple[CheckFacts, ...]
    has_guards: bool
    origin: tuple[tuple[str, str], ...]
    distributed_by: str | None
    stored: tuple[str, ...]

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
        """The columns that are no part of the key and may be assigned."""
        return tuple(
            column
            for column in self.columns
            if column.name not in self.table.key and column.name != self.distributed_by
        )

    @property
    def changes_shard(self) -> bool:
        """Whether a row of the API may belong to another shard than the stored row of its key."""
        return self.distributed_by is not None and self.distributed_by not in self.table.key

    @property
    def optional(self) -> frozenset[str]:
        """Parts of the key that upstream may leave out: only the broker, where the table takes NULL
        for it.
        """
        return self.nullable & {"broker"}

    def same(self, left: str, right: str, columns: Sequence[str] | None = None) -> str:
        """The condition that a row of the API `right` and a stored one `left` agree in `columns`
        (None: the key).
        """
        return _equal(left, right, self.key if columns is None else columns, self.optional)

    @property
    def place(self) -> str:
        """What else tells a stored row `t` apart, as columns behind its key: nothing where its key
        is unique.
        """
        if self.is_unique:
            return ""
        # Of a distributed table ctid names a row in each of its shards: there the shard's column
        # ends the key.
        return (
            f", t.{quote(self.distributed_by)} AS row_shard"
            if self.distributed_by
            else ", t.tableoid AS row_table, t.ctid AS row_place"
        )

    @property
    def place_order(self) -> str:
        """An order in which doubled rows `t` of a row `s` of the API stand, the one first that
        should stay.
        """
        if self.distributed_by is None:
            return "t.tableoid, t.ctid"
        column = quote(self.distributed_by)
        return f"t.{column} IS DISTINCT FROM s.{column}, t.{column}"

    @property
    def same_row(self) -> str:
        """The condition that `t` is the stored row of which `m` has key and place."""
        equal = _equal("t", "m", self.key, self.nullable)
        if self.is_unique:
            return equal
        if self.distributed_by is not None:
            return f"{equal} AND t.{quote(self.distributed_by)} = m.row_shard"
        # By its place alone, where no index knows the key: conditions on columns that may be NULL
        # would be none.
        return "t.tableoid = m.row_table AND t.ctid = m.row_place"

    def locked(self, strength: str) -> str:
        """The clause that locks the stored rows `t`; none where they lie on several servers, which
        lock no rows for a join.
        """
        return f"FOR {strength} OF t" if self.distributed_by is None else ""


def _equal(left: str, right: str, columns: Sequence[str], nullable: frozenset[str]) -> str:
    # IS NOT DISTINCT FROM only where NULL can be: no index and no hash serves it.
    return " AND ".join(
        f"{left}.{quote(column)} {'IS NOT DISTINCT FROM' if column in nullable else '='}"
        f" {right}.{quote(column)}"
        for column in columns
    )


class Catalogue:
    """The raw tables of this warehouse by endpoint."""

    def __init__(self, tables: Mapping[Endpoint, WarehouseTable]) -> None:
        """Use `read`."""
        self._tables = tables

    def __getitem__(self, endpoint: Endpoint) -> WarehouseTable:
        """The table that an endpoint fills; that of open trades has no staging, for they are never
        fetched.
        """
        return self._tables[endpoint]

    def is_like(self, other: "Catalogue") -> bool:
        """Whether both found the same columns and keys: what was composed for one fits the
        other.
        """
        return self._tables == other._tables  # noqa: SLF001 - one of our own

    @classmethod
    async def read(cls, database: Database, survey: Survey, caps: Caps = NO_CAPS) -> "Catalogue":
        """The tables of a survey that was found fit to work in, whose values are cut off at `caps`.

        Raises ConfigurationError where the staging tables do not fit them any more: a raw table was
        changed since the last migration.
        """
        tables = {
            endpoint: warehouse_table(
                endpoint, survey.tables[TABLES[endpoint].name], database.schema, caps
            )
            for endpoint in Endpoint
        }
        for table in (tables[endpoint] for endpoint in STAGED):
            types = {
                row["column"]: row["type"]
                for row in await database.fetch(STAGING_COLUMNS, table.stage)
            }
            if not is_staged(table, types):
                raise ConfigurationError(
                    f"{table.table.name} has other columns than when trade-recon was migrated: run"
                    " `trade-recon migrate`, which makes its staging table anew. Nothing was"
                    " changed."
                )
        return cls(tables)


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
    """A type's name, and the numbers that stand in its brackets."""
    match = _TYPE.fullmatch(sql_type)
    if match is None:
        return sql_type, None, None
    first, second = match["first"], match["second"]
    return match["name"], int(first) if first else None, int(second) if second else None


def warehouse_table(
    endpoint: Endpoint, facts: TableFacts, schema: str, caps: Caps = NO_CAPS
) -> WarehouseTable:
    """What a survey tells of the raw table of an endpoint."""
    table = TABLES[endpoint]
    there = facts.by_name
    written = [
        field for field in table.fields if field.column in there and there[field.column].is_written
    ]
    columns = tuple(
        _column(
            each,
            there[each.column],
            table.key,
            caps.of(table.name, each.column, there[each.column].base_type),
        )
        for each in written
    )
    nullable = frozenset(
        column for column in table.key if column in there and not there[column].not_null
    )
    key, keys = frozenset(table.key), facts.keys or ()
    staged = {"account_id", *(column.name for column in columns)}
    stage = re.sub("^raw_(metrics|trades)", "recon_stage", table.name)
    return WarehouseTable(
        table,
        for_schema(f"prop_trading_model.{table.name}", schema),
        for_schema(f"prop_trading_model.{stage}", schema),
        columns,
        nullable,
        any(
            key >= set(each.columns) and (each.nulls_are_equal or not nullable & set(each.columns))
            for each in keys
        ),
        tuple(
            each for each in keys if not key <= set(each.columns) and staged >= set(each.columns)
        ),
        facts.kind == "p",
        (*_not_nulls(facts, columns, table.key), *_checks(facts, columns)),
        any(
            trigger.is_before_row and (trigger.on_insert or trigger.on_update)
            for trigger in facts.triggers or ()
        ),
        tuple(_origin(endpoint, facts)),
        facts.distributed_by,
        tuple(column.name for column in facts.columns or () if column.is_written),
    )


def _column(field: Field, facts: ColumnFacts, key: Sequence[str], cap: Decimal | None) -> Column:
    column = Column(field.column, field.api_name, facts.base_type, facts.labels, facts.default)
    return replace(column, cap=cap) if cap is not None and may_be_capped(column, key) else column


def may_be_capped(column: Column, key: Sequence[str]) -> bool:
    """Whether caps are for such a column of a table with that key: counts and parts of the key mean
    something at each amount.
    """
    return column.kind is Kind.NUMBER and not column.is_count and column.name not in (*key, *_WHOSE)


def staged_columns(table: WarehouseTable) -> dict[str, str]:
    """The columns that a staging table needs, with their types: those that the API fills, and the
    account id.

    First those that are looked at by themselves: PostgreSQL steps over all columns before the last
    one that it wants of a row.
    """
    wanted = {"account_id": "text", **{column.name: column.sql_type for column in table.columns}}
    first = [
        name
        for name in ("account_id", *table.key, "login", "platform", "broker", *FIGURES)
        if name in wanted
    ]
    return {name: wanted[name] for name in dict.fromkeys((*first, *wanted))}


def analyzed_columns(table: WarehouseTable) -> tuple[str, ...]:
    """The columns of a staging table whose statistics decide on plans."""
    return tuple(dict.fromkeys(("fetch_id", "ordinal", "refused", "account_id", *table.key)))


def is_staged(table: WarehouseTable, types: dict[str, str]) -> bool:
    """Whether a staging table with columns of these types holds what the table's rows are made
    of.
    """
    wanted = {column.name: column.sql_type for column in table.columns}
    return types.keys() >= {"account_id", "unsent"} and all(
        types.get(name) == sql_type for name, sql_type in wanted.items()
    )


def _not_nulls(
    facts: TableFacts, columns: Sequence[Column], key: Sequence[str]
) -> list[CheckFacts]:
    return [
        CheckFacts(
            f"NOT NULL of {column.name}",
            f"{quote(column.name)} IS NOT NULL",
            (column.name,),
            holds_for_all=True,
        )
        for column in columns
        # Parts of the key are looked at when the row is read.
        if facts.by_name[column.name].not_null and column.name not in key
    ]


def _checks(facts: TableFacts, columns: Sequence[Column]) -> list[CheckFacts]:
    """Those that can be asked of a row in staging; of the others, and where stored rows break one,
    only the write tells.
    """
    known = {column.name for column in columns}
    return [
        check
        for check in facts.checks or ()
        if check.holds_for_all and check.columns and known >= set(check.columns)
    ]


def _origin(endpoint: Endpoint, facts: TableFacts) -> list[tuple[str, str]]:
    """When and whence a row came, in the columns that the table has for it, as far as their types
    hold that.
    """
    origin: list[tuple[str, str]] = []
    when, whence = (
        facts.by_name.get("ingestion_timestamp"),
        facts.by_name.get("source_api_endpoint"),
    )
    if when is not None and when.is_written and when.base_type.startswith("timestamp"):
        zoned = when.base_type.endswith("with time zone") and "without" not in when.base_type
        origin.append((when.name, "now()" if zoned else "now() AT TIME ZONE 'UTC'"))
    if whence is not None and whence.is_written:
        column = Column(whence.name, "-", whence.base_type, whence.labels)
        if (
            column.kind is Kind.TEXT
            and whence.labels is None
            and (column.longest or _LONGEST_PATH) >= _LONGEST_PATH
        ):
            origin.append((whence.name, _literal(endpoint.path)))
    return origin


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def names(columns: tuple[Column, ...], prefix: str = "") -> str:
    """The columns as a list for SQL, each behind `prefix`."""
    return ", ".join(f"{prefix}{quote(column.name)}" for column in columns)
