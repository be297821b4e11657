"""Advice on columns that cannot hold the API's values, with the ALTER for their owner."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.contract.caps import Caps
from app.domain.wording.counts import choose, counted
from app.store.database.pool import Database
from app.store.database.sql_text import identifier, qualified
from app.store.dba_script.misfits import TEXT_TYPE, Misfit, Samples, misfits
from app.store.schema.history import Histories
from app.store.schema.introspect import Survey
from app.store.schema.raw.columns import IS_TEXT, Column, Kind

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


@dataclass(frozen=True, slots=True)
class Advice:
    """Advice on one table; `loses_rows` as its misfits."""

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
    """Advice on each table with misfits.

    `knows_refused`: trade-recon is installed. `is_brief`: one sentence on documented types that
    lose no row.
    """
    sql = database.queries("dba_script/column_limits")
    refused = await _refused_texts(database, sql, survey) if knows_refused else []
    by_table = _by_table([*refused, *misfits(survey, samples, caps)])
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


def _by_table(found: Sequence[Misfit]) -> Mapping[str, Mapping[str, Misfit]]:
    """A column's first misfit that loses rows, or first, by table."""
    by_table: dict[str, dict[str, Misfit]] = defaultdict(dict)
    for misfit in sorted(found, key=lambda each: not each.loses_rows):
        by_table[misfit.table].setdefault(misfit.column, misfit)
    return by_table


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


async def _refused_texts(
    database: Database, sql: Mapping[str, str], survey: Survey
) -> list[Misfit]:
    """Misfits of set-aside rows with a text in a numeric key."""
    found = []
    for row in await database.fetch(sql["list_refused_texts"], IS_TEXT):
        facts = survey.tables.get(row["table_name"])
        stored = None if facts is None else facts.by_name.get(row["column_name"])
        if stored is None or Column(stored.name, "-", stored.base_type).kind is not Kind.NUMBER:
            # Widened since: the next run stores the rows.
            continue
        reason = (
            f"holds numbers alone, and {counted(row['rows'], 'row')} of"
            f" {counted(row['accounts'], 'account')} {choose(row['rows'], 'was', 'were')} set"
            " aside, since the API sends texts there"
        )
        found.append(
            Misfit(
                row["table_name"], stored.name, stored.base_type, TEXT_TYPE, reason, loses_rows=True
            )
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
            f"  {owner} may run this, while the table is not in use: it rewrites the"
            f" table{parts}{size} and blocks all access meanwhile. Then run"
            " `trade-recon migrate` again, and a run, which stores the rows that were set aside."
        )
        beside = [
            each.name for each in await Histories(database).detached() if each.parent == table
        ]
        lines += [
            f"  ALTER TABLE {qualified(database.schema, name)} {changes};"
            for name in (table, *beside)
        ]
    return "\n".join(lines)
