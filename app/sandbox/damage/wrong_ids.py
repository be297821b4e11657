"""Damage: missing or foreign account ids."""

from app.domain.contract.tables import Endpoint
from app.domain.wording.counts import counted
from app.sandbox.damage.victim import Hit, Victim, listed
from app.sandbox.witness.raw_sql import name_list

_SET_MD5 = (
    "UPDATE SCHEMA.RAW_TABLE SET account_id = md5(concat_ws('|', login, platform, broker)) WHERE"
    " account_id = $1"
)


async def null_closed_ids(victim: Victim) -> Hit | None:
    """NULL in closed trades."""
    share = victim.chance.choice((2, 1))
    rows = await victim.execute(
        "UPDATE SCHEMA.raw_trades_closed SET account_id = NULL WHERE account_id = $1 AND"
        " hashtext(ticket::text) % $2::integer = 0",
        share,
    )
    return Hit(f"{counted(rows, 'closed trade')} without an account id") if rows else None


async def null_open_ids(victim: Victim) -> Hit | None:
    """NULL in open trades."""
    rows = await victim.execute(
        "UPDATE SCHEMA.raw_trades_open SET account_id = NULL WHERE account_id = $1"
    )
    return Hit(f"{counted(rows, 'open trade')} without an account id") if rows else None


async def md5_ids(victim: Victim) -> Hit | None:
    """MD5 placeholders in trades."""
    rows = await victim.execute(_SET_MD5.replace("RAW_TABLE", "raw_trades_closed"))
    rows += await victim.execute(_SET_MD5.replace("RAW_TABLE", "raw_trades_open"))
    return Hit(f"{counted(rows, 'trade')} with an MD5 placeholder as account id") if rows else None


async def login_ids(victim: Victim) -> Hit | None:
    """The login in closed trades."""
    rows = await victim.execute(
        "UPDATE SCHEMA.raw_trades_closed SET account_id = login::text WHERE account_id = $1 AND"
        " trade_date = ANY($2::date[])",
        await victim.dates(3),
    )
    return Hit(f"{counted(rows, 'closed trade')} with the login as account id") if rows else None


async def other_accounts_ids(victim: Victim) -> Hit | None:
    """Another account's id in closed trades."""
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


async def md5_daily_rows(victim: Victim) -> Hit | None:
    """MD5 placeholders in daily rows."""
    days = await victim.dates(3)
    rows = await victim.execute(
        _SET_MD5.replace("RAW_TABLE", "raw_metrics_daily") + " AND date = ANY($2::date[])", days
    )
    return (
        Hit(f"daily rows of {listed(days)} carry an MD5 placeholder as their account id")
        if rows
        else None
    )


async def second_holder(victim: Victim) -> Hit | None:
    """A made-up account with the same natural key."""
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
