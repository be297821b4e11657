"""Upstreams for adopted warehouses: small perfect worlds, with the few trades that a warehouse of
that shape cannot hold.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from app.sandbox.world.generation import Plan, generate
from app.sandbox.world.rows import Record
from app.sandbox.world.trades import Account, NaturalKey, Row, Trade
from app.sandbox.world.world import World
from tests.support.engine import TODAY

ACCOUNTS = 26
DAYS = 50
_PART = 7
"""Which of its trades an account closes in two parts."""


def world(
    *,
    accounts: int = ACCOUNTS,
    days: int = DAYS,
    in_parts: Collection[str] = (),
    numeric_logins: bool = False,
    change: Callable[[Trade], Trade] = lambda trade: trade,
    keep: Callable[[Trade], bool] = lambda _: True,
) -> World:
    """A world that never contradicts itself, in which only the accounts `in_parts` close one
    position in two parts on one day.

    `change` has a last word on each trade, `keep` on whether it is there at all. With
    `numeric_logins` no login has leading zeros.
    """
    made = generate(Plan(accounts, 21, TODAY, 12, days), None)
    trades = [
        change(trade)
        for trade in made.trades
        if keep(trade) and (trade.is_open or trade.ticket.endswith("0"))
    ]
    trades += [_second_part(trades, account_id) for account_id in in_parts]
    if numeric_logins:
        return World(
            map(_numbered, made.accounts),
            [replace(trade, key=_number(trade.key)) for trade in trades],
            seed=21,
            today=TODAY,
        )
    return World(made.accounts, trades, seed=21, today=TODAY)


def edit(records: Iterable[Record], change: Callable[[Row], object]) -> None:
    """Let upstream send something else for records of its own from now on."""
    for record in records:
        change(record.row)
        record._encoded = None


def _second_part(trades: Iterable[Trade], account_id: str) -> Trade:
    mine = sorted(
        (trade for trade in trades if trade.account_id == account_id and not trade.is_open),
        key=lambda trade: trade.trade_key,
    )
    return replace(mine[_PART], ticket=str(int(mine[_PART].ticket) + 1))


def _numbered(account: Account) -> Account:
    return replace(
        account,
        tenures=tuple(replace(tenure, key=_number(tenure.key)) for tenure in account.tenures),
    )


def _number(key: NaturalKey) -> NaturalKey:
    return key._replace(login=str(int(key.login)))
