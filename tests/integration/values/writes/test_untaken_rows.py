"""What the warehouse does not take is its owner's doing: the rows are set aside and named, and
upstream is not blamed for them.
"""

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.integration.values.conftest import NOW
from tests.support.altered import AlteringApi, altering
from tests.support.engine import difference, engine, run
from tests.support.scripted import Arrival, Reply

if TYPE_CHECKING:
    import asyncpg

_CONFIG = EngineConfig(workers=1, poll_seconds=0.05, postpone_seconds=0, postpone_named_seconds=0)
_LOST = {
    "raw_metrics_alltime": "true",
    "raw_metrics_daily": "date < '2026-03-10'",
    "raw_metrics_hourly": "date < '2026-03-10'",
    "raw_trades_closed": "trade_date < '2026-03-10'",
}
_DROPS = "BEFORE INSERT", "IF NEW.account_id = '{account}' THEN RETURN NULL; END IF; RETURN NEW;"
_DELETES = (
    "AFTER INSERT",
    (
        "DELETE FROM {table} WHERE account_id = '{account}' AND account_id = NEW.account_id AND"
        " {lost}; RETURN NULL;"
    ),
)
_COUNTS = (
    "BEFORE INSERT OR UPDATE",
    (
        "IF NEW.account_id = '{account}' THEN NEW.num_trades := NEW.num_trades + 1; END IF; RETURN"
        " NEW;"
    ),
)
_KINDS = {"drops": _DROPS, "deletes": _DELETES, "counts": _COUNTS, "deferred": _DELETES}
_MADE = """
CREATE FUNCTION odd_{table}() RETURNS trigger LANGUAGE plpgsql SET search_path = prop_trading_model AS $$BEGIN {body} END$$;
CREATE {what} odd {timing} ON {table} {when} FOR EACH ROW EXECUTE FUNCTION odd_{table}();
"""
_NO_MORE = "DROP FUNCTION odd_{table}() CASCADE"
_Struck = dict[str, tuple[str, str]]
"""By account the table on which a trigger has its way with the account's rows, and the kind of the
trigger.
"""


async def _struck(c: "asyncpg.Connection[asyncpg.Record]", turn: int) -> _Struck:
    """An account for each table; with each turn another kind of trigger."""
    rows = await c.fetch(
        "SELECT account_id FROM raw_trades_closed WHERE trade_date < '2026-03-10'"
        " GROUP BY 1 HAVING count(DISTINCT trade_date) > 3 ORDER BY 1"
    )
    kinds = [list(_KINDS)[(number + turn) % len(_KINDS)] for number in range(len(_LOST))]
    # A trade has no count.
    kinds[-1] = "drops" if kinds[-1] == "counts" else kinds[-1]
    return {
        row["account_id"]: each
        for row, each in zip(rows, zip(_LOST, kinds, strict=True), strict=False)
    }


def _made(struck: _Struck) -> str:
    """The statements that make the triggers."""
    made = ""
    for account, (table, kind) in struck.items():
        timing, body = _KINDS[kind]
        what, when = (
            ("CONSTRAINT TRIGGER", "DEFERRABLE INITIALLY DEFERRED")
            if kind == "deferred"
            else ("TRIGGER", "")
        )
        body = body.format(account=account, table=table, lost=_LOST[table])
        made += _MADE.format(table=table, body=body, what=what, timing=timing, when=when)
    return made


def _during(api: AlteringApi, c: "asyncpg.Connection[asyncpg.Record]", sql: str) -> None:
    """Run statements while the first answer of the run is on its way, when the service knows its
    tables already.
    """
    usual = api.alter

    async def made(body: bytes) -> Reply:
        await c.execute(sql)
        return Reply(200, body)

    def alter(_: Arrival, body: bytes) -> Reply:
        api.alter = usual
        asyncio.get_running_loop().create_task(made(body))
        return Reply(200, body, delay=0.3)

    api.alter = alter


async def _must_name(c: "asyncpg.Connection[asyncpg.Record]", struck: _Struck) -> None:
    aside = await c.fetch("SELECT account_id, table_name, reason FROM recon_set_aside_rows")
    assert {(row["account_id"], row["table_name"]) for row in aside} == {
        (account, table) for account, (table, _) in struck.items()
    }
    assert all("trigger" in row["reason"] for row in aside)
    attempts = {row["account_id"]: row for row in await c.fetch("SELECT * FROM recon_attempts")}
    for account, (table, kind) in struck.items():
        told = json.loads(
            await c.fetchval("SELECT issues::text FROM trade_recon WHERE account_id = $1", account)
        )
        attempt = attempts.pop(account)
        about = (table, kind, told, attempt)
        assert {each["type"] for each in told}.isdisjoint(
            {"upstream_inconsistent", "absent_upstream", "unsettled"}
        ), about
        assert attempt["outcome"] in ("failed", "partial"), about
        assert table in attempt["detail"], about
        assert "trigger" in attempt["detail"], about
        assert attempt["rows_set_aside"] >= 1, about
        assert kind != "drops" or attempt["rows_inserted"] == 0, about
    assert {attempt["outcome"] for attempt in attempts.values()} == {"healed"}


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("turn", range(len(_KINDS)))
async def test_rows_that_the_owners_triggers_do_not_let_in_are_named_and_not_blamed_on_upstream(
    warehouse: Database, sandbox: SandboxServer, turn: int, *, is_known: bool
) -> None:
    async with warehouse.connect() as c, altering(sandbox) as api:
        struck = await _struck(c, turn)
        if is_known:
            await c.execute(_made(struck))
        async with engine(warehouse, api.as_sandbox, now=lambda: NOW, config=_CONFIG) as service:
            ids = [
                row["account_id"]
                for row in await c.fetch(
                    "SELECT account_id FROM raw_metrics_alltime WHERE num_trades > 0 ORDER BY 1"
                )
            ]
            for number, account in enumerate(ids):
                table, _ = struck.get(account, (list(_LOST)[number % len(_LOST)], ""))
                await c.execute(
                    f"DELETE FROM {table} WHERE account_id = $1 AND {_LOST[table]}", account
                )
            if not is_known:
                _during(api, c, _made(struck))
            await run(service, RunKind.FULL)
        await _must_name(c, struck)
        for table in _LOST:
            await c.execute(_NO_MORE.format(table=table))
        async with engine(warehouse, sandbox, now=lambda: NOW, config=_CONFIG) as service:
            await run(service, RunKind.RETRY)
        assert await c.fetchval("SELECT count(*) FROM recon_set_aside_rows") == 0
    assert (await difference(warehouse, sandbox)).account_ids == set()


async def test_values_that_the_owners_trigger_changes_are_named_and_the_account_is_healed(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as c:
        await c.execute(
            "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.platform :="
            " upper(NEW.platform::text); NEW.gross_profit := 0; RETURN NEW; END$$;CREATE TRIGGER"
            " cut BEFORE INSERT OR UPDATE ON raw_metrics_hourly FOR EACH ROW EXECUTE FUNCTION"
            " cut();"
        )
        lost = await c.fetch(
            "DELETE FROM raw_metrics_hourly WHERE date < '2026-03-10' AND num_trades > 0 RETURNING"
            " account_id"
        )
        async with engine(warehouse, sandbox, now=lambda: NOW, config=_CONFIG) as service:
            state = await run(service, RunKind.FULL)
        assert state["status"] == "succeeded"
        assert state["rows"]["inserted"] == len(lost)  # type: ignore[index]
        named = await c.fetch("SELECT DISTINCT reason FROM recon_set_aside_rows")
        assert [row["reason"] for row in named] == [
            (
                "stored with other values, which a trigger or rule of the table's owner chose:"
                " gross_profit"
            )
        ]


@pytest.mark.parametrize("condition", ["", "WHERE NEW.account_id = 'acc-00003'"])
async def test_a_rule_that_is_made_during_a_run_is_named_and_blamed_on_nobody(
    warehouse: Database, sandbox: SandboxServer, condition: str
) -> None:
    async with warehouse.connect() as c, altering(sandbox) as api:
        async with engine(warehouse, api.as_sandbox, now=lambda: NOW, config=_CONFIG) as service:
            await c.execute("DELETE FROM raw_metrics_hourly WHERE date < '2026-03-10'")
            _during(
                api,
                c,
                f"CREATE RULE odd AS ON INSERT TO raw_metrics_hourly {condition} DO INSTEAD"
                " NOTHING",
            )
            state = await run(service, RunKind.FULL)
            assert state["status"] == "failed"
            assert "rule" in str(state["error"])
        assert (
            await c.fetchval(
                "SELECT count(*) FROM trade_recon WHERE failed_attempts > 0 OR issues @? '$[*] ?"
                ' (@.type == "upstream_inconsistent")\''
            )
            == 0
        )
        await c.execute("DROP RULE odd ON raw_metrics_hourly")
        async with engine(warehouse, sandbox, now=lambda: NOW, config=_CONFIG) as service:
            assert (await run(service, RunKind.FULL))["status"] == "succeeded"
