"""RECON_HISTORY_FROM: a date, whole months before the current one, or what the partitions hold."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.history import HistoryFrom
from app.errors import ConfigurationError

TODAY = dt.date(2026, 3, 10)


@pytest.mark.parametrize(
    ("said", "first"),
    [
        ("2025-01-01", dt.date(2025, 1, 1)),
        (" 2026-03-10 ", TODAY),
        ("0", dt.date(2026, 3, 1)),
        ("1 month", dt.date(2026, 2, 1)),
        ("3months", dt.date(2025, 12, 1)),
        ("18", dt.date(2024, 9, 1)),
        ("18 MONTHS", dt.date(2024, 9, 1)),
    ],
)
def test_a_date_is_itself_and_months_are_whole_ones_before_the_current_one(
    said: str, first: dt.date
) -> None:
    assert HistoryFrom.read(said).first_day(TODAY) == first


def test_auto_is_where_the_partitions_begin_and_nothing_without_any() -> None:
    assert HistoryFrom.read("Auto").first_day(TODAY, dt.date(2025, 7, 1)) == dt.date(2025, 7, 1)
    assert HistoryFrom.read("auto").first_day(TODAY) is None


@pytest.mark.parametrize(
    "said",
    [
        "",
        "-1",
        "18 weeks",
        "2025-13-01",
        "20250101",
        "01.02.2025",
        "2025-1",
        "1201",
        "12 month s",
        "none",
        "9" * 400,
    ],
)
def test_what_is_none_of_these_is_refused_with_what_it_may_be(said: str) -> None:
    with pytest.raises(
        ConfigurationError,
        match="a date such as 2025-01-01, a number of months such as 18, or auto",
    ):
        HistoryFrom.read(said)


def test_a_history_that_begins_after_today_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="after today"):
        HistoryFrom.read("2026-03-11").first_day(TODAY)


@given(st.dates(dt.date(1980, 1, 1), dt.date(2200, 1, 1)), st.integers(0, 600))
def test_months_go_on_by_one_when_a_month_ends(today: dt.date, months: int) -> None:
    setting = HistoryFrom(months=months)
    first = setting.first_day(today)
    assert first is not None
    assert first.day == 1
    assert (today.year - first.year) * 12 + today.month - first.month == months
    assert HistoryFrom.read(str(setting)) == setting
