"""Seeded values of metrics fields apart from trades, by account, date and hour. No I/O."""

import datetime as dt
import random
from dataclasses import dataclass
from decimal import Decimal

from app.domain.contract.tables import TABLES, Endpoint
from app.sandbox.world.trades import Account, Row, stable_hash

_COUNTRIES = ("DE", "US", "GB", "FR", "CZ", "IN", "BR", None)
_BALANCES = (10_000, 25_000, 50_000, 100_000, 200_000)
_ONE_IN_NULL = 6
_RISK_PREFIXES = (
    "meanTP",
    "medianTP",
    "stdTP",
    "minTP",
    "maxTP",
    "cvTP",
    "meanSL",
    "medianSL",
    "stdSL",
    "minSL",
    "maxSL",
    "cvSL",
    "minTPvsSL",
    "maxTPvsSL",
    "cvTPvsSL",
)
_RISK_SUFFIXES = ("DrawDown", "InDD", "OpenPos", "Margin", "TPvsSL")
_COUNTS = ("maxNumTradesInDD", "medianNumOpenPos", "maxNumOpenPos")
_DECIMAL_PLACES = {
    "numeric(18,2)": 100,
    "numeric(10,2)": 100,
    "numeric(18,6)": 1_000_000,
    "numeric(10,6)": 1_000_000,
    "integer": 1,
}


@dataclass(frozen=True, slots=True)
class _Guess:
    """A field's values: from 0 to `top` in steps of 1 / `steps`."""

    name: str
    steps: int
    top: int


def _guesses() -> tuple[_Guess, ...]:
    found = []
    for field in TABLES[Endpoint.HOURLY].fields:
        name = field.api_name
        if name in _COUNTS:
            found.append(_Guess(name, 1, 40))
        elif name.startswith(_RISK_PREFIXES) or name.endswith(_RISK_SUFFIXES):
            found.append(
                _Guess(name, _DECIMAL_PLACES[field.sql_type], 1 if name.startswith("rel") else 900)
            )
    return tuple(found)


_GUESSES = _guesses()


@dataclass(frozen=True, slots=True)
class Profile:
    """An account's constants."""

    plan: str
    trader: str | None
    status: int
    type: int
    phase: int
    price_stream: int
    country: str | None
    starting_balance: int


def profile_of(account: Account, seed: int) -> Profile:
    """The account's profile by `seed`."""
    mark = stable_hash("profile", seed, account.account_id)
    return Profile(
        plan=f"plan-{mark % 9}",
        trader=None if mark % 11 == 0 else f"trader-{mark % 100_000:05d}",
        status=mark // 3 % 3 + 1,
        type=mark // 5 % 2 + 1,
        phase=mark // 7 % 4 + 1,
        price_stream=mark // 11 % 5 + 1,
        country=_COUNTRIES[mark // 13 % len(_COUNTRIES)],
        starting_balance=_BALANCES[mark // 17 % len(_BALANCES)],
    )


def plausible(
    account: Account, profile: Profile, seed: int, day: dt.date | None, hour: int | None
) -> Row:
    """Values within their columns' range."""
    chance = random.Random(stable_hash("plausible", seed, account.account_id, day, hour))
    draw = chance.random
    start = profile.starting_balance
    row: Row = {
        "planId": profile.plan,
        "trader": profile.trader,
        "status": profile.status,
        "type": profile.type,
        "phase": profile.phase,
        "price_stream": profile.price_stream,
        "country": profile.country,
        "days_to_next_payout": int(draw() * 31),
        "todays_payouts": 0,
        "approved_payouts": int(draw() * 50_000) / 100,
        "pending_payouts": None if draw() < 1 / _ONE_IN_NULL else int(draw() * 50_000) / 100,
        "startingBalance": Decimal(start),
        "priorDaysBalance": int((0.9 + draw() / 5) * start * 100) / 100,
        "priorDaysEquity": int((0.9 + draw() / 5) * start * 100) / 100,
        "currentBalance": int((0.9 + draw() / 5) * start * 100) / 100,
        "currentEquity": int((0.9 + draw() / 5) * start * 100) / 100,
    }
    # The steps are drawn as whole numbers, since dividing once gives the shortest decimal and costs
    # less than rounding.
    for guess in _GUESSES:
        share = draw() * (_ONE_IN_NULL / (_ONE_IN_NULL - 1))
        row[guess.name] = (
            None
            if share >= 1
            else (
                int(share * guess.top * guess.steps) / guess.steps
                if guess.steps > 1
                else int(share * guess.top)
            )
        )
    return row
