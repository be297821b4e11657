"""The kinds of damage."""

from enum import StrEnum


class DamageKind(StrEnum):
    """Damage to an account."""

    NULL_CLOSED_IDS = "null_closed_ids"
    NULL_OPEN_IDS = "null_open_ids"
    ALLTIME_COUNT = "alltime_count"
    SOME_CLOSED_MISSING = "some_closed_missing"
    WHOLE_DAYS_MISSING = "whole_days_missing"
    HOURLY_DAYS_MISSING = "hourly_days_missing"
    DAILY_DAYS_MISSING = "daily_days_missing"
    HOUR_MISSING = "hour_missing"
    HOUR_COUNT = "hour_count"
    SURPLUS_TRADE = "surplus_trade"
    TRADE_ON_OTHER_DATE = "trade_on_other_date"
    TRADE_DOUBLED = "trade_doubled"
    WRONG_DAY = "wrong_day"
    MD5_IDS = "md5_ids"
    LOGIN_IDS = "login_ids"
    OTHER_ACCOUNTS_IDS = "other_accounts_ids"
    MD5_DAILY_ROWS = "md5_daily_rows"
    DRIFT_TRADE = "drift_trade"
    DRIFT_MONEY = "drift_money"
    # Last, so that where kinds share an account the finer ones still find their rows.
    ALLTIME_MISSING = "alltime_missing"
    DAILY_MISSING = "daily_missing"
    HOURLY_MISSING = "hourly_missing"
    CLOSED_MISSING = "closed_missing"
    SECOND_HOLDER = "second_holder"
    """A made-up account with the victim's key; no run heals it."""


class MoneyKind(StrEnum):
    """Visible only among many accounts."""

    DATED_MONEY = "dated_money"
