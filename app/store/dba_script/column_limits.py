"""What the API sends and a column of a raw table cannot hold, and the ALTER with which the owner
lets it: read-only advice.

Known from the column's type alone (a number where the API sends a text), from rows that were read
for it, and from what runs set aside.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import msgspec

from app.domain.contract.caps import Caps
from app.domain.contract.rows import fields_of
from app.domain.contract.tables import TABLES, Endpoint, Field
from app.domain.wording.counts import choose, counted
from app.store.database.pool import Database
from app.store.database.sql_text import identifier, literal, qualified
from app.store.schema.history import Histories
from app.store.schema.introspect import Survey, TableFacts
from app.store.schema.raw.columns import IS_TEXT, Column, Kind

_KEYS: Mapping[str, frozenset[str]] = {
    table.name: frozenset(table.key) for table in TABLES.values()
}
_TEXT = "varchar(255)"
_SHOWN = 40
"""Characters of a value that are shown."""
_SPARE_DIGITS = 4
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
_AROUND: Mapping[str, str] = {
    "partition key": (
        "cannot be changed: the table is partitioned by the column, and has to be made again"
    ),
    "identity": "stands in the way: drop it first (DROP IDENTITY)",
    "foreign key": "stands in the way: drop it, and give the column at its other end the same type",
    "check": (
        "is made again by the ALTER, which fails where it compares numbers: drop it first, and"
        " write it for the new type"
    ),
    "index": (
        "is made again by the ALTER, which fails where it computes with numbers: drop it first, and"
        " write it for the new type"
    ),
}
_IN_THE_WAY = "stands in the way: drop it before, and make it again after"
_PLAIN = re.compile(r"-?\d+(?:\.0*)?")


@dataclass(frozen=True, slots=True)
class Misfit:
    """A column that cannot hold what the API sends; `wanted` is a type that can, `reason` completes
    a sentence about the column.

    `loses_rows`: rows were seen that are set aside because of it. `is_documented`: the column has
    the type that upstream's documentation gives its figure, and upstream sends larger ones.
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
    """Rows that were read of an endpoint to see what it sends; an `error` says why there are
    none.
    """

    rows: Sequence[bytes] = ()
    error: str | None = None


Samples = Mapping[Endpoint, Sample]


@dataclass(frozen=True, slots=True)
class Advice:
    """What is said of a table whose columns cannot hold what the API sends; `loses_rows` as of its
    misfits.
    """

    text: str
    loses_rows: bool


async def advise_fit(
    database: Database,
    survey: Survey,
    samples: Samples,
    caps: Caps,
    *,
    knows_refused: bool = True,
    is_brief: bool = False,
) -> list[Advice]:
    """For each table with misfits a sentence about each, what stands in the way of the ALTER, and
    the ALTER that its owner may run.

    `knows_refused`: unless trade-recon's own tables, which say what runs set aside, are not all
    there. `is_brief`: of tables that migrations made with the documented types, what costs no row
    is told in one sentence.
    """
    sql = database.queries("fit")
    refused = await _refused_texts(database, sql, survey) if knows_refused else []
    # What was seen comes first: of several misfits of one column the first is told.
    by_table: dict[str, dict[str, Misfit]] = defaultdict(dict)
    for misfit in sorted(
        (*refused, *misfits(survey, samples, caps)), key=lambda each: not each.loses_rows
    ):
        by_table[misfit.table].setdefault(misfit.column, misfit)
    made = {row["name"] for row in await database.fetch(sql["list_made"])} if is_brief else set()
    left_out = [
        each
        for table in made & by_table.keys()
        for each in by_table[table].values()
        if each.is_documented
    ]
    told = {
        table: [each for each in columns.values() if each not in left_out]
        for table, columns in by_table.items()
    }
    advice = [
        Advice(
            await _advice(database, sql, table, columns), any(each.loses_rows for each in columns)
        )
        for table, columns in told.items()
        if columns
    ]
    return [*advice, Advice(_as_documented(left_out), loses_rows=False)] if left_out else advice


def _as_documented(columns: Sequence[Misfit]) -> str:
    first, *others = sorted(f"{each.table}.{each.column}" for each in columns)
    beside = f" and {counted(len(others), 'other column')}" if others else ""
    return (
        "Upstream sends figures that are larger than its documentation says, and the tables that"
        f" trade-recon made follow that: {first}{beside}. Such a figure is stored as NULL and"
        " counted (values_nulled); its row comes in, and trades are counted all the same. Nothing"
        " has to be done now. `trade-recon doctor` prints the ALTER, for when you want these"
        " figures."
    )


def misfits(survey: Survey, samples: Samples, caps: Caps) -> list[Misfit]:
    """The columns of the raw tables that stand which cannot hold what the API sends: by their
    types, and by rows that it sent.
    """
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
    """What the type alone tells: a column of numbers for what the API documents as a text."""
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
    # Another spelling of a number is another text.
    numbers = {
        value: (
            None if column.is_code and not _PLAIN.fullmatch(str(value).strip()) else _number(value)
        )
        for value in sent
    }
    texts = [value for value, number in numbers.items() if number is None]
    if texts and not column.is_always_number:
        wanted = field.sql_type if field.sql_type.startswith("varchar") else _TEXT
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
    if outside:
        largest = max(outside, key=abs)
        is_key = field.column in _KEYS[table]
        lost = (
            "rows with one are set aside"
            if is_key
            else "such figures are stored as NULL, their rows come in"
        )
        reason = f"is too narrow for what the API sends, such as {largest:f}: {lost}"
        is_documented = column.sql_type == field.sql_type and not is_key
        return Misfit(
            table,
            column.name,
            column.sql_type,
            _wider(column, largest),
            reason,
            loses_rows=is_key,
            is_documented=is_documented,
        )
    return None


def _opened(raw: msgspec.Raw) -> object:
    """A value as text or number with all its digits; None for null, and for what no column
    takes.
    """
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
    """A type that holds the number, with room for some that are larger."""
    if column.is_whole:
        return "bigint" if _SMALLEST <= number <= _LARGEST else "numeric"
    scale = -column.largest.as_tuple().exponent if column.largest is not None else 0  # type: ignore[operator]
    return f"numeric({number.adjusted() + 1 + _SPARE_DIGITS + scale},{scale})"


def _shown(value: object) -> str:
    text = str(value)
    return literal(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


async def _refused_texts(
    database: Database, sql: Mapping[str, str], survey: Survey
) -> list[Misfit]:
    """Misfits that are known from rows that runs set aside, since a key part was a text where the
    column holds numbers.
    """
    found = []
    for row in await database.fetch(sql["list_refused_texts"], IS_TEXT):
        facts = survey.tables.get(row["table_name"])
        stored = None if facts is None else facts.by_name.get(row["column_name"])
        if stored is None or Column(stored.name, "-", stored.base_type).kind is not Kind.NUMBER:
            # It was widened since: the next run stores the rows.
            continue
        reason = (
            f"holds numbers alone, and {counted(row['rows'], 'row')} of"
            f" {counted(row['accounts'], 'account')} {choose(row['rows'], 'was', 'were')} set"
            " aside, since the API sends texts there"
        )
        found.append(
            Misfit(row["table_name"], stored.name, stored.base_type, _TEXT, reason, loses_rows=True)
        )
    return found


async def _advice(
    database: Database, sql: Mapping[str, str], table: str, columns: Sequence[Misfit]
) -> str:
    lines = [f"{table}.{each.column} ({each.sql_type}) {each.reason}." for each in columns]
    place = await database.fetch_row(sql["describe_table"], table)
    obstacles = await database.fetch(
        sql["list_obstacles"], table, [each.column for each in columns]
    )
    lines += [f"  {row['what']} {_AROUND.get(row['kind'], _IN_THE_WAY)}." for row in obstacles]
    if not any(row["kind"] == "partition key" for row in obstacles):
        changes = ", ".join(
            f"ALTER COLUMN {identifier(each.column)} TYPE {each.wanted}" for each in columns
        )
        parts = (
            f" with its {counted(place['partitions'], 'partition')}"
            if place and place["partitions"]
            else ""
        )
        owner = f"Its owner {place['owner']}" if place else "Its owner"
        size = f" ({place['size']})" if place else ""
        lines.append(
            f"  {owner} may run this, while nobody needs the table: it writes the"
            f" table{parts}{size} once more and keeps everybody out meanwhile. Then run"
            " `trade-recon migrate` again, and a run: what was set aside comes in."
        )
        beside = [
            each.name for each in await Histories(database).detached() if each.parent == table
        ]
        lines += [
            f"  ALTER TABLE {qualified(database.schema, name)} {changes};"
            for name in (table, *beside)
        ]
    return "\n".join(lines)
