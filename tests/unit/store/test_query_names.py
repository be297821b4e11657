"""Queries are found by name: a name that a file gives twice would silently stand for the second
one.
"""

from collections import Counter

from app.store.database.queries import SQL_DIRECTORY


def test_no_file_of_queries_gives_a_name_twice() -> None:
    for path in (SQL_DIRECTORY / "queries").glob("*.sql"):
        names = Counter(
            line
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.startswith("-- name: ")
        )
        assert [name for name, times in names.items() if times > 1] == [], path.name
