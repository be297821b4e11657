"""The function of each kind of damage."""

from collections.abc import Awaitable, Callable, Mapping

from app.sandbox.damage.drift import drift_money, drift_trade
from app.sandbox.damage.kinds import DamageKind
from app.sandbox.damage.missing_rows import (
    alltime_missing,
    closed_missing,
    daily_days_missing,
    daily_missing,
    hour_missing,
    hourly_days_missing,
    hourly_missing,
    some_closed_missing,
    whole_days_missing,
)
from app.sandbox.damage.victim import Hit, Victim
from app.sandbox.damage.wrong_ids import (
    login_ids,
    md5_daily_rows,
    md5_ids,
    null_closed_ids,
    null_open_ids,
    other_accounts_ids,
    second_holder,
)
from app.sandbox.damage.wrong_rows import (
    alltime_count,
    hour_count,
    surplus_trade,
    trade_doubled,
    trade_on_other_date,
    wrong_day,
)

WRECKERS: Mapping[DamageKind, Callable[[Victim], Awaitable[Hit | None]]] = {
    DamageKind.NULL_CLOSED_IDS: null_closed_ids,
    DamageKind.NULL_OPEN_IDS: null_open_ids,
    DamageKind.ALLTIME_COUNT: alltime_count,
    DamageKind.SOME_CLOSED_MISSING: some_closed_missing,
    DamageKind.WHOLE_DAYS_MISSING: whole_days_missing,
    DamageKind.HOURLY_DAYS_MISSING: hourly_days_missing,
    DamageKind.DAILY_DAYS_MISSING: daily_days_missing,
    DamageKind.HOUR_MISSING: hour_missing,
    DamageKind.HOUR_COUNT: hour_count,
    DamageKind.SURPLUS_TRADE: surplus_trade,
    DamageKind.TRADE_ON_OTHER_DATE: trade_on_other_date,
    DamageKind.TRADE_DOUBLED: trade_doubled,
    DamageKind.WRONG_DAY: wrong_day,
    DamageKind.MD5_IDS: md5_ids,
    DamageKind.LOGIN_IDS: login_ids,
    DamageKind.OTHER_ACCOUNTS_IDS: other_accounts_ids,
    DamageKind.MD5_DAILY_ROWS: md5_daily_rows,
    DamageKind.DRIFT_TRADE: drift_trade,
    DamageKind.DRIFT_MONEY: drift_money,
    DamageKind.ALLTIME_MISSING: alltime_missing,
    DamageKind.DAILY_MISSING: daily_missing,
    DamageKind.HOURLY_MISSING: hourly_missing,
    DamageKind.CLOSED_MISSING: closed_missing,
    DamageKind.SECOND_HOLDER: second_holder,
}
"""They return None without anything to damage."""
