"""What Citus refuses on raw tables that it spreads over servers, as far as the text of a statement
tells it.
"""

import re

import pytest

from app.store.database.queries import WRITTEN_SCHEMA, list_files, load_queries

_RAW = rf"(\{{\{{(raw|alltime|daily|hourly|closed|open)\}}\}}|{WRITTEN_SCHEMA}\.raw_\w+|\"{WRITTEN_SCHEMA}\"\.raw_\w+)"
_STAGE = r"\{\{stage\}\}"
_STATEMENTS = {
    f"{file}.{name}": "\n".join(
        line for line in sql.splitlines() if not line.lstrip().startswith("--")
    )
    for file in list_files()
    for name, sql in load_queries(file, WRITTEN_SCHEMA).items()
}
_OF_RAW_TABLES = {name: sql for name, sql in _STATEMENTS.items() if re.search(_RAW, sql)}


def _broken_by(pattern: str, statements: dict[str, str]) -> list[str]:
    return [name for name, sql in statements.items() if re.search(pattern, sql)]


def test_the_statements_of_raw_tables_are_found() -> None:
    assert {
        "apply/writing/rows.insert_rows",
        "identity/repair.repair_null_ids",
        "detect/sweep.create_swept",
        "detect/account_lists.get_unknown_accounts",
    } <= _OF_RAW_TABLES.keys()


@pytest.mark.parametrize(
    ("pattern", "instead"),
    [
        (r"\bMERGE INTO\b", "INSERT and UPDATE"),
        (
            r"\bFOR (NO KEY )?(UPDATE|SHARE)\b",
            "the clause of WarehouseTable.locked, which is empty where the table is distributed",
        ),
        (rf"EXISTS \(\s*SELECT FROM {_RAW}", "a CTE of the rows that are there, by an inner join"),
        (
            rf"EXISTS \(\s*SELECT FROM {_STAGE}",
            "LEFT JOIN staging, and ask whether its key is NULL",
        ),
        (
            rf"(LEFT|RIGHT|FULL) JOIN {_RAW}",
            (
                "a CTE by an inner join first: the other side may lie on one server, and every row"
                " would go there"
            ),
        ),
        (
            r"RETURNING [^)]*\b(to_jsonb|now|clock_timestamp|age)\(",
            "the function over what is returned, in a CTE behind it",
        ),
        (rf"UPDATE {_RAW}[^;]*?\bctid\b", "key and shard as the row's place"),
    ],
)
def test_no_statement_of_a_raw_table_does_what_no_distributed_table_can(
    pattern: str, instead: str
) -> None:
    assert _broken_by(pattern, _OF_RAW_TABLES) == [], f"write {instead}"
