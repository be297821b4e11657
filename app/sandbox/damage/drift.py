"""Damage that only upstream shows."""

import datetime as dt

import asyncpg

from app.domain.contract.tables import Endpoint
from app.sandbox.damage.victim import Hit, Victim

_CHANGE_MONEY = (
    "UPDATE SCHEMA.raw_metrics_alltime SET COLUMN = coalesce(COLUMN, 0) + $2::text::numeric WHERE"
    " account_id = $1"
)


async def drift_trade(victim: Victim) -> Hit | None:
    """Remove a trade from every level."""
    days = await victim.dates(1)
    found = await victim.fetch(_SOME_TRADE, days)
    for trade in found:
        day, hour = trade["trade_date"], _utc_hour(trade["close_time"])
        await victim.execute(
            "DELETE FROM SCHEMA.raw_trades_closed WHERE account_id = $1 AND trade_date = $2 AND"
            " position = $3 AND ticket = $4",
            day,
            trade["position"],
            trade["ticket"],
        )
        await _lower(victim, Endpoint.HOURLY, trade, " AND date = $2 AND hour = $3", day, hour)
        await _lower(victim, Endpoint.DAILY, trade, " AND date = $2", day)
        await _lower(victim, Endpoint.ALLTIME, trade, "")
        return Hit(f"a trade of {day} is missing from closed trades and from every count")
    return None


def _utc_hour(moment: dt.datetime) -> int:
    return (moment.astimezone(dt.UTC) if moment.tzinfo else moment).hour


async def _lower(
    victim: Victim, endpoint: Endpoint, trade: asyncpg.Record, where: str, *values: object
) -> None:
    table = await victim.table(endpoint)
    first = 2 + len(values)
    amounts = {"net_profit": trade["profit"] or 0, "total_lots": trade["lots"] or 0}
    there = [column for column in amounts if column in table.types]
    lowered = [
        f"{column} = {column} - ${number}::text::numeric"
        for number, column in enumerate(there, start=first)
    ]
    await victim.execute(
        f"UPDATE {table.target} SET {', '.join(['num_trades = num_trades - 1', *lowered])} WHERE"  # noqa: S608 (constants)
        f" account_id = $1{where}",
        *values,
        *(str(amounts[column]) for column in there),
    )


_SOME_TRADE = """
    SELECT trade_date, position, ticket, profit, lots, close_time
    FROM SCHEMA.raw_trades_closed
    WHERE account_id = $1 AND trade_date = ANY($2::date[])
    ORDER BY ticket
    LIMIT 1
"""


async def drift_money(victim: Victim) -> Hit | None:
    """Change an amount of alltime."""
    table = await victim.table(Endpoint.ALLTIME)
    figures = [
        figure
        for figure in (("net_profit", "12.34"), ("total_lots", "0.5"))
        if figure[0] in table.types
    ]
    if not figures:
        return None
    column, change = victim.chance.choice(figures)
    return (
        Hit(f"alltime {column} is off by {change}")
        if await victim.execute(_CHANGE_MONEY.replace("COLUMN", column), change)
        else None
    )


_DATED_MONEY = (
    (Endpoint.DAILY, "net_profit"),
    (Endpoint.DAILY, "total_lots"),
    (Endpoint.HOURLY, "net_profit"),
    (Endpoint.HOURLY, "total_lots"),
    (Endpoint.CLOSED, "profit"),
    (Endpoint.CLOSED, "lots"),
)


async def dated_money(victim: Victim) -> Hit | None:
    """Change an amount of one date."""
    days = await victim.dates(1)
    endpoint, column = victim.chance.choice(_DATED_MONEY)
    table = await victim.table(endpoint)
    if not days or column not in table.types:
        return None
    change = victim.chance.choice(("100", "-12.34", "3.5"))
    is_trade = endpoint.is_trades
    row = "ticket" if is_trade else "hour" if endpoint is Endpoint.HOURLY else "account_id"
    day = "trade_date" if is_trade else "date"
    where = f"account_id = $1 AND {day} = $2" + ("" if is_trade else " AND num_trades > 0")
    rows = await victim.execute(
        f"UPDATE {table.target} SET {column} = coalesce({column}, 0) + $3::text::numeric"  # noqa: S608 (names of our own)
        f" WHERE {where} AND {row} = (SELECT min({row}) FROM {table.target} WHERE {where})",
        days[0],
        change,
    )
    return (
        Hit(f"{column} of {endpoint.name.lower()} is off by {change} on {days[0]}")
        if rows
        else None
    )
