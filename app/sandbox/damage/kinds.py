"""The single ways of damaging one account in the raw tables.

Values are parameters, the schema's name is quoted.
"""

import datetime as dt
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import asyncpg

from app.domain.contract.tables import Endpoint
from app.domain.wording.counts import counted
from app.sandbox.witness.raw_sql import in_schema, name_list, quoted
from app.sandbox.witness.raw_tables import RawTable, read_table


class DamageKind(StrEnum):
    """What is done to an account."""

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
    """A made-up account holds the victim's natural key: nothing can be healed, it can only be
    shown.
    """


class MoneyKind(StrEnum):
    """What is done to an amount, which only other accounts give away: in a small warehouse nothing
    tells which amounts agree.
    """

    DATED_MONEY = "dated_money"


@dataclass(frozen=True, slots=True)
class Hit:
    """What was done, as a sentence, and the other accounts that it touched."""

    description: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Victim:
    """The account to damage. Single dates lie before `settled_before`; `chance` chooses."""

    connection: "asyncpg.Connection[asyncpg.Record]"
    schema: str
    account_id: str
    settled_before: dt.date
    chance: random.Random

    async def execute(self, statement: str, *values: object) -> int:
        """Run `statement` with the account id as $1 and `values` behind it; gives the rows that it
        changed.
        """
        status: str = await self.connection.execute(
            in_schema(statement, self.schema), self.account_id, *values
        )
        return int(status.rpartition(" ")[2])

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """The rows of `statement`, with the account id as $1 and `values` behind it."""
        return await self.connection.fetch(
            in_schema(statement, self.schema), self.account_id, *values
        )

    async def table(self, endpoint: Endpoint) -> RawTable:
        """The raw table of `endpoint`, as it stands in this warehouse."""
        return await read_table(self.connection, self.schema, endpoint)

    async def dates(self, most: int, *, fewest_hours: int = 1) -> list[dt.date]:
        """Some dates on which all levels have trades, `most` at most, each with trades in
        `fewest_hours` hours or more.
        """
        rows = await self.fetch(_DATES, self.settled_before, fewest_hours)
        days = [row["date"] for row in rows]
        return sorted(self.chance.sample(days, min(most, len(days))))


_DATES = """
    SELECT date
    FROM SCHEMA.raw_metrics_daily AS d
    WHERE account_id = $1 AND date < $2 AND num_trades > 0
      AND EXISTS (SELECT FROM SCHEMA.raw_trades_closed AS c
        WHERE c.account_id = d.account_id AND c.trade_date = d.date)
      AND $3 <= (
          SELECT count(*) FROM SCHEMA.raw_metrics_hourly AS h
            WHERE h.account_id = d.account_id AND h.date = d.date AND h.num_trades > 0
      )
    ORDER BY date
"""
_FIRST_HOUR = """
    h.account_id = $1 AND h.date = $2 AND h.hour = (
        SELECT min(i.hour) FROM SCHEMA.raw_metrics_hourly AS i
          WHERE i.account_id = h.account_id AND i.date = h.date AND i.num_trades > 0
    )
"""
_DELETE_FIRST_HOUR = "DELETE FROM SCHEMA.raw_metrics_hourly AS h WHERE FIRST_HOUR".replace(
    "FIRST_HOUR", _FIRST_HOUR
)
_RAISE_FIRST_HOUR = """
UPDATE SCHEMA.raw_metrics_hourly AS h SET num_trades = num_trades + 2 WHERE FIRST_HOUR
""".replace("FIRST_HOUR", _FIRST_HOUR)
_CHANGE_MONEY = (
    "UPDATE SCHEMA.raw_metrics_alltime SET COLUMN = coalesce(COLUMN, 0) + $2::text::numeric WHERE"
    " account_id = $1"
)
_SET_MD5 = (
    "UPDATE SCHEMA.RAW_TABLE SET account_id = md5(concat_ws('|', login, platform, broker)) WHERE"
    " account_id = $1"
)
_RAISE_COUNT = (
    "UPDATE SCHEMA.raw_metrics_alltime SET num_trades = num_trades + $2::integer WHERE account_id"
    " = $1"
)


async def _null_closed_ids(victim: Victim) -> Hit | None:
    share = victim.chance.choice((2, 1))
    rows = await victim.execute(
        "UPDATE SCHEMA.raw_trades_closed SET account_id = NULL WHERE account_id = $1 AND"
        " hashtext(ticket::text) % $2::integer = 0",
        share,
    )
    return Hit(f"{counted(rows, 'closed trade')} without an account id") if rows else None


async def _null_open_ids(victim: Victim) -> Hit | None:
    rows = await victim.execute(
        "UPDATE SCHEMA.raw_trades_open SET account_id = NULL WHERE account_id = $1"
    )
    return Hit(f"{counted(rows, 'open trade')} without an account id") if rows else None


async def _alltime_count(victim: Victim) -> Hit | None:
    added = victim.chance.randint(1, 9)
    rows = await victim.execute(_RAISE_COUNT, added)
    return Hit(f"alltime counts {counted(added, 'trade')} too many") if rows else None


async def _some_closed_missing(victim: Victim) -> Hit | None:
    days = await victim.dates(4)
    rows = await victim.execute(
        "DELETE FROM SCHEMA.raw_trades_closed WHERE account_id = $1 AND trade_date ="
        " ANY($2::date[])",
        days,
    )
    return Hit(f"{counted(rows, 'closed trade')} of {_listed(days)} deleted") if rows else None


async def _whole_days_missing(victim: Victim) -> Hit | None:
    days = await victim.dates(2)
    rows = await _delete_days(victim, "raw_metrics_daily", days)
    rows += await _delete_days(victim, "raw_metrics_hourly", days)
    rows += await victim.execute(
        "DELETE FROM SCHEMA.raw_trades_closed WHERE account_id = $1 AND trade_date ="
        " ANY($2::date[])",
        days,
    )
    return (
        Hit(f"{_listed(days)} are gone from daily, hourly and closed trades alike")
        if rows
        else None
    )


async def _hourly_days_missing(victim: Victim) -> Hit | None:
    # More dates than any sample would show: all must be found.
    days = await victim.dates(victim.chance.choice((2, 12)))
    return (
        Hit(f"hourly rows of {_listed(days)} are gone")
        if await _delete_days(victim, "raw_metrics_hourly", days)
        else None
    )


async def _daily_days_missing(victim: Victim) -> Hit | None:
    days = await victim.dates(victim.chance.choice((2, 12)))
    return (
        Hit(f"daily rows of {_listed(days)} are gone")
        if await _delete_days(victim, "raw_metrics_daily", days)
        else None
    )


async def _hour_missing(victim: Victim) -> Hit | None:
    for day in await victim.dates(1, fewest_hours=2):
        await victim.execute(_DELETE_FIRST_HOUR, day)
        return Hit(f"an hourly row of {day} is gone")
    return None


async def _hour_count(victim: Victim) -> Hit | None:
    for day in await victim.dates(1):
        await victim.execute(_RAISE_FIRST_HOUR, day)
        return Hit(f"an hourly row of {day} counts two trades too many")
    return None


async def _surplus_trade(victim: Victim) -> Hit | None:
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
    """An identifier that no other trade has: as a number shorter than upstream's, so that it fits
    any column.
    """
    made = (
        f"concat('9', {column}, '9')"
        if table.types[column] == "text"
        else f"concat('9', right({column}::text, 6))"
    )
    return f"{made}::{table.types[column]}"


async def _copy_trade(
    victim: Victim, table: RawTable, day: dt.date, changes: Mapping[str, str], *values: object
) -> None:
    """Store a closed trade of `day` once more, some columns changed by expressions, whose `values`
    are $3 and so on.
    """
    columns = table.api_columns
    copied = ", ".join(changes.get(column, quoted(column)) for column in columns)
    await victim.execute(
        f"INSERT INTO {table.target} ({name_list(columns)}) SELECT {copied} FROM {table.target} "  # noqa: S608 (quoted names of our own)
        "WHERE account_id = $1 AND trade_date = $2 ORDER BY ticket LIMIT 1",
        day,
        *values,
    )


async def _trade_on_other_date(victim: Victim) -> Hit | None:
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


async def _trade_doubled(victim: Victim) -> Hit | None:
    days = await victim.dates(2)
    if len(days) < len(("from", "to")):
        return None
    await _copy_trade(
        victim, await victim.table(Endpoint.CLOSED), days[0], {"trade_date": "$3::date"}, days[1]
    )
    return Hit(f"a closed trade of {days[0]} stands under {days[1]} too")


async def _wrong_day(victim: Victim) -> Hit | None:
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
    return Hit(f"daily rows of {_listed(days)} hold wrong values") if rows else None


_WRONG_VALUES = {
    "num_trades": "num_trades + 1",
    "net_profit": "coalesce(net_profit, 0) + 100",
    "mean_profit": "NULL",
    "country": "'XX'",
}


async def _md5_ids(victim: Victim) -> Hit | None:
    rows = await victim.execute(_SET_MD5.replace("RAW_TABLE", "raw_trades_closed"))
    rows += await victim.execute(_SET_MD5.replace("RAW_TABLE", "raw_trades_open"))
    return Hit(f"{counted(rows, 'trade')} with an MD5 placeholder as account id") if rows else None


async def _login_ids(victim: Victim) -> Hit | None:
    rows = await victim.execute(
        "UPDATE SCHEMA.raw_trades_closed SET account_id = login::text WHERE account_id = $1 AND"
        " trade_date = ANY($2::date[])",
        await victim.dates(3),
    )
    return Hit(f"{counted(rows, 'closed trade')} with the login as account id") if rows else None


async def _other_accounts_ids(victim: Victim) -> Hit | None:
    others = await victim.fetch(_OTHER_ACCOUNTS)
    if not others:
        return None
    other: str = victim.chance.choice(others)["account_id"]
    rows = await victim.execute(
        "UPDATE SCHEMA.raw_trades_closed SET account_id = $2 WHERE account_id = $1 AND trade_date ="
        " ANY($3::date[])",
        other,
        await victim.dates(2),
    )
    return (
        Hit(f"{counted(rows, 'closed trade')} with the id of {other}", (other,)) if rows else None
    )


_OTHER_ACCOUNTS = """
    SELECT a.account_id::text AS account_id
    FROM SCHEMA.raw_metrics_alltime AS a
    WHERE a.account_id <> $1 AND a.num_trades > 0
      AND NOT EXISTS (
          SELECT FROM SCHEMA.raw_metrics_alltime AS o
          WHERE o.account_id <> a.account_id AND (o.login, o.platform, o.broker) IS NOT DISTINCT
            FROM (a.login, a.platform, a.broker)
      )
    ORDER BY 1
"""


async def _md5_daily_rows(victim: Victim) -> Hit | None:
    days = await victim.dates(3)
    rows = await victim.execute(
        _SET_MD5.replace("RAW_TABLE", "raw_metrics_daily") + " AND date = ANY($2::date[])", days
    )
    return (
        Hit(f"daily rows of {_listed(days)} carry an MD5 placeholder as their account id")
        if rows
        else None
    )


async def _drift_trade(victim: Victim) -> Hit | None:
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
    """Take one trade out of the figures of a metrics row, as far as the table has them."""
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


async def _drift_money(victim: Victim) -> Hit | None:
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
    """Change one amount of a row of a date."""
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


async def _alltime_missing(victim: Victim) -> Hit | None:
    rows = await victim.execute("DELETE FROM SCHEMA.raw_metrics_alltime WHERE account_id = $1")
    return Hit("the alltime row is gone") if rows else None


async def _daily_missing(victim: Victim) -> Hit | None:
    rows = await victim.execute("DELETE FROM SCHEMA.raw_metrics_daily WHERE account_id = $1")
    return Hit(f"{counted(rows, 'daily row')} deleted: all of them") if rows else None


async def _hourly_missing(victim: Victim) -> Hit | None:
    rows = await victim.execute("DELETE FROM SCHEMA.raw_metrics_hourly WHERE account_id = $1")
    return Hit(f"{counted(rows, 'hourly row')} deleted: all of them") if rows else None


async def _closed_missing(victim: Victim) -> Hit | None:
    rows = await victim.execute("DELETE FROM SCHEMA.raw_trades_closed WHERE account_id = $1")
    return Hit(f"{counted(rows, 'closed trade')} deleted: all of them") if rows else None


async def _second_holder(victim: Victim) -> Hit | None:
    made_up = f"{victim.account_id}-double"
    table = await victim.table(Endpoint.ALLTIME)
    copied = name_list(column for column in _HELD_COLUMNS if column in table.types)
    rows = await victim.execute(
        f"INSERT INTO {table.target} (account_id, {copied}) SELECT $2, {copied} FROM {table.target}"  # noqa: S608 (constants)
        " WHERE account_id = $1",
        made_up,
    )
    return (
        Hit(f"the made-up account {made_up} has the same natural key", (made_up,)) if rows else None
    )


_HELD_COLUMNS = ("login", "platform", "broker", "num_trades", "first_trade_date")


async def _delete_days(victim: Victim, table: str, days: list[dt.date]) -> int:
    statement = "DELETE FROM SCHEMA.RAW_TABLE WHERE account_id = $1 AND date = ANY($2::date[])"
    return await victim.execute(statement.replace("RAW_TABLE", table), days)


def _listed(days: list[dt.date]) -> str:
    return ", ".join(day.isoformat() for day in days)


WRECKERS: Mapping[DamageKind, Callable[[Victim], Awaitable[Hit | None]]] = {
    DamageKind.NULL_CLOSED_IDS: _null_closed_ids,
    DamageKind.NULL_OPEN_IDS: _null_open_ids,
    DamageKind.ALLTIME_COUNT: _alltime_count,
    DamageKind.SOME_CLOSED_MISSING: _some_closed_missing,
    DamageKind.WHOLE_DAYS_MISSING: _whole_days_missing,
    DamageKind.HOURLY_DAYS_MISSING: _hourly_days_missing,
    DamageKind.DAILY_DAYS_MISSING: _daily_days_missing,
    DamageKind.HOUR_MISSING: _hour_missing,
    DamageKind.HOUR_COUNT: _hour_count,
    DamageKind.SURPLUS_TRADE: _surplus_trade,
    DamageKind.TRADE_ON_OTHER_DATE: _trade_on_other_date,
    DamageKind.TRADE_DOUBLED: _trade_doubled,
    DamageKind.WRONG_DAY: _wrong_day,
    DamageKind.MD5_IDS: _md5_ids,
    DamageKind.LOGIN_IDS: _login_ids,
    DamageKind.OTHER_ACCOUNTS_IDS: _other_accounts_ids,
    DamageKind.MD5_DAILY_ROWS: _md5_daily_rows,
    DamageKind.DRIFT_TRADE: _drift_trade,
    DamageKind.DRIFT_MONEY: _drift_money,
    DamageKind.ALLTIME_MISSING: _alltime_missing,
    DamageKind.DAILY_MISSING: _daily_missing,
    DamageKind.HOURLY_MISSING: _hourly_missing,
    DamageKind.CLOSED_MISSING: _closed_missing,
    DamageKind.SECOND_HOLDER: _second_holder,
}
"""What each kind does; None means that the account has nothing for it to damage."""
