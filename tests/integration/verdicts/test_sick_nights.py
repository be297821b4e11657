"""Nights with a sick upstream, drawn at random: nothing is lost on dates that still move, nothing
is called healed that is not.
"""

import datetime as dt
import json
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.issues.codes import COUNT_CODES
from app.domain.states import RunKind
from app.sandbox.damage.damage import HEALABLE_KINDS, damage
from app.sandbox.damage.kinds import DamageKind
from app.sandbox.witness.comparison import Comparison, compare
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.support.engine import difference, run
from tests.support.nights import NOW, TODAY, closed_on, lose, service_at, small_world, traders
from tests.support.sick import (
    Answer,
    Ask,
    Query,
    Sick,
    caps_rows,
    clips_lists,
    clips_ranges,
    leaves_out_the_end,
    serving,
)

if TYPE_CHECKING:
    import asyncpg

    from app.sandbox.world.trades import Trade

    Connection = asyncpg.Connection[asyncpg.Record]

_DAY = dt.timedelta(days=1)
_NIGHTS = 2
_TABLES = {
    "raw_metrics_daily": "date",
    "raw_metrics_hourly": "date",
    "raw_trades_closed": "trade_date",
}
_COUNTS = """
SELECT 'raw_metrics_daily' AS name, account_id, date::text AS day, sum(num_trades)::bigint AS trades FROM raw_metrics_daily GROUP BY 2, 3
UNION ALL SELECT 'raw_metrics_hourly', account_id, date::text, sum(num_trades)::bigint FROM raw_metrics_hourly GROUP BY 2, 3
UNION ALL
SELECT 'raw_trades_closed', account_id, trade_date::text, count(*) FROM raw_trades_closed WHERE account_id IS NOT NULL GROUP BY 2, 3
UNION ALL SELECT 'raw_metrics_alltime', account_id, NULL, num_trades FROM raw_metrics_alltime
"""
_Counts = Mapping[tuple[str, str, str | None], int]


class _Lag:
    """The replica that answers has not heard of today's last trades of some accounts, alike at all
    levels.
    """

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self.lost: list[Trade] = []
        for account_id in chance.sample(traders(world), 4):
            self.lost += closed_on(world, account_id, TODAY)[-chance.randint(1, 4) :]
        lose(world, self.lost)

    def catch_up(self) -> None:
        self._world.add_trades(self.lost)


def _contradicts(chance: random.Random) -> Answer:
    """Hourly rows of some accounts count one trade more than all else."""
    digit = f"{chance.randint(0, 9)}"

    def answer(path: str, _: Query, data: dict[str, Any]) -> None:
        for row in data["data"]:
            if path.endswith("metrics/hourly") and str(row["accountId"]).endswith(digit):
                row["numTrades"] = int(float(row["numTrades"])) + 1

    return answer


def _forgets(chance: random.Random) -> Ask:
    """It answers without all dates before one of the last weeks."""
    first = TODAY - dt.timedelta(days=chance.randint(8, 25))

    def ask(_: str, query: Query) -> Query:
        if "dates" in query:
            query["dates"] = (
                ",".join(day for day in query["dates"].split(",") if day >= f"{first:%Y%m%d}")
                or "19990101"
            )
        if "trade-date-from" in query:
            query["trade-date-from"] = max(query["trade-date-from"], f"{first:%Y%m%d}")
        if "trade-date" in query:
            query["trade-date"] = (
                query["trade-date"] if query["trade-date"] >= f"{first:%Y%m%d}" else "19990101"
            )
        return query

    return ask


def _sickness(chance: random.Random) -> tuple[Ask | None, Answer | None]:
    """One way of answering wrong, drawn."""
    return chance.choice(
        [
            (None, None),
            (clips_ranges(chance.randint(1, 12)), None),
            (clips_lists(chance.randint(1, 6)), None),
            (leaves_out_the_end, None),
            (
                None,
                caps_rows(
                    {
                        "metrics/daily": chance.randint(6, 20),
                        "metrics/hourly": chance.randint(12, 40),
                    }
                ),
            ),
            (None, _contradicts(chance)),
            (_forgets(chance), None),
        ]
    )


async def _difference(warehouse: Database, world: World) -> Comparison:
    async with warehouse.connect() as connection:
        return await compare(
            {endpoint: world.rows(endpoint) for endpoint in Endpoint},
            connection,
            warehouse.schema,
            sample=10_000,
        )


async def _counts(connection: "Connection") -> _Counts:
    return {
        (row["name"], row["account_id"], row["day"]): row["trades"]
        for row in await connection.fetch(_COUNTS)
    }


async def _harm(warehouse: Database, world: World, chance: random.Random, *, is_late: bool) -> None:
    kinds = chance.sample(
        sorted(HEALABLE_KINDS - ({DamageKind.ALLTIME_MISSING} if is_late else set())), 5
    )
    async with warehouse.connect() as connection:
        await damage(
            connection,
            warehouse.schema,
            seed=chance.randint(0, 999),
            kinds=kinds,
            accounts_per_kind=1,
        )
        for account_id in chance.sample(traders(world), 3):
            table, column = chance.choice(sorted(_TABLES.items()))
            await connection.execute(
                f"DELETE FROM {table} WHERE account_id = $1 AND {column} = $2", account_id, TODAY
            )


async def _healed_since(
    connection: "Connection", begun: dt.datetime
) -> list[tuple[str, str, set[str]]]:
    """Account, code and dates of the issues about counts that were closed as healed."""
    rows = await connection.fetch(
        "SELECT account_id, type, evidence FROM recon_issue_history WHERE closed_at >= $1 AND"
        " closing_evidence ->> 'closed_as' = 'healed'",
        begun,
    )
    return [
        (row["account_id"], row["type"], set(json.loads(row["evidence"]).get("missing_dates", ())))
        for row in rows
        if row["type"] in COUNT_CODES
    ]


def _assert_grown(before: _Counts, after: _Counts, truth: _Counts, moving_from: dt.date) -> None:
    """On dates that still move nothing fell; nor did alltime below what is true."""
    for (table, account_id, day), count in before.items():
        now = after.get((table, account_id, day), 0)
        if day is not None and day >= f"{moving_from}":
            assert now >= count, (table, account_id, day)
        elif day is None:
            assert now >= min(count, truth[table, account_id, day]), account_id


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4, 106])
async def test_any_sick_upstream_loses_nothing_and_calls_nothing_healed_that_is_not_and_all_heals_when_it_is_well(
    warehouse: Database, seed: int
) -> None:
    chance = random.Random(seed)
    world, well = small_world(), small_world()
    async with warehouse.connect() as connection:
        truth = await _counts(connection)
        sickness = _sickness(chance)
        lag = _Lag(world, chance) if sickness == (None, None) or chance.random() < 0.3 else None
        await _harm(warehouse, well, chance, is_late=lag is not None)
        sick = Sick(world, *sickness)
        async with serving(sick, world) as sandbox:
            for night in range(_NIGHTS):
                now = NOW + night * dt.timedelta(hours=20)
                begun = await connection.fetchval("SELECT clock_timestamp()")
                async with service_at(warehouse, sandbox, now) as service:
                    await service.maintain()
                    before = await _counts(connection)
                    await run(service, chance.choice([RunKind.FULL, RunKind.AUDIT, RunKind.RETRY]))
                _assert_grown(before, await _counts(connection), truth, (now - _DAY).date())
                wrong: dict[str, set[str]] = {}
                for each in (await _difference(warehouse, well)).sample:
                    for account_id in each.account_ids:
                        wrong.setdefault(account_id, set()).add(
                            f"{each.day or each.key.rpartition(' ')[2]}"
                        )
                for account_id, code, days in await _healed_since(connection, begun):
                    assert not days & wrong.get(account_id, set()), (account_id, code)
            sick.is_well = True
            if lag is not None:
                lag.catch_up()
            states = []
            for later in (8, 20):
                async with service_at(warehouse, sandbox, NOW + later * _DAY) as service:
                    states.append((await run(service, RunKind.AUDIT))["status"])
            assert (await difference(warehouse, sandbox)).sample == ()
            assert states[-1] == "succeeded"
            assert (
                await connection.fetchval("SELECT count(*) FROM trade_recon WHERE issues <> '[]'")
                == 0
            )
