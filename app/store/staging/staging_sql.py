"""Composes statements that parse JSON pages into staging."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from app.domain.sequences import pieces
from app.store.database.queries import quote
from app.store.schema.raw.columns import IS_TEXT, Column, Kind
from app.store.schema.raw.tables import WarehouseTable

NATURAL_KEY = ("login", "platform", "broker")
"""Identifies accounts without id."""
SUMMED = ("net_profit", "total_lots")
"""Figures that audits compare."""


@lru_cache(maxsize=32)
def open_statement(table: WarehouseTable, *, carefully: bool) -> str:
    """Parse a JSON array ($3) for fetch $1 after ordinal $2, with unsent columns $4.

    Numbers are checked after rounding; `carefully` survives any text. Incomplete keys and overlong
    texts are rejected.
    """
    read = [
        column
        for column in table.columns
        if column.kind is not Kind.TEXT or column.labels is not None
    ]
    readers = table.raw.split(".")[0] if carefully else None
    columns = ", ".join(quote(column.name) for column in table.columns)
    lost = (
        f"{_count_filled([f'r_{column.name}' for column in read])} >"
        f" {_count_filled([column.name for column in read])}"
    )
    # OFFSET 0 prevents merging steps, which would recompute values for each use; MATERIALIZED would
    # copy the wide rows.
    return f"""
        WITH registered AS MATERIALIZED (
            SELECT fetch_id FROM {registrations(table)} WHERE fetch_id = $1 FOR KEY SHARE
        )
        INSERT INTO {table.stage} (fetch_id, ordinal, unsent, nulled, refused, source, {columns})
        SELECT
            $1, $2 + n, ($4::bytea[])[n::integer],
            CASE WHEN loses THEN array_remove(ARRAY[{_nulled(read)}], NULL) END,
            refused_as,
            CASE WHEN refused_as IS NOT NULL OR loses THEN $3::json -> (n - 1)::integer END,
            {", ".join(_shortened(column) for column in table.columns)}
        FROM registered, (
            SELECT *, {_refusals(table, readers)} AS refused_as, {lost} AS loses
            FROM (
{_converted_rows(table, read, readers)}
            ) AS converted
            OFFSET 0
        ) AS judged
    """


def _converted_rows(table: WarehouseTable, read: Sequence[Column], readers: str | None) -> str:
    """Each row's raw and converted values, and whether its key parts were sent."""
    carefully = readers is not None
    opened = ", ".join(
        f"{quote(column.api_name)}"
        f" {'numeric' if column.is_opened_as_number and not carefully else 'text'}"
        for column in table.columns
    )
    raw_names = ", ".join(quote(f"r_{column.name}") for column in table.columns)
    given = ", ".join(_given(column, carefully=carefully) for column in table.columns)
    converted = ", ".join(
        f"{_converted(table, column, readers)} AS {quote(column.name)}" for column in table.columns
    )
    had = ", ".join(
        f"{quote(f'r_{column.name}')} IS NOT NULL AS {quote(f'h_{column.name}')}"
        for column in _key_columns(table)
    )
    kept_raw = ", ".join(quote(f"r_{column.name}") for column in read)
    return f"""\
                SELECT n, {kept_raw}, {had}, {converted}
                FROM (
                    SELECT i.n, {given}
                    FROM ROWS FROM (json_to_recordset($3::json) AS ({opened}))
                        WITH ORDINALITY AS i ({raw_names}, n)
                    OFFSET 0
                ) AS opened
                OFFSET 0"""


def _nulled(read: Sequence[Column]) -> str:
    return ", ".join(
        f"CASE WHEN {quote(f'r_{column.name}')} IS NOT NULL AND {quote(column.name)} IS NULL THEN"
        f" {_literal(column.unheld)} END"
        for column in read
    )


def _converted(table: WarehouseTable, column: Column, readers: str | None) -> str:
    """A value as stored; missing account ids become placeholders."""
    value = column.converted(quote(f"r_{column.name}"), readers)
    return (
        value
        if column.name != "account_id"
        else known_as(table, {part: f"r_{part}" for part in NATURAL_KEY}, value, readers)
    )


def known_as(
    table: WarehouseTable, given: Mapping[str, str], account_id: str, readers: str | None
) -> str:
    """Expression for a metrics row's account: the sent id, or the placeholder of the natural key in
    columns `given`.
    """
    columns = {column.name: column for column in table.columns}
    if not columns.keys() >= set(NATURAL_KEY):
        return account_id
    login, platform, broker = (
        f"({columns[part].converted(quote(given[part]), readers)})::text" for part in NATURAL_KEY
    )
    return (
        f"coalesce(nullif({account_id}, ''), md5({login} || '|' || {platform} || '|' ||"
        f" coalesce({broker}, '')))"
    )


def _given(column: Column, *, carefully: bool) -> str:
    """A sent value; empty text means none for numbers and times."""
    name = quote(f"r_{column.name}")
    if column.kind is Kind.TEXT or (column.is_opened_as_number and not carefully):
        return f"i.{name}"
    return f"nullif(btrim(i.{name}), '') AS {name}"


def _count_filled(columns: Sequence[str]) -> str:
    """Expression that counts filled columns, in pieces: PostgreSQL functions take 100 arguments."""
    return " + ".join(
        f"num_nonnulls({', '.join(quote(column) for column in piece)})"
        for piece in pieces(columns, 100)
    )


def _shortened(column: Column) -> str:
    """Cast texts, whose overlong rows are rejected already."""
    return (
        quote(column.name) if column.longest is None else f"{quote(column.name)}::{column.sql_type}"
    )


def _key_columns(table: WarehouseTable) -> tuple[Column, ...]:
    return tuple(column for column in table.columns if column.name in table.key)


def _refusals(table: WarehouseTable, readers: str | None) -> str:
    """Reason of rejection or NULL.

    Only the careful `readers` admit text for numbers.
    """
    reasons = [*_unfit_keys(table, readers), *_overlong_texts(table)]
    is_refused = " OR ".join(condition for condition, _ in reasons)
    said = ", ".join(
        f"CASE WHEN {condition} THEN {_literal(reason)} END" for condition, reason in reasons
    )
    return f"CASE WHEN {is_refused} THEN concat_ws('; ', {said}) END"


def _unfit_keys(table: WarehouseTable, readers: str | None) -> Iterator[tuple[str, str]]:
    for column in _key_columns(table):
        if column.name in table.optional:
            continue
        missing = f"{quote(column.name)} IS NULL"
        had = quote(f"h_{column.name}")
        is_text = "false"
        if column.is_code:
            is_text = f"{quote(f'r_{column.name}')} !~ '^-?[0-9]+$'"
        elif readers is not None and column.kind is Kind.NUMBER and not column.is_always_number:
            is_text = f"{readers}.recon_number({quote(f'r_{column.name}')}) IS NULL"
        if is_text != "false":
            said = (
                f"key part {column.name} {IS_TEXT} (it is {column.sql_type}); `trade-recon"
                " doctor` prints the ALTER"
            )
            yield f"{missing} AND {had} AND {is_text}", said
        out_of_range = f"key part {column.name} is out of range"
        yield f"{missing} AND {had} AND NOT ({is_text})", out_of_range
        yield f"{missing} AND NOT {had}", f"key part {column.name} is missing"


def _overlong_texts(table: WarehouseTable) -> Iterator[tuple[str, str]]:
    for column in table.columns:
        if column.longest is not None:
            name = quote(column.name)
            # Bytes first, as counting characters is slower.
            long = (
                f"octet_length({name}) > {column.longest} AND char_length({name}) >"
                f" {column.longest}"
            )
            yield long, f"{column.name} is longer than {column.longest} characters"


def refuse_statement(table: WarehouseTable) -> str:
    """Stage an unreadable row with its account, if readable."""
    account = next(
        (column.api_name for column in table.columns if column.name == "account_id"), None
    )
    value = f"$3::json ->> {_literal(account)}" if account else "NULL"
    return (
        f"INSERT INTO {table.stage} (fetch_id, ordinal, source, refused, account_id) SELECT"
        f" fetch_id, $2 + 1, $3::json, $4, {value} FROM {registrations(table)} WHERE fetch_id = $1"
        " FOR KEY SHARE"
    )


def registrations(table: WarehouseTable) -> str:
    """The table that registers fetches."""
    return f"{schema_of(table)}.recon_fetches"


def schema_of(table: WarehouseTable) -> str:
    """Quoted schema of staging."""
    return table.stage.rpartition(".")[0]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
