"""Logins and ids that upstream sends as numbers for a while: no natural key is rewritten, and no
trade loses its account.
"""

import json
import random
from collections.abc import Callable

import pytest

from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.integration.values.conftest import NOW
from tests.support.altered import altering
from tests.support.engine import difference, engine, run

_CONFIG = EngineConfig(workers=1, poll_seconds=0.05, postpone_seconds=0, postpone_named_seconds=0)
_KEYS = ("login", "mt_version", "platform", "broker", "ticket", "position")
_MARK = "\N{SNOWMAN}"
_RAW = ("raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly", "raw_trades_closed")


def _plain(digits: str) -> str:
    return str(int(digits))


def _with_decimals(digits: str) -> str:
    return f"{int(digits)}.0"


def _as_power(digits: str) -> str:
    plain = str(int(digits))
    return f"{plain[0]}.{plain[1:] or '0'}e{len(plain) - 1}"


def _at_random(digits: str) -> str:
    return random.Random(digits).choice([_plain, _with_decimals, _as_power])(digits)


def _spelling(
    spell: Callable[[str], str], names: tuple[str, ...] = _KEYS
) -> Callable[[object, bytes], bytes]:
    """An alteration that writes key parts of digits as numbers; tickets and positions only where no
    zero is lost.
    """

    def alter(_: object, body: bytes) -> bytes:
        answer = json.loads(body)
        for row in answer["Data"]["data"]:
            for name in names:
                digits = str(row.get(name))
                if (
                    digits.isascii()
                    and digits.isdigit()
                    and (name == "login" or not digits.startswith("0"))
                ):
                    row[name] = f"{_MARK}{spell(digits)}{_MARK}"
        return (
            json.dumps(answer, ensure_ascii=False)
            .replace(f'"{_MARK}', "")
            .replace(f'{_MARK}"', "")
            .encode()
        )

    return alter


@pytest.mark.parametrize("spell", [_plain, _with_decimals, _as_power, _at_random])
async def test_keys_that_are_sent_as_numbers_for_a_night_stay_as_they_are(
    warehouse: Database, sandbox: SandboxServer, spell: Callable[[str], str]
) -> None:
    async with (
        warehouse.connect() as c,
        altering(sandbox) as api,
        engine(warehouse, api.as_sandbox, now=lambda: NOW, config=_CONFIG) as service,
    ):
        await run(service, RunKind.FULL)
        keys = "SELECT DISTINCT account_id, login, platform, broker FROM {} ORDER BY 1, 2, 3, 4"
        before = [await c.fetch(keys.format(table)) for table in _RAW]
        assert any(row["login"].startswith("0") for row in before[0])
        has_daily = "account_id IN (SELECT account_id FROM raw_metrics_daily)"
        await c.execute(f"DELETE FROM raw_metrics_alltime WHERE login LIKE '0%' AND {has_daily}")
        await c.execute(
            "DELETE FROM raw_metrics_alltime WHERE login NOT LIKE '0%' AND md5(account_id) < '8'"
        )
        await c.execute(
            "DELETE FROM raw_metrics_daily WHERE date < '2026-03-05' AND login NOT LIKE '0%' AND"
            " md5(account_id) < '5'"
        )
        await c.execute("DELETE FROM raw_metrics_hourly WHERE date < '2026-03-10'")
        await c.execute(
            "DELETE FROM raw_trades_closed WHERE trade_date < '2026-03-05' AND md5(login) < 'a'"
        )
        api.alter = _spelling(spell)
        await run(service, RunKind.FULL)
        await run(service, RunKind.AUDIT)
        assert [await c.fetch(keys.format(table)) for table in _RAW] == before
        assert (await difference(warehouse, sandbox)).account_ids == set()
        api.alter = lambda _, body: body
        state = await run(service, RunKind.AUDIT)
        assert state["status"] == "succeeded"
        assert (await difference(warehouse, sandbox)).account_ids == set()


async def test_a_login_that_is_known_by_hourly_rows_alone_keeps_its_zeros(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with (
        warehouse.connect() as c,
        altering(sandbox) as api,
        engine(warehouse, api.as_sandbox, now=lambda: NOW, config=_CONFIG) as service,
    ):
        lost = await c.fetch(
            "DELETE FROM raw_metrics_alltime WHERE login LIKE '0%'"
            " AND account_id IN (SELECT account_id FROM raw_metrics_hourly) RETURNING account_id"
        )
        ids = [row["account_id"] for row in lost]
        await c.execute("DELETE FROM raw_metrics_daily WHERE account_id = ANY($1)", ids)
        api.alter = _spelling(_with_decimals)
        await run(service, RunKind.AUDIT)
        assert ids
        assert (await difference(warehouse, sandbox)).account_ids == set()


async def test_a_login_that_is_known_nowhere_is_taken_as_a_plain_number(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with (
        warehouse.connect() as c,
        altering(sandbox) as api,
        engine(warehouse, api.as_sandbox, now=lambda: NOW, config=_CONFIG) as service,
    ):
        login = await c.fetchval(
            "SELECT login FROM raw_metrics_alltime WHERE login ~ '^[1-9]' ORDER BY 1 LIMIT 1"
        )
        for table in _RAW:
            await c.execute(f"DELETE FROM {table} WHERE login = $1", login)
        api.alter = _spelling(_as_power)
        await run(service, RunKind.AUDIT)
        assert (await difference(warehouse, sandbox)).account_ids == set()


@pytest.mark.parametrize("spell", [_plain, _at_random])
async def test_an_account_that_was_stored_without_the_zeros_of_its_login_gets_them_back(
    warehouse: Database, sandbox: SandboxServer, spell: Callable[[str], str]
) -> None:
    async with (
        warehouse.connect() as c,
        altering(sandbox) as api,
        engine(warehouse, api.as_sandbox, now=lambda: NOW, config=_CONFIG) as service,
    ):
        logins = [
            row["login"]
            for row in await c.fetch(
                "SELECT DISTINCT login FROM raw_metrics_alltime WHERE login LIKE '0%'"
            )
        ]
        for table in (*_RAW, "raw_trades_open"):
            await c.execute(f"DELETE FROM {table} WHERE login = ANY($1)", logins)
        api.alter = _spelling(spell)
        await run(service, RunKind.AUDIT)
        assert (
            await c.fetchval("SELECT count(*) FROM raw_metrics_alltime WHERE login LIKE '0%'") == 0
        )
        before = (await difference(warehouse, sandbox)).account_ids
        assert len(before) >= len(logins)
        api.alter = lambda _, body: body
        await run(service, RunKind.AUDIT)
        state = await run(service, RunKind.AUDIT)
        # Open trades are snapshots, which ingestion brings again.
        assert await c.fetchval(
            "SELECT count(*) FROM raw_trades_closed WHERE ltrim(login, '0') = ANY($1)",
            [_plain(each) for each in logins],
        )
        for table in _RAW:
            stored = await c.fetch(
                f"SELECT DISTINCT login FROM {table} WHERE ltrim(login, '0') = ANY($1)",
                [_plain(each) for each in logins],
            )
            assert {row["login"] for row in stored} <= set(logins), table
        assert state["status"] == "succeeded", state
        assert await c.fetchval("SELECT count(*) FROM recon_descents") == 0
