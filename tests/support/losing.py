"""Upstreams that lose, lower or blank what they know of accounts, and the warehouse's rows before
and after.
"""

import datetime as dt
import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from app.domain.contract.tables import TABLES, Endpoint
from app.sandbox.world.trades import Row, Trade
from app.sandbox.world.world import World
from tests.integration.engine.test_truth import edit
from tests.support.clock import TODAY

if TYPE_CHECKING:
    import asyncpg

    from app.sandbox.world.rows import Record

    Connection = asyncpg.Connection[asyncpg.Record]

SETTLED = TODAY - dt.timedelta(days=3)
METRICS = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY)
RAW = {TABLES[endpoint].name: TABLES[endpoint] for endpoint in (*METRICS, Endpoint.CLOSED)}
_FIGURES = ("num_trades", "net_profit", "total_lots", "profit", "lots")
_BLANKED: Mapping[str, Row] = {
    "no count": {"numTrades": None},
    "no money": {"netProfit": None, "totalLots": None},
    "zero": {"netProfit": 0, "totalLots": 0},
}
_COPIED = (
    "SELECT table_name, (row_data - 'ingestion_timestamp')::text AS content FROM recon_removed_rows"
)


def settled_trades(world: World, account_id: str) -> list[Trade]:
    """The account's closed trades of dates that do not move any more."""
    return sorted(
        (
            trade
            for trade in world.trades(account_id)
            if not trade.is_open and trade.trade_date <= SETTLED
        ),
        key=str,
    )


@dataclass(frozen=True, slots=True)
class Sickness:
    """What upstream does to some accounts; `is_alike`: each level says the same."""

    name: str
    account_ids: tuple[str, ...]
    is_alike: bool


def _change_all_levels(world: World, account_id: str, chance: random.Random) -> str:
    trades = settled_trades(world, account_id)
    match chance.choice(("half", "some", "most", "days", "forgotten", "old dates")):
        case "half":
            lost, name = trades[::2], "loses half"
        case "some":
            lost, name = chance.sample(trades, min(2, len(trades))), "loses two trades"
        case "most":
            lost, name = trades[1:], "loses all but one"
        case "days":
            days = {trade.trade_date for trade in trades}
            gone = set(chance.sample(sorted(days), min(2, len(days))))
            lost, name = [trade for trade in trades if trade.trade_date in gone], "loses two dates"
        case "forgotten":
            world.forget(account_id)
            return "forgets the account"
        case _:
            world.forget(account_id, SETTLED - dt.timedelta(days=chance.randint(3, 20)))
            return "forgets old dates"
    for trade in lost:
        world.remove_trade(trade)
    return name


def _change_one_level(world: World, account_id: str, endpoint: Endpoint, how: str) -> None:
    if how == "drop":
        kept: Sequence[Record] = world.records(endpoint, [account_id])[::2]
        world._records[endpoint, account_id] = list(kept)
        world._selections.clear()
        return

    def change(row: Row) -> None:
        if how == "halve":
            row.update(numTrades=int(float(str(row["numTrades"]))) // 2)
        else:
            row.update(_BLANKED[how])

    edit(
        world,
        endpoint,
        account_id,
        (
            change
            if endpoint is not Endpoint.CLOSED
            else lambda row: row.update(profit=None, lots=None)
        ),
    )
    world._selections.clear()


def make_sick(world: World, account_ids: Sequence[str], chance: random.Random) -> Sickness:
    """Draw what upstream loses of the accounts: at all levels alike, at one level, or at each of
    the metrics.
    """
    known = [account_id for account_id in account_ids if account_id in world.account_ids]
    if not known:
        return Sickness("is well", (), is_alike=True)
    if chance.random() < 0.5:
        state = chance.getrandbits(32)
        # The same for each of them, as a fault of upstream is.
        names = {
            _change_all_levels(world, account_id, random.Random(state)) for account_id in known
        }
        return Sickness(" and ".join(sorted(names)), tuple(known), is_alike=True)
    endpoints = chance.choice(
        ([Endpoint.ALLTIME], [Endpoint.DAILY], [Endpoint.HOURLY], [Endpoint.CLOSED], list(METRICS))
    )
    how = chance.choice(("drop", "halve", *_BLANKED))
    for account_id in known:
        for endpoint in endpoints:
            _change_one_level(world, account_id, endpoint, how)
    return Sickness(f"{how} in {', '.join(endpoints)}", tuple(known), is_alike=False)


@dataclass(frozen=True, slots=True)
class Stored:
    """All rows of the four tables that a run fills: by table and content, and by table and key."""

    contents: Counter[tuple[str, str]] = field(default_factory=Counter)
    rows: Mapping[tuple[str, str], Mapping[str, object]] = field(default_factory=dict)

    def lost(self, after: "Stored", without: Collection[str] = ()) -> dict[str, int]:
        """How many rows `after` lacks, or has with fewer trades or with empty figures, by account;
        not of the accounts `without`.
        """
        lost: Counter[str] = Counter()
        for place, row in self.rows.items():
            now = after.rows.get(place)
            if row["account_id"] not in without and (now is None or _is_less(row, now)):
                lost[str(row["account_id"])] += 1
        return dict(lost)

    def count(self, table: str, account_id: str) -> int:
        """How many trades a table counts for an account."""
        rows = [
            row
            for (name, _), row in self.rows.items()
            if name == table and row["account_id"] == account_id
        ]
        return (
            len(rows)
            if table == TABLES[Endpoint.CLOSED].name
            else sum(int(str(row["num_trades"] or 0)) for row in rows)
        )


def _is_less(row: Mapping[str, object], now: Mapping[str, object]) -> bool:
    blanked = any(row.get(name) and not now.get(name) for name in _FIGURES)
    return blanked or int(str(now.get("num_trades") or 0)) < int(str(row.get("num_trades") or 0))


async def stored(connection: "Connection") -> Stored:
    """The warehouse's rows as they stand.

    Metrics have the natural key as their place: an account's id may be put right.
    """
    found = Stored(Counter(), rows := {})
    for name, table in RAW.items():
        key = [column for column in table.key if column != "account_id"]
        columns = list(dict.fromkeys(["login", "platform", "broker", *key]))
        for row in await connection.fetch(
            f"SELECT (to_jsonb(t) - 'ingestion_timestamp')::text AS content FROM {name} AS t"
        ):
            values = msgspec.json.decode(row["content"])
            found.contents[name, row["content"]] += 1
            rows[name, "/".join(str(values[column]) for column in columns)] = values
    return found


async def copies(connection: "Connection") -> set[tuple[str, str]]:
    """What copies of rows are kept."""
    return {(row["table_name"], row["content"]) for row in await connection.fetch(_COPIED)}
