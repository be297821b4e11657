"""Damages a warehouse in every known way."""

import datetime as dt
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from app.domain.issues.codes import IssueCode
from app.sandbox.damage.drift import dated_money
from app.sandbox.damage.kinds import DamageKind, MoneyKind
from app.sandbox.damage.victim import Hit, Victim
from app.sandbox.damage.wreckers import WRECKERS
from app.sandbox.witness.raw_sql import REFUSALS, in_schema

_FEWEST_TRADES = 6
_FEWEST_DAYS = 3
_DAYS_THAT_MAY_MOVE = 2

CODES: Mapping[DamageKind | MoneyKind, IssueCode] = {
    DamageKind.NULL_CLOSED_IDS: IssueCode.NULL_ACCOUNT_ID_CLOSED_TRADES,
    DamageKind.NULL_OPEN_IDS: IssueCode.NULL_ACCOUNT_ID_OPEN_TRADES,
    DamageKind.ALLTIME_MISSING: IssueCode.MISSING_METRICS_TABLES,
    DamageKind.DAILY_MISSING: IssueCode.MISSING_METRICS_TABLES,
    DamageKind.HOURLY_MISSING: IssueCode.MISSING_METRICS_TABLES,
    DamageKind.CLOSED_MISSING: IssueCode.MISSING_TRADE_RECORDS,
    DamageKind.ALLTIME_COUNT: IssueCode.TRADE_COUNT_MISMATCH,
    DamageKind.SOME_CLOSED_MISSING: IssueCode.TRADE_COUNT_MISMATCH,
    DamageKind.WHOLE_DAYS_MISSING: IssueCode.TRADE_COUNT_MISMATCH,
    DamageKind.HOURLY_DAYS_MISSING: IssueCode.DAILY_WITHOUT_HOURLY,
    DamageKind.DAILY_DAYS_MISSING: IssueCode.HOURLY_WITHOUT_DAILY,
    DamageKind.HOUR_MISSING: IssueCode.HOURLY_DAILY_MISMATCH,
    DamageKind.HOUR_COUNT: IssueCode.HOURLY_DAILY_MISMATCH,
    DamageKind.SURPLUS_TRADE: IssueCode.TRADES_DAILY_MISMATCH,
    DamageKind.TRADE_ON_OTHER_DATE: IssueCode.TRADES_DAILY_MISMATCH,
    DamageKind.TRADE_DOUBLED: IssueCode.TRADES_DAILY_MISMATCH,
    DamageKind.WRONG_DAY: IssueCode.HOURLY_DAILY_MISMATCH,
    DamageKind.MD5_IDS: IssueCode.FOREIGN_ACCOUNT_ID,
    DamageKind.LOGIN_IDS: IssueCode.FOREIGN_ACCOUNT_ID,
    DamageKind.OTHER_ACCOUNTS_IDS: IssueCode.FOREIGN_ACCOUNT_ID,
    DamageKind.MD5_DAILY_ROWS: IssueCode.FOREIGN_ACCOUNT_ID,
    DamageKind.DRIFT_TRADE: IssueCode.UPSTREAM_DRIFT,
    DamageKind.DRIFT_MONEY: IssueCode.UPSTREAM_DRIFT,
    DamageKind.SECOND_HOLDER: IssueCode.AMBIGUOUS_IDENTITY,
    MoneyKind.DATED_MONEY: IssueCode.MONEY_MISMATCH,
}
"""The issue of each kind."""

_LASTING_KINDS = frozenset({DamageKind.SECOND_HOLDER})
HEALABLE_KINDS = frozenset(DamageKind) - _LASTING_KINDS
"""Kinds that a run can heal."""

_NEEDS_SOLE_KEY = frozenset(
    {
        DamageKind.NULL_CLOSED_IDS,
        DamageKind.NULL_OPEN_IDS,
        DamageKind.MD5_IDS,
        DamageKind.LOGIN_IDS,
        DamageKind.OTHER_ACCOUNTS_IDS,
        DamageKind.MD5_DAILY_ROWS,
        DamageKind.SECOND_HOLDER,
    }
)
"""They need a sole natural key."""


_ACCOUNTS_FOR_MONEY = 50
"""Others must teach the relations."""
_ADDS = frozenset(
    {DamageKind.SURPLUS_TRADE, DamageKind.TRADE_DOUBLED, DamageKind.TRADE_ON_OTHER_DATE}
)
_TAKES = frozenset(
    {
        DamageKind.CLOSED_MISSING,
        DamageKind.SOME_CLOSED_MISSING,
        DamageKind.WHOLE_DAYS_MISSING,
        DamageKind.TRADE_ON_OTHER_DATE,
        DamageKind.DRIFT_TRADE,
    }
)
"""Both on one date would cancel out."""


@dataclass(frozen=True, slots=True)
class Damage:
    """An issue `code`, and the accounts hit, the victim first."""

    kind: DamageKind | MoneyKind
    code: IssueCode
    account_ids: tuple[str, ...]
    description: str

    @property
    def is_healable(self) -> bool:
        """Whether a run can heal it."""
        return self.kind not in _LASTING_KINDS


_FIND_VICTIMS = """
    WITH daily AS (
        SELECT account_id, sum(num_trades) AS trades FROM SCHEMA.raw_metrics_daily
          GROUP BY account_id
    ), hourly AS (
        SELECT account_id, sum(num_trades) AS trades FROM SCHEMA.raw_metrics_hourly
          GROUP BY account_id
    ), closed AS (
        SELECT account_id, count(*)
          AS trades, count(DISTINCT trade_date) FILTER (WHERE trade_date < $1) AS days,
               count(*) FILTER (WHERE trade_date < $1) AS settled
        FROM SCHEMA.raw_trades_closed WHERE account_id IS NOT NULL GROUP BY account_id
    ), unowned AS (
        SELECT DISTINCT concat_ws('/', login, platform, broker) AS key FROM SCHEMA.raw_trades_closed
          WHERE account_id IS NULL
    ), keys AS (
        -- As text: the tables may hold the parts of a natural key in different types.
        SELECT account_id, concat_ws('/', login, platform, broker) AS key
          FROM SCHEMA.raw_metrics_alltime
        UNION SELECT account_id, concat_ws('/', login, platform, broker)
          FROM SCHEMA.raw_metrics_daily
    ), held AS (
        SELECT account_id, bool_and(holders = 1) AS sole, bool_or(unowned) AS unowned
        FROM (
            SELECT account_id, count(*) OVER (PARTITION BY key) AS holders, key IN (SELECT key
              FROM unowned) AS unowned FROM keys
        ) AS each_key
        GROUP BY account_id
    )
    SELECT alltime.account_id::text AS account_id, held.sole,
           EXISTS (SELECT FROM SCHEMA.raw_trades_open AS o
             WHERE o.account_id = alltime.account_id) AS has_open
    FROM SCHEMA.raw_metrics_alltime AS alltime
    JOIN daily USING (account_id) JOIN hourly USING (account_id) JOIN closed USING (account_id)
      JOIN held USING (account_id)
    WHERE alltime.num_trades = daily.trades AND daily.trades = hourly.trades
      AND hourly.trades = closed.trades
      AND closed.settled >= $2 AND closed.days >= $3 AND NOT held.unowned
    ORDER BY 1
"""
_SETTLED_BEFORE = (
    "SELECT coalesce(max(date)::date, 'epoch') - $1::integer FROM SCHEMA.raw_metrics_daily"
)


async def damage(
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    *,
    seed: int,
    kinds: Collection[DamageKind] = tuple(DamageKind),
    accounts_per_kind: int = 3,
    settled_before: dt.date | None = None,
) -> list[Damage]:
    """Damage `schema` in each of `kinds` on `accounts_per_kind` seeded accounts, in one
    transaction.

    Victims agree and have trades; each suffers one kind while they last, on dates before
    `settled_before`. Kinds without victims, or rejected by the table, are left out.
    """
    chance = random.Random(f"damage|{seed}")
    async with connection.transaction():
        # A deferred constraint would speak at the commit only, and undo everything.
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        before = settled_before or await connection.fetchval(
            in_schema(_SETTLED_BEFORE, schema), _DAYS_THAT_MAY_MOVE
        )
        found = await connection.fetch(
            in_schema(_FIND_VICTIMS, schema), before, _FEWEST_TRADES, _FEWEST_DAYS
        )
        wanted = [kind for kind in DamageKind if kind in kinds]
        done = []
        for kind, account_id in _assign(found, wanted, accounts_per_kind, chance):
            victim = Victim(
                connection, schema, account_id, before, random.Random(f"{seed}|{kind}|{account_id}")
            )
            hit = await _hit(kind, victim)
            if hit is not None:
                done.append(Damage(kind, CODES[kind], (account_id, *hit.others), hit.description))
        return done


async def damage_amounts(
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    *,
    seed: int,
    spared: Collection[str] = (),
    accounts: int = 3,
) -> list[Damage]:
    """Damage an amount of some accounts, at most one of fifty."""
    chance = random.Random(f"amounts|{seed}")
    async with connection.transaction():
        before = await connection.fetchval(in_schema(_SETTLED_BEFORE, schema), _DAYS_THAT_MAY_MOVE)
        known = await connection.fetchval(
            in_schema("SELECT count(*) FROM SCHEMA.raw_metrics_alltime", schema)
        )
        found = await connection.fetch(
            in_schema(_FIND_VICTIMS, schema), before, _FEWEST_TRADES, _FEWEST_DAYS
        )
        whole = [record["account_id"] for record in found if record["account_id"] not in spared]
        done = []
        for account_id in chance.sample(
            whole, min(accounts, known // _ACCOUNTS_FOR_MONEY, len(whole))
        ):
            own = random.Random(f"{seed}|money|{account_id}")
            hit = await dated_money(Victim(connection, schema, account_id, before, own))
            if hit is not None:
                kind = MoneyKind.DATED_MONEY
                done.append(Damage(kind, CODES[kind], (account_id,), hit.description))
        return done


async def _hit(kind: DamageKind, victim: Victim) -> Hit | None:
    try:
        async with victim.connection.transaction():
            return await WRECKERS[kind](victim)
    except REFUSALS:
        # An adopted table's own rules may make this damage impossible there.
        return None


def _assign(
    found: Sequence[asyncpg.Record],
    kinds: Sequence[DamageKind],
    breadth: int,
    chance: random.Random,
) -> Iterator[tuple[DamageKind, str]]:
    """Kinds of damage for accounts in turn; no account gets two that cancel out."""
    turns = list(found)
    hit: dict[str, set[DamageKind]] = defaultdict(set)
    chance.shuffle(turns)
    width = min(breadth, max(1, len(turns) // max(1, len(kinds))))
    for kind in sorted(kinds, key=lambda kind: kind is not DamageKind.SECOND_HOLDER):
        fits, against = (
            _fitting(kind),
            (_TAKES if kind in _ADDS else frozenset()) | (_ADDS if kind in _TAKES else frozenset()),
        )
        for record in [
            record for record in turns if fits(record) and not hit[record["account_id"]] & against
        ][:width]:
            hit[record["account_id"]].add(kind)
            turns.remove(record)
            if kind is not DamageKind.SECOND_HOLDER:
                turns.append(record)
            yield kind, record["account_id"]


def _fitting(kind: DamageKind) -> Callable[[asyncpg.Record], bool]:
    if kind is DamageKind.NULL_OPEN_IDS:
        return lambda record: bool(record["sole"] and record["has_open"])
    if kind in _NEEDS_SOLE_KEY:
        return lambda record: bool(record["sole"])
    return lambda _: True
