"""A firm whose ingestion cuts extreme values off: what is capped there counts as equal, and is
written as it writes it.
"""

import datetime as dt
import random
from decimal import Decimal

import pytest

from app.domain.contract.caps import NO_CAPS, Caps
from app.domain.contract.tables import TABLES, Endpoint
from app.domain.states import RunKind
from app.errors import ConfigurationError
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.trades import Row
from app.sandbox.world.world import World
from app.store.database.pool import Database as Pool
from app.store.schema.introspect import survey
from app.store.schema.raw.caps import proposed_caps
from app.store.schema.raw.catalogue import Catalogue
from tests.conftest import Database
from tests.integration.values.conftest import NOW, small_world
from tests.support.engine import engine, run
from tests.support.warehouses.worlds import edit

_RATIO, _FLOAT = "mean_tp_vs_sl", "risk_adj_profit"
_CAPS = Caps.read(f"numeric(10,6)=9999.999999, {_FLOAT}=1e6")
_API_NAME = {field.column: field.api_name for field in TABLES[Endpoint.DAILY].fields}
_CAPPED = f"""
UPDATE raw_metrics_daily SET {_RATIO} = CASE WHEN num_trades % 2 = 0 THEN 9999.999999 ELSE -9999.999999 END,
    {_FLOAT} = CASE WHEN num_trades % 2 = 0 THEN 1e6 ELSE -1e6 END
"""


_CUT_OFF = f"""
UPDATE raw_metrics_daily SET {_RATIO} = CASE WHEN num_trades % 2 = 0 THEN 9999.999999 ELSE -9999.999999 END,
    {_FLOAT} = CASE WHEN hashtext(account_id || date) % 4 = 0 THEN CASE WHEN num_trades % 2 = 0 THEN 1e6 ELSE -1e6 END ELSE {_FLOAT} END
"""


def _extreme_world() -> World:
    """Every daily row has values beyond the caps."""
    world = small_world()
    edit(world.records(Endpoint.DAILY), _make_extreme)
    return world


def _make_extreme(row: Row) -> None:
    sign = 1 if float(str(row["numTrades"])) % 2 == 0 else -1
    row.update({_API_NAME[_RATIO]: sign * 123456.75, _API_NAME[_FLOAT]: sign * 5e7})


async def _stored(
    warehouse: Database,
) -> dict[tuple[str, dt.date], tuple[Decimal | None, float | None, int]]:
    async with warehouse.connect() as connection:
        rows = await connection.fetch(
            f"SELECT account_id, date, {_RATIO}, {_FLOAT}, num_trades FROM raw_metrics_daily"
        )
    return {
        (row["account_id"], row["date"]): (row[_RATIO], row[_FLOAT], row["num_trades"])
        for row in rows
    }


async def _ordinary_night(warehouse: Database, caps: Caps) -> dict[str, int]:
    """Wrong counts on some dates, so that their daily rows are read; what the run wrote."""
    async with warehouse.connect() as connection:
        await connection.execute(_CAPPED)
        await connection.execute(
            "UPDATE raw_metrics_daily SET num_trades = num_trades + 1 WHERE date = '2026-03-10'"
        )
        await connection.execute("DELETE FROM raw_metrics_daily WHERE date = '2026-03-11'")
    async with (
        SandboxServer(_extreme_world()) as upstream,
        engine(warehouse, upstream, now=lambda: NOW, caps=caps) as service,
    ):
        state = await run(service, RunKind.FULL)
        again = await run(service, RunKind.AUDIT)
    assert isinstance(state["rows"], dict)
    assert isinstance(again["rows"], dict)
    assert again["rows"]["updated"] == 0
    return {**state["rows"], "nulled": int(str(state["values_nulled"]))}


async def test_what_ingestion_caps_is_equal_and_written_as_ingestion_writes_it(
    warehouse: Database,
) -> None:
    before = await _stored(warehouse)
    wrong = [unit for unit in before if unit[1] == dt.date(2026, 3, 10)]
    written = await _ordinary_night(warehouse, _CAPS)
    after = await _stored(warehouse)
    assert written["updated"] == len(wrong) > 0
    assert written["nulled"] == 0
    assert after.keys() == before.keys()
    for unit, (ratio, figure, trades) in after.items():
        sign = 1 if trades % 2 == 0 else -1
        assert trades == before[unit][2]
        assert (ratio, figure) == (sign * Decimal("9999.999999"), sign * 1e6)


async def test_without_the_caps_the_same_values_are_rewritten(warehouse: Database) -> None:
    written = await _ordinary_night(warehouse, Caps())
    assert written["nulled"] > 0
    assert any(
        ratio is None or abs(figure or 0) > 1e6
        for ratio, figure, _ in (await _stored(warehouse)).values()
    )


async def test_a_true_value_beyond_the_cap_stays_where_the_column_holds_it(
    warehouse: Database,
) -> None:
    async with warehouse.connect() as connection:
        await connection.execute(
            f"UPDATE raw_metrics_daily SET {_FLOAT} = CASE WHEN num_trades % 2 = 0 THEN 5e7 ELSE"
            f" -5e7 END, {_RATIO} = CASE WHEN num_trades % 2 = 0 THEN 9999.999999 ELSE"
            " -9999.999999 END"
        )
        await connection.execute(
            "UPDATE raw_metrics_daily SET num_trades = num_trades + 2 WHERE date = '2026-03-10'"
        )
    before = await _stored(warehouse)
    async with (
        SandboxServer(_extreme_world()) as upstream,
        engine(warehouse, upstream, now=lambda: NOW, caps=_CAPS) as service,
    ):
        state = await run(service, RunKind.FULL)
    assert isinstance(state["rows"], dict)
    assert state["rows"]["updated"] == sum(day == dt.date(2026, 3, 10) for _, day in before)
    for unit, (ratio, figure, _) in (await _stored(warehouse)).items():
        assert (ratio, figure) == before[unit][:2]


async def test_caps_are_proposed_from_what_the_tables_hold(warehouse: Database) -> None:
    async with Pool.open(warehouse.dsn, warehouse.schema, pool_size=1) as pool:
        catalogue = await Catalogue.read(pool, await survey(pool, warehouse.schema))
        assert await proposed_caps(pool, catalogue, NO_CAPS) == ""
        async with warehouse.connect() as connection:
            await connection.execute(_CUT_OFF)
            await connection.execute("UPDATE raw_metrics_hourly SET risk_adj_profit = 'NaN'")
        assert (
            await proposed_caps(pool, catalogue, NO_CAPS)
            == "numeric(10,6)=9999.999999,risk_adj_profit=1000000"
        )
        assert await proposed_caps(pool, catalogue, _CAPS) == ""
        async with warehouse.connect() as connection:
            await connection.execute("ANALYZE raw_metrics_daily")
            await connection.execute(
                "UPDATE raw_metrics_daily SET risk_adj_profit = 2e6 WHERE date = (SELECT min(date)"
                " FROM raw_metrics_daily)"
            )
        assert await proposed_caps(pool, catalogue, NO_CAPS) == "numeric(10,6)=9999.999999"


async def test_sizes_and_what_most_rows_have_are_no_caps_and_one_of_a_single_table_is_named_with_it(
    warehouse: Database,
) -> None:
    async with Pool.open(warehouse.dsn, warehouse.schema, pool_size=1) as pool:
        catalogue = await Catalogue.read(pool, await survey(pool, warehouse.schema))
        async with warehouse.connect() as connection:
            for table in ("raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly"):
                # As accounts of a few sizes have it, and a balance that most have never moved.
                await connection.execute(
                    f"UPDATE {table} SET starting_balance = CASE WHEN length(login) % 2 = 0 THEN"
                    " 100000 ELSE 10000 END, current_balance = CASE WHEN hashtext(account_id) % 9"
                    " = 0 THEN hashtext(account_id) % 77777 ELSE 100000 END"
                )
            await connection.execute(_CUT_OFF)
            await connection.execute(f"UPDATE raw_metrics_hourly SET {_FLOAT} = 5e6 + num_trades")
        assert (
            await proposed_caps(pool, catalogue, NO_CAPS)
            == "numeric(10,6)=9999.999999,raw_metrics_daily.risk_adj_profit=1000000"
        )


@pytest.mark.parametrize(
    ("stored", "sent", "kept"),
    [
        (1500, 1000, 1000),
        (5000, 1500, 1000),
        (-5000, -1500, -1000),
        (1500, 1500, 1500),
        (1000, 1500, 1000),
        (-1000, 1500, 1000),
        (700, 999, 999),
    ],
)
async def test_beyond_a_cap_only_the_cap_and_the_true_value_stay(
    warehouse: Database, stored: float, sent: float, kept: float
) -> None:
    world = small_world()
    edit(world.records(Endpoint.DAILY), lambda row: row.update(medianProfit=sent))
    account_id = world.account_ids[3]
    async with warehouse.connect() as connection:
        # Written for its count, so that the money is looked at.
        statement = (
            "UPDATE raw_metrics_daily SET num_trades = num_trades + 1, median_profit = $1 WHERE"
            " account_id = $2"
        )
        await connection.execute(statement, stored, account_id)
    async with (
        SandboxServer(world) as upstream,
        engine(
            warehouse, upstream, now=lambda: NOW, caps=Caps.read("median_profit=1000")
        ) as service,
    ):
        await run(service, RunKind.FULL)
    async with warehouse.connect() as connection:
        changed = await connection.fetch(
            "SELECT DISTINCT median_profit FROM raw_metrics_daily WHERE account_id = $1", account_id
        )
    assert [float(row[0]) for row in changed] == [kept]


@pytest.mark.parametrize(
    "text", ["rel_*", "rel_*=", "rel_*=-1", "rel_*=nan", "=5", "a=1e999999", "a b=c"]
)
def test_what_is_no_cap_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no cap such as"):
        Caps.read(text)


def test_the_first_rule_that_names_a_column_or_its_type_counts() -> None:
    caps = Caps.read(
        "success_rate=100; DECIMAL( 10 , 6 )=9999.999999, raw_metrics_daily.rel_*=1e3, rel_*=7"
    )
    assert caps.of("raw_metrics_daily", "success_rate", "numeric(10,6)") == 100
    assert caps.of("raw_metrics_daily", "rel_profit", "double precision") == 1000
    assert caps.of("raw_metrics_hourly", "rel_profit", "double precision") == 7
    assert caps.of("raw_metrics_hourly", "other", "numeric(10,6)") == Decimal("9999.999999")
    assert caps.of("raw_metrics_hourly", "other", "numeric(18,2)") is None


_CAPPED_AT = (750, 2500, 1234.5, 0.75, 42, 5000, 88888.25, 3.5)
_NATURAL = {
    "never anything": "0",
    "few whole amounts": "floor(random() * 6)",
    "sizes": "(ARRAY[5000, 10000, 25000, 50000, 200000])[1 + floor(random() * 5)::integer]",
    "a rate of few trades": "100 * floor(random() * (num_trades + 1)) / greatest(num_trades, 1)",
    "a share of few trades": "floor(random() * 5) / 4",
    "what is measured": "exp(random() * 8)",
    "what is measured, to the cent": "round((exp(random() * 8))::numeric, 2)",
    "the largest twice": (
        "CASE WHEN (account_id, date) IN (SELECT account_id, date FROM raw_metrics_daily ORDER BY"
        " 1, 2 LIMIT 2) THEN 777.5 ELSE random() * 700 END"
    ),
    "an account's own for days": (
        "CASE account_id WHEN 'acc-00001' THEN 4321.5 WHEN 'acc-00002' THEN 4321.5 ELSE random() *"
        " 4000 END"
    ),
    "the same for most": "CASE WHEN random() < 0.8 THEN 612.5 ELSE random() * 600 END",
    "nothing": "NULL",
}
_COLUMNS = (
    *("risk_adj_profit", "mean_ret", "std_rets", "risk_adj_ret", "downside_std_rets"),
    *("rel_net_profit", "rel_gross_profit", "rel_gross_loss", "net_profit_per_usd_volume"),
)


@pytest.mark.parametrize("seed", range(4))
async def test_a_cap_that_is_not_round_is_proposed_where_the_values_show_it_and_none_where_the_largest_is_natural(
    warehouse: Database, seed: int
) -> None:
    rng = random.Random(seed)
    chosen = rng.sample(_COLUMNS, len(_COLUMNS))
    natural = {column: rng.choice([*_NATURAL]) for column in chosen[:6]}
    cut_off = {column: rng.choice(_CAPPED_AT) for column in chosen[6:]}
    drawn = {column: _NATURAL[kind] for column, kind in natural.items()}
    for column, cap in cut_off.items():
        # From one in eight to one in three values lies beyond.
        beyond = rng.uniform(1.15, 1.5)
        drawn[column] = f"greatest(-{cap}, least({cap}, {cap} * {beyond} * (2 * random() - 1)))"
    async with Pool.open(warehouse.dsn, warehouse.schema, pool_size=1) as pool:
        catalogue = await Catalogue.read(pool, await survey(pool, warehouse.schema))
        async with warehouse.connect() as connection:
            await connection.execute(f"SELECT setseed({rng.random()})")
            for table in ("raw_metrics_alltime", "raw_metrics_hourly"):
                await connection.execute(
                    f"UPDATE {table} SET {', '.join(f'{column} = NULL' for column in drawn)}"
                )
            await connection.execute(
                "UPDATE raw_metrics_daily SET"
                f" {', '.join(f'{name} = {sql}' for name, sql in drawn.items())}"
            )
        wanted = {f"{column}={Decimal(str(cap)):f}" for column, cap in cut_off.items()}
        assert {*(await proposed_caps(pool, catalogue, NO_CAPS)).split(",")} == wanted, natural
