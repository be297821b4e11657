"""Whose a natural key was on a date, as upstream's metrics rows tell."""

import datetime as dt

from app.sandbox.witness.identity import Columns, Holders

KEY = ("1", "5", "3")


def row(account_id: str, day: int | None = None, broker: int = 3) -> Columns:
    return {
        "account_id": account_id,
        "login": "1",
        "platform": 5,
        "broker": broker,
        **({"date": f"2025-06-{day:02d}"} if day else {}),
    }


def on(day: int) -> dt.date:
    return dt.date(2025, 6, day)


def test_an_account_holds_its_key_from_its_first_daily_row_to_today() -> None:
    holders = Holders([row("a")], [row("a", 3), row("a", 9)])
    assert [holders.owner(KEY, on(day)) for day in (2, 3, 5, 9, 30)] == [None, "a", "a", "a", "a"]


def test_a_recycled_key_belongs_to_each_account_in_its_own_time() -> None:
    holders = Holders([row("a"), row("b")], [row("a", 3), row("a", 5), row("b", 9)])
    assert [holders.owner(KEY, on(day)) for day in (4, 6, 9, 20)] == ["a", "a", "b", "b"]


def test_a_key_that_two_accounts_hold_at_once_has_no_owner_then() -> None:
    holders = Holders([row("a"), row("b")], [row("a", 3), row("a", 9), row("b", 5), row("b", 7)])
    assert holders.owner(KEY, on(4)) == "a"
    assert holders.candidates(KEY, on(6)) == {"a", "b"}
    assert holders.owner(KEY, on(20)) is None


def test_an_account_that_moved_leaves_its_old_key() -> None:
    holders = Holders([row("a", broker=4)], [row("a", 3), row("a", 6, broker=4)])
    assert holders.owner(KEY, on(3)) == "a"
    assert holders.owner(KEY, on(20)) is None
    assert holders.owner(("1", "5", "4"), on(20)) == "a"


def test_an_account_without_daily_rows_holds_its_key_from_its_first_trade_on() -> None:
    holders = Holders([{**row("a"), "first_trade_date": "2025-06-03"}], [])
    assert [holders.owner(KEY, on(day)) for day in (2, 3, 30)] == [None, "a", "a"]


def test_an_account_of_which_no_first_day_is_known_surely_held_its_key_on_no_day_of_the_past() -> (
    None
):
    assert Holders([row("a")], []).owner(KEY, on(1)) is None
