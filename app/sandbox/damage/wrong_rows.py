"""Damage: wrong counts, values and dates."""

import datetime as dt
from collections.abc import Mapping

from app.domain.contract.tables import Endpoint
from app.domain.wording.counts import counted
from app.sandbox.damage.missing_rows import _FIRST_HOUR
from app.sandbox.damage.victim import Hit, Victim, listed
from app.sandbox.witness.raw_sql import name_list, quoted
from app.sandbox.witness.raw_tables import RawTable

_RAISE_FIRST_HOUR = """
UPDATE SCHEMA.raw_metrics_hourly AS h SET num_trades = num_trades + 2 WHERE FIRST_HOUR
""".replace("FIRST_HOUR", _FIRST_HOUR)
_RAISE_COUNT = (
    "UPDATE SCHEMA.raw_metrics_alltime SET num_trades = num_trades + $2::integer WHERE account_id"
    " = $1"
)


async def alltime_count(victim: Victim) -> Hit | None:
    """Raise alltime's count."""
    added = victim.chance.randint(1, 9)
    rows = await victim.execute(_RAISE_COUNT, added)
    return Hit(f"alltime counts {counted(added, 'trade')} too many") if rows else None


async def hour_count(victim: Victim) -> Hit | None:
    """Raise one hourly count."""
    for day in await victim.dates(1):
        await victim.execute(_RAISE_FIRST_HOUR, day)
        return Hit(f"an hourly row of {day} counts two trades too many")
    return None


async def surplus_trade(victim: Victim) -> Hit | None:
    """Store a made-up closed trade."""
    table = await victim.table(Endpoint.CLOSED)
    for day in await victim.dates(1):
        await _copy_trade(
            victim,
            table,
            day,
            {column: _made_up(column, table) for column in ("position", "ticket")},
        )
        return Hit(f"a made-up closed trade stands on {day}")
    return None


def _made_up(column: str, table: RawTable) -> str:
    """Expression for a made-up key part: unused, and short enough for its column."""
    made = (
        f"concat('9', {column}, '9')"
        if table.types[column] == "text"
        else f"concat('9', right({column}::text, 6))"
    )
    return f"{made}::{table.types[column]}"


async def _copy_trade(
    victim: Victim, table: RawTable, day: dt.date, changes: Mapping[str, str], *values: object
) -> None:
    """`changes` are expressions over $3 and following."""
    columns = table.api_columns
    copied = ", ".join(changes.get(column, quoted(column)) for column in columns)
    await victim.execute(
        f"INSERT INTO {table.target} ({name_list(columns)}) SELECT {copied} FROM {table.target} "  # noqa: S608 (quoted names of our own)
        "WHERE account_id = $1 AND trade_date = $2 ORDER BY ticket LIMIT 1",
        day,
        *values,
    )


async def trade_on_other_date(victim: Victim) -> Hit | None:
    """Move a closed trade to another date."""
    days = await victim.dates(2)
    if len(days) < len(("from", "to")):
        return None
    await victim.execute(
        "UPDATE SCHEMA.raw_trades_closed SET trade_date = $3 WHERE account_id = $1 AND trade_date ="
        " $2 AND (position, ticket) = (SELECT position, ticket FROM SCHEMA.raw_trades_closed WHERE"
        " account_id = $1 AND trade_date = $2 ORDER BY ticket LIMIT 1)",
        *days,
    )
    return Hit(f"a closed trade of {days[0]} is filed under {days[1]}")


async def trade_doubled(victim: Victim) -> Hit | None:
    """Store a trade on a second date."""
    days = await victim.dates(2)
    if len(days) < len(("from", "to")):
        return None
    await _copy_trade(
        victim, await victim.table(Endpoint.CLOSED), days[0], {"trade_date": "$3::date"}, days[1]
    )
    return Hit(f"a closed trade of {days[0]} stands under {days[1]} too")


async def wrong_day(victim: Victim) -> Hit | None:
    """Put wrong values into daily rows."""
    days = await victim.dates(2)
    table = await victim.table(Endpoint.DAILY)
    wrong = ", ".join(
        f"{column} = {value}" for column, value in _WRONG_VALUES.items() if column in table.types
    )
    rows = await victim.execute(
        f"UPDATE {table.target} SET {wrong}"  # noqa: S608 (constants)
        " WHERE account_id = $1 AND date = ANY($2::date[])",
        days,
    )
    return Hit(f"daily rows of {listed(days)} hold wrong values") if rows else None


_WRONG_VALUES = {
    "num_trades": "num_trades + 1",
    "net_profit": "coalesce(net_profit, 0) + 100",
    "mean_profit": "NULL",
    "country": "'XX'",
}
