"""The fields are the vendor's, and a request says exactly its filter."""

import csv
import datetime as dt
from pathlib import Path

import pytest

from app.domain.contract.tables import TABLES, Endpoint, Request
from app.domain.ids import AccountId, Login

_FIELDS = Path(__file__).parents[5] / "shared" / "upstream" / "fields.csv"
_TYPES = {"double": "DOUBLE PRECISION"}


def test_the_fields_are_those_of_the_published_list() -> None:
    if not _FIELDS.exists():
        pytest.skip("the vendor's field list is not part of the project")
    with _FIELDS.open(encoding="utf-8") as file:
        published = {
            (
                row["endpoint"],
                row["api_field"],
                row["table"],
                row["column"],
                row["sql_type"].upper().replace("DECIMAL", "NUMERIC").replace(" ", ""),
            )
            for row in csv.DictReader(file)
        }
    ours = {
        (
            endpoint.value,
            field.api_name.removeprefix("-"),
            table.name,
            field.column,
            _TYPES.get(field.sql_type, field.sql_type).upper().replace(" ", ""),
        )
        for endpoint, table in TABLES.items()
        for field in (*table.fields, *table.own_columns)
    }
    assert ours == published


def test_every_key_column_is_a_field_of_its_table_and_a_missing_column_is_an_error() -> None:
    for table in TABLES.values():
        assert {field.column for field in table.key_fields} == set(table.key)
    with pytest.raises(KeyError):
        TABLES[Endpoint.OPEN].field("close_price")


def test_a_request_says_its_filter_in_the_words_of_the_api() -> None:
    day = dt.date(2026, 3, 9)
    assert Request(
        Endpoint.HOURLY, account_ids=(AccountId("a"), AccountId("b")), dates=(day,)
    ).params() == {
        "accountIds": "a,b",
        "dates": "20260309",
    }
    assert Request(
        Endpoint.CLOSED, logins=(Login("007"),), date_from=day, date_to=day
    ).params() == {
        "logins": "007",
        "trade-date-from": "20260309",
        "trade-date-to": "20260309",
    }
    assert Request(Endpoint.ALLTIME).params() == {}
