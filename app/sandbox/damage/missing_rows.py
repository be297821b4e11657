"""Damage: missing rows."""

import datetime as dt

from app.domain.wording.counts import counted
from app.sandbox.damage.victim import Hit, Victim, listed

_FIRST_HOUR = """
    h.account_id = $1 AND h.date = $2 AND h.hour = (
        SELECT min(i.hour) FROM SCHEMA.raw_metrics_hourly AS i
          WHERE i.account_id = h.account_id AND i.date = h.date AND i.num_trades > 0
    )
"""
_DELETE_FIRST_HOUR = "DELETE FROM SCHEMA.raw_metrics_hourly AS h WHERE FIRST_HOUR".replace(
    "FIRST_HOUR", _FIRST_HOUR
)


async def some_closed_missing(victim: Victim) -> Hit | None:
    """Closed trades of some dates."""
    days = await victim.dates(4)
    rows = await victim.execute(
        "DELETE FROM SCHEMA.raw_trades_closed WHERE account_id = $1 AND trade_date ="
        " ANY($2::date[])",
        days,
    )
    return Hit(f"{counted(rows, 'closed trade')} of {listed(days)} deleted") if rows else None


async def whole_days_missing(victim: Victim) -> Hit | None:
    """Some dates of all tables but alltime."""
    days = await victim.dates(2)
    rows = await _delete_days(victim, "raw_metrics_daily", days)
    rows += await _delete_days(victim, "raw_metrics_hourly", days)
    rows += await victim.execute(
        "DELETE FROM SCHEMA.raw_trades_closed WHERE account_id = $1 AND trade_date ="
        " ANY($2::date[])",
        days,
    )
    return (
        Hit(f"{listed(days)} are gone from daily, hourly and closed trades alike") if rows else None
    )


async def hourly_days_missing(victim: Victim) -> Hit | None:
    """Hourly rows of some dates."""
    # More dates than any sample would show: all must be found.
    days = await victim.dates(victim.chance.choice((2, 12)))
    return (
        Hit(f"hourly rows of {listed(days)} are gone")
        if await _delete_days(victim, "raw_metrics_hourly", days)
        else None
    )


async def daily_days_missing(victim: Victim) -> Hit | None:
    """Some daily rows."""
    days = await victim.dates(victim.chance.choice((2, 12)))
    return (
        Hit(f"daily rows of {listed(days)} are gone")
        if await _delete_days(victim, "raw_metrics_daily", days)
        else None
    )


async def hour_missing(victim: Victim) -> Hit | None:
    """One hourly row."""
    for day in await victim.dates(1, fewest_hours=2):
        await victim.execute(_DELETE_FIRST_HOUR, day)
        return Hit(f"an hourly row of {day} is gone")
    return None


async def alltime_missing(victim: Victim) -> Hit | None:
    """The alltime row."""
    rows = await victim.execute("DELETE FROM SCHEMA.raw_metrics_alltime WHERE account_id = $1")
    return Hit("the alltime row is gone") if rows else None


async def daily_missing(victim: Victim) -> Hit | None:
    """All daily rows."""
    rows = await victim.execute("DELETE FROM SCHEMA.raw_metrics_daily WHERE account_id = $1")
    return Hit(f"{counted(rows, 'daily row')} deleted: all of them") if rows else None


async def hourly_missing(victim: Victim) -> Hit | None:
    """All hourly rows."""
    rows = await victim.execute("DELETE FROM SCHEMA.raw_metrics_hourly WHERE account_id = $1")
    return Hit(f"{counted(rows, 'hourly row')} deleted: all of them") if rows else None


async def closed_missing(victim: Victim) -> Hit | None:
    """All closed trades."""
    rows = await victim.execute("DELETE FROM SCHEMA.raw_trades_closed WHERE account_id = $1")
    return Hit(f"{counted(rows, 'closed trade')} deleted: all of them") if rows else None


async def _delete_days(victim: Victim, table: str, days: list[dt.date]) -> int:
    statement = "DELETE FROM SCHEMA.RAW_TABLE WHERE account_id = $1 AND date = ANY($2::date[])"
    return await victim.execute(statement.replace("RAW_TABLE", table), days)
