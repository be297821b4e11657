"""Answers of the API, made before the clock starts: real rows of the sandbox under keys of their
own, page by page.
"""

import datetime as dt
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product

import msgspec

from app.domain.contract.tables import PAGE_ROWS, TABLES, Endpoint, Request
from app.domain.ids import AccountId, Login
from app.sandbox.world.trades import Row
from app.sandbox.world.world import World
from app.store.apply.fingerprints import Slice

FIRST_DAY = dt.date(2026, 1, 1)
_DAYS = 60
_TEMPLATES = 1000
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_LEFT_OUT_SHARE = 0.3
_NEVER_LEFT_OUT = frozenset(
    {
        "accountId",
        "login",
        "mt_version",
        "platform",
        "broker",
        "date",
        "hour",
        "tradeDate",
        "position",
        "ticket",
    }
)


class _Listed(msgspec.Struct):
    data: list[dict[str, msgspec.Raw]]


class _Body(msgspec.Struct, rename={"data": "Data"}):
    """The rows of an answer."""

    data: _Listed


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the benchmark's own, with its natural key."""

    account_id: str
    login: str
    platform: int = 5
    broker: int = 7


@dataclass(frozen=True, slots=True)
class Prepared:
    """One read of the API: what is asked, for whom, and the body of each page by the rows that it
    skips.
    """

    request: Request
    proven: Slice
    accounts: tuple[Account, ...]
    bodies: dict[int, bytes]
    rows: int


def templates(endpoint: Endpoint) -> list[Row]:
    """Rows of a made-up world of busy accounts, those with the most filled columns."""
    world = World.generate(
        8,
        seed=1,
        today=dt.date(2026, 11, 1),
        trades_per_account=4000,
        days=_DAYS,
        contradictory=False,
    )
    return sorted(
        world.rows(endpoint), key=lambda row: sum(value is None for value in row.values())
    )[:_TEMPLATES]


def accounts_named(prefix: str, count: int) -> tuple[Account, ...]:
    """So many accounts with logins of their own; `prefix` keeps those of one case apart from those
    of another.
    """
    return tuple(
        Account(f"{prefix}-{number:06}", f"{prefix}{number:06}") for number in range(count)
    )


def prepare(
    endpoint: Endpoint, rows: Sequence[Row], accounts: Sequence[Account], pages: int
) -> Prepared:
    """A read that fills `pages` pages, the last but for a row: of hours of days (metrics), or of
    closed trades.
    """
    count = pages * (PAGE_ROWS - 1)
    made = list(islice(_keyed(endpoint, rows, accounts, -(-count // len(accounts))), count))
    bodies = {0 if not page else page * (PAGE_ROWS - 1): b"" for page in range(pages)}
    for skip in bodies:
        bodies[skip] = body_of(made[skip : skip + PAGE_ROWS], count, skip)
    # As a plan asks: for the dates that have rows.
    last = _DAYS if endpoint.is_trades else min(_DAYS, -(-count // len(accounts) // 24))
    days = tuple(FIRST_DAY + dt.timedelta(days=number) for number in range(last))
    ids = tuple(AccountId(account.account_id) for account in accounts)
    if endpoint.is_trades:
        request = Request(
            endpoint,
            logins=tuple(Login(account.login) for account in accounts),
            date_from=days[0],
            date_to=days[-1],
        )
        return Prepared(
            request, Slice(endpoint, ids, (days[0], days[-1])), tuple(accounts), bodies, count
        )
    return Prepared(
        Request(endpoint, account_ids=ids, dates=days),
        Slice(endpoint, ids, days),
        tuple(accounts),
        bodies,
        count,
    )


def thinned(read: Prepared, sets: int, draw: random.Random) -> Prepared:
    """The read, with each row less the fields of one of so many sets, drawn at random; with one
    set, less none.
    """
    fields = [
        field.api_name
        for field in TABLES[read.request.endpoint].fields
        if field.api_name not in _NEVER_LEFT_OUT
    ]
    chosen = [
        frozenset(name for name in fields if sets > 1 and draw.random() < _LEFT_OUT_SHARE)
        for _ in range(sets)
    ]
    bodies: dict[int, bytes] = {}
    last: bytes | None = None
    for skip, body in read.bodies.items():
        rows = msgspec.json.decode(body, type=_Body).data.data
        thin: list[bytes] = []
        for row in rows:
            left_out = draw.choice(chosen)
            thin.append(
                _ENCODER.encode(
                    {name: value for name, value in row.items() if name not in left_out}
                )
            )
        # A page begins with the last row of the one before.
        bodies[skip] = body_of(thin if last is None else [last, *thin[1:]], read.rows, skip)
        last = thin[-1]
    return replace(read, bodies=bodies)


def body_of(rows: Sequence[bytes], total: int, skip: int) -> bytes:
    """The body of one answer."""
    listed = b",".join(rows)
    return (
        b'{"Status":"ok","Data":{"data":[%b],"skip":%d,"limit":%d,"count":%d,"total":%d},"Time":12}'
        % (
            listed,
            skip,
            PAGE_ROWS,
            len(rows),
            total,
        )
    )


def _keyed(
    endpoint: Endpoint, rows: Sequence[Row], accounts: Sequence[Account], each: int
) -> Iterator[bytes]:
    """The rows, as JSON, under keys of the accounts, in the order of their key."""
    number = 0
    for account in accounts:
        for place in islice(
            (
                product(range(_DAYS), range(24))
                if not endpoint.is_trades
                else product(range(each), [0])
            ),
            each,
        ):
            row = dict(rows[number % len(rows)])
            number += 1
            row.update(
                trade_key(account, place[0]) if endpoint.is_trades else _hour_key(account, *place)
            )
            yield _ENCODER.encode(row)


def _hour_key(account: Account, day: int, hour: int) -> Row:
    date = FIRST_DAY + dt.timedelta(days=day)
    return {
        "accountId": account.account_id,
        "login": account.login,
        "mt_version": account.platform,
        "broker": account.broker,
        "date": f"{date}T00:00:00.000Z",
        "hour": hour,
        "datetime": f"{date}T{hour:02}:00:00.000Z",
    }


def trade_key(account: Account, number: int) -> Row:
    """The key of the account's trade with this number: some on each of the days."""
    return {
        "login": account.login,
        "platform": account.platform,
        "broker": account.broker,
        "position": f"{number:08}",
        "ticket": f"{number:08}",
        "tradeDate": f"{FIRST_DAY + dt.timedelta(days=number * 7 % _DAYS)}T00:00:00.000Z",
    }
