"""A count of trades is a whole number from 0 on and an hour one of 24: anything else is named, and
is stored over nothing.
"""

import random
import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from app.domain.contract.rows import is_count
from app.domain.contract.tables import TABLES, Endpoint
from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.integration.values.conftest import Engine
from tests.support.engine import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from app.sandbox.world.rows import Record

    Connection = asyncpg.Connection[asyncpg.Record]

_NO_COUNTS = (
    "-3",
    "8.5",
    "-0.5",
    "1e400",
    "-1e400",
    "1e-3",
    "99999999999",
    '"-3"',
    '"8.5"',
    "true",
    '"NaN"',
    '"Infinity"',
    "NaN",
    "[8]",
    '"8 trades"',
)
_COUNTS = {
    "8": 8,
    "8.0": 8,
    '"8"': 8,
    '"8.0"': 8,
    "8e0": 8,
    "80e-1": 8,
    "-0": 0,
    "-0.0": 0,
    '"-0"': 0,
    '" 8 "': 8,
    "0": 0,
}
_NO_HOURS = ("24", "-1", "25", "7.5", '"24"', "1e3", "-0.5", '"x"', "true")
_HOURS = {'"7"': 7, "7.0": 7, "-0": 0, "23": 23}


@pytest.mark.parametrize("value", _COUNTS)
def test_a_whole_number_is_a_count_however_it_is_spelled(value: str) -> None:
    assert is_count(value.encode(), 2**31 - 1)


@pytest.mark.parametrize(
    "value", [*_NO_COUNTS, '""', "{}", '"0x8"', '"1_000"', '"\u0668"', "2147483648"]
)
def test_anything_else_is_no_count(value: str) -> None:
    assert not is_count(value.encode(), 2**31 - 1)


def _send(records: "Sequence[Record]", number: int, field: str, value: str) -> None:
    """Let upstream send a field of a row in just this spelling."""
    record = records[number]
    record._encoded = None
    text = re.sub(
        rf'"{field}":[^,}}]*',
        f'"{field}":{value}'.replace("\\", r"\\"),
        bytes(record.encoded).decode(),
    )
    record._encoded = msgspec.Raw(text.encode())


async def _traders(connection: "Connection") -> list[str]:
    """Accounts with at least two daily rows and a date of at least two hourly rows, whose login is
    theirs alone.
    """
    rows = await connection.fetch(
        "SELECT a.account_id FROM raw_metrics_alltime AS a WHERE num_trades > 0 AND (SELECT"
        " count(*) FROM raw_metrics_alltime AS b WHERE b.login = a.login) = 1 AND (SELECT count(*)"
        " FROM raw_metrics_daily AS d WHERE d.account_id = a.account_id AND num_trades > 0) > 1 AND"
        " EXISTS (SELECT FROM raw_metrics_hourly AS h WHERE h.account_id = a.account_id GROUP BY"
        " date HAVING count(*) > 1) ORDER BY 1"
    )
    return [row["account_id"] for row in rows]


async def _lose_one(
    connection: "Connection", endpoint: Endpoint, account_id: str, records: "Sequence[Record]"
) -> tuple[int, "Record"]:
    """Delete what makes a run read the rows of the endpoint; the number of a stored row that is
    read with it, and that row.
    """
    if endpoint is Endpoint.HOURLY:
        days = [record.day for record in records]
        number = next(
            number for number, day in enumerate(days[1:], start=1) if day == days[number - 1]
        )
        gone = records[number - 1]
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date = $2 AND hour = $3",
            account_id,
            gone.day,
            gone.hour,
        )
        return number, records[number]
    trading = [
        number
        for number, record in enumerate(records)
        if endpoint is Endpoint.ALLTIME or record.row["numTrades"]
    ]
    # An audit sees it, and descends.
    await connection.execute(
        "UPDATE raw_metrics_alltime SET net_profit = net_profit + 1 WHERE account_id = $1",
        account_id,
    )
    if endpoint is Endpoint.DAILY:
        change = (
            "UPDATE raw_metrics_daily SET net_profit = net_profit + 1 WHERE account_id = $1 AND"
            " date = $2"
        )
        await connection.execute(change, account_id, records[trading[0]].day)
    return trading[0], records[trading[0]]


@pytest.mark.parametrize("endpoint", [Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY])
async def test_what_is_no_count_is_named_and_leaves_the_stored_count(
    endpoint: Endpoint, warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    table, chance = TABLES[endpoint].name, random.Random(endpoint.value)
    async with warehouse.connect() as connection:
        sent: dict[str, tuple[str, Record]] = {}
        values = [*chance.sample(_NO_COUNTS, 9), *chance.sample(sorted(_COUNTS), 4)]
        for account_id, value in zip(await _traders(connection), values, strict=False):
            records = sandbox.world._of_account(endpoint, account_id)
            number, record = await _lose_one(connection, endpoint, account_id, records)
            _send(records, number, "numTrades", value)
            sent[account_id] = value, record
        sandbox.world._selections.clear()
        before = {
            account_id: await _count(connection, table, account_id, record)
            for account_id, (_, record) in sent.items()
        }
        async with service_of() as service:
            await run(service, RunKind.FULL if endpoint is Endpoint.HOURLY else RunKind.AUDIT)
        assert len(sent) > 8
        for account_id, (value, record) in sent.items():
            stored = await _count(connection, table, account_id, record)
            detail = (
                await connection.fetchval(
                    "SELECT detail FROM recon_attempts WHERE account_id = $1", account_id
                )
                or ""
            )
            aside = await connection.fetch(
                "SELECT table_name, reason FROM recon_set_aside_rows WHERE account_id = $1",
                account_id,
            )
            if value in _COUNTS:
                continue
            assert stored == before[account_id], (value, stored, detail)
            assert f"{table} holds other values" in detail, (value, detail)
            assert "num_trades (no count)" in detail, (value, detail)
            assert [row["table_name"] for row in aside] == [table], (value, aside)
            assert "no count" in aside[0]["reason"]


async def _count(
    connection: "Connection", table: str, account_id: str, record: "Record"
) -> int | None:
    where = (
        "true"
        if record.day is None
        else f"date = '{record.day}'"
        + ("" if record.hour is None else f" AND hour = {record.hour}")
    )
    count: int | None = await connection.fetchval(
        f"SELECT num_trades FROM {table} WHERE account_id = $1 AND {where}", account_id
    )
    return count


async def test_new_rows_take_counts_and_hours_in_any_spelling_and_impossible_hours_are_set_aside(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    async with warehouse.connect() as connection:
        sent: dict[str, tuple[str, str, Record]] = {}
        cases = [("numTrades", value) for value in (*_COUNTS, "-3", "8.5", "NaN")]
        cases += [("hour", value) for value in (*_HOURS, *_NO_HOURS)]
        random.Random(3).shuffle(cases)
        for account_id, (field, value) in zip(await _traders(connection), cases, strict=False):
            records = sandbox.world._of_account(Endpoint.HOURLY, account_id)
            hours = {record.hour for record in records if record.day == records[-1].day}
            if field == "hour" and _HOURS.get(value) in hours - {records[-1].hour}:
                continue
            _send(records, len(records) - 1, field, value)
            sent[account_id] = field, value, records[-1]
            await connection.execute(
                "DELETE FROM raw_metrics_hourly WHERE account_id = $1", account_id
            )
        sandbox.world._selections.clear()
        async with service_of() as service:
            await run(service, RunKind.FULL)
        assert len(sent) > 12
        for account_id, (field, value, record) in sent.items():
            rows = await connection.fetch(
                "SELECT date, hour, num_trades FROM raw_metrics_hourly WHERE account_id = $1",
                account_id,
            )
            assert all(0 <= row["hour"] <= 23 for row in rows)
            aside = await connection.fetch(
                "SELECT reason FROM recon_set_aside_rows WHERE account_id = $1", account_id
            )
            is_whole = value in (_HOURS if field == "hour" else _COUNTS)
            assert len(rows) == len(sandbox.world._of_account(Endpoint.HOURLY, account_id)) - (
                field == "hour" and not is_whole
            ), (
                field,
                value,
            )
            assert len(aside) == (not is_whole), (field, value, aside)
            if field == "hour" and not is_whole:
                assert "key part hour is out of range" in aside[0]["reason"]
            elif field == "hour":
                assert _HOURS[value] in {row["hour"] for row in rows if row["date"] == record.day}
            else:
                assert await _count(
                    connection, "raw_metrics_hourly", account_id, record
                ) == _COUNTS.get(value)
