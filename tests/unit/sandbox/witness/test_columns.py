"""API rows become warehouse rows by the rules of truth."""

from decimal import Decimal

import pytest

from app.domain.contract.tables import TABLES, Endpoint
from app.sandbox.witness.columns import RowReader, rows_for_columns
from app.sandbox.world.trades import Value


def read(name: str, value: Value, endpoint: Endpoint = Endpoint.HOURLY) -> Value:
    (found,) = rows_for_columns(endpoint, {name: value}).values()
    return found


@pytest.mark.parametrize(
    "sent", ["2025-06-01T00:00:00.000Z", "2025-06-01", "20250601", "2025-06-01T23:00:00-05:00"]
)
def test_only_the_date_part_of_a_date_counts(sent: str) -> None:
    assert read("date", sent) == "2025-06-01"


def test_timestamps_become_utc_without_a_zone() -> None:
    assert (
        read("closeTime", "2025-06-01T23:00:00.250-05:00", Endpoint.CLOSED)
        == "2025-06-02T04:00:00.250000"
    )
    assert read("closeTime", None, Endpoint.CLOSED) is None


@pytest.mark.parametrize(
    ("name", "sent", "kept"),
    [
        ("numTrades", "7", 7),
        ("numTrades", Decimal("7.0"), 7),
        ("numTrades", Decimal("2.5"), 3),
        ("numTrades", 2**31, None),
        ("numTrades", -(2**31), -(2**31)),
        ("numTrades", Decimal("1E+999999"), None),
        ("numTrades", "many", None),
        ("successRate", Decimal("999.994"), Decimal("999.994")),
        ("successRate", Decimal("999.995"), None),
        ("successRate", "NaN", None),
        ("netProfit", "12.50", Decimal("12.50")),
        ("meanRet", "1e400", None),
        ("meanRet", "1e-400", None),
        ("login", "007", "007"),
        ("country", None, None),
    ],
)
def test_a_number_outside_its_columns_range_becomes_null_and_others_are_kept(
    name: str, sent: Value, kept: Value
) -> None:
    assert read(name, sent) == kept


def test_a_ticket_sent_as_a_number_is_text() -> None:
    assert read("ticket", 12345678901234567890, Endpoint.CLOSED) == "12345678901234567890"


def test_fields_that_were_not_sent_are_left_out() -> None:
    assert rows_for_columns(Endpoint.DAILY, {"accountId": "a", "unheard": 1}) == {"account_id": "a"}


@pytest.mark.parametrize(
    ("column", "sql_type", "sent", "kept"),
    [
        ("num_trades", "smallint", 2**15 - 1, 2**15 - 1),
        ("num_trades", "smallint", 2**15, None),
        ("num_trades", "bigint", str(2**31), 2**31),
        ("num_trades", "bigint", 2**63, None),
        ("login", "bigint", "00407", 407),
        ("login", "bigint", "me", None),
        ("platform", "text", 5, "5"),
        ("net_profit", "numeric", "1e30", Decimal("1e30")),
        ("net_profit", "real", "3.5e38", None),
        ("net_profit", "double precision", "3.5e38", Decimal("3.5e38")),
        (
            "datetime",
            "timestamp with time zone",
            "2025-06-01T23:00:00-05:00",
            "2025-06-02T04:00:00+00:00",
        ),
        ("datetime", "date", "2025-06-01T23:00:00-05:00", "2025-06-01"),
    ],
)
def test_a_value_is_read_as_the_column_of_an_adopted_table_holds_it(
    column: str, sql_type: str, sent: Value, kept: Value
) -> None:
    field = TABLES[Endpoint.HOURLY].field(column)
    assert RowReader(Endpoint.HOURLY, {column: sql_type}).read(
        {field.api_name: sent, "unheard": 1}
    ) == {column: kept}


def test_a_word_that_an_enum_does_not_have_becomes_null() -> None:
    reader = RowReader(Endpoint.CLOSED, {"side": "trade_side"}, {"side": {"Buy", "Sell"}})
    assert [reader.read({"side": side})["side"] for side in ("Buy", "Hold", None)] == [
        "Buy",
        None,
        None,
    ]
