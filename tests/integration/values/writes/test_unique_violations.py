"""A unique violation means that a key is too narrow only where a key of the table found it;
everything else is named as what it is.
"""

import json
from typing import TYPE_CHECKING

import pytest

from app.domain.states import RunKind
from tests.conftest import Database
from tests.integration.values.conftest import Engine
from tests.support.engine import run

if TYPE_CHECKING:
    import asyncpg

_TABLES = {
    "raw_metrics_alltime": None,
    "raw_metrics_daily": "date",
    "raw_metrics_hourly": "date",
    "raw_trades_closed": "trade_date",
}
_CAUSES = {
    "a code of its own": "RAISE EXCEPTION 'odd row' USING ERRCODE = '23505'",
    "the name of a real key": (
        "RAISE unique_violation USING MESSAGE = 'odd row', SCHEMA = TG_TABLE_SCHEMA, TABLE ="
        " TG_TABLE_NAME, CONSTRAINT = TG_TABLE_NAME || '_pkey'"
    ),
    "another table": "INSERT INTO firm_log VALUES (7)",
}
_REFUSES = """
CREATE TABLE firm_log (number integer CONSTRAINT one_entry_each PRIMARY KEY);
INSERT INTO firm_log VALUES (7);
CREATE TABLE caused (account_id text PRIMARY KEY, table_name text NOT NULL, cause text NOT NULL);
CREATE FUNCTION refuse_some() RETURNS trigger LANGUAGE plpgsql SET search_path = prop_trading_model AS $$
BEGIN
    CASE (SELECT cause FROM caused WHERE account_id = NEW.account_id AND TG_TABLE_NAME LIKE table_name || '%')
        {branches}
        ELSE NULL;
    END CASE;
    RETURN NEW;
END
$$;
"""


async def _refuse(connection: "asyncpg.Connection[asyncpg.Record]", timing: str) -> None:
    """Let a trigger refuse, `timing` the write, rows of the accounts in `caused`."""
    branches = "\n".join(f"WHEN '{name}' THEN {statement};" for name, statement in _CAUSES.items())
    await connection.execute(_REFUSES.format(branches=branches))
    for table in _TABLES:
        await connection.execute(
            f"CREATE TRIGGER refuses {timing} INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE"
            " FUNCTION refuse_some()"
        )


@pytest.mark.parametrize("timing", ["BEFORE", "AFTER"])
async def test_a_unique_violation_of_the_owners_code_is_no_key_that_is_too_narrow(
    timing: str, warehouse: Database, service_of: Engine
) -> None:
    async with warehouse.connect() as connection:
        rows = await connection.fetch(
            "SELECT account_id FROM raw_metrics_alltime WHERE num_trades > 0 ORDER BY 1"
        )
        ids = [row["account_id"] for row in rows]
        struck = dict(
            zip(ids[3:], [(table, cause) for table in _TABLES for cause in _CAUSES], strict=False)
        )
        for number, account_id in enumerate(ids):
            table, _ = struck.get(account_id, (list(_TABLES)[number % len(_TABLES)], None))
            date = _TABLES[table]
            on_a_date = (
                f"AND {date} = (SELECT min({date}) FROM {table} WHERE account_id = $1)"
                if date
                else ""
            )
            await connection.execute(
                f"DELETE FROM {table} WHERE account_id = $1 {on_a_date}", account_id
            )
        await _refuse(connection, timing)
        await connection.executemany(
            "INSERT INTO caused VALUES ($1, $2, $3)",
            [(account_id, *each) for account_id, each in struck.items()],
        )
        async with service_of() as service:
            state = await run(service, RunKind.FULL)
        assert state["accounts"]["waiting"] == 0  # type: ignore[index]
        attempts = {
            row["account_id"]: row
            for row in await connection.fetch(
                "SELECT account_id, outcome, detail FROM recon_attempts"
            )
        }
        assert {
            attempts[account_id]["outcome"] for account_id in ids if account_id not in struck
        } == {"healed"}
        for account_id, (table, cause) in struck.items():
            detail = attempts[account_id]["detail"] or ""
            assert attempts[account_id]["outcome"] in ("failed", "partial"), (
                table,
                cause,
                attempts[account_id],
            )
            assert table in detail
            assert "refuse_some" in detail, detail
            assert (
                ("firm_log" in detail and "one_entry_each" in detail)
                if cause == "another table"
                else "odd row" in detail
            ), detail
            aside = await connection.fetch(
                "SELECT table_name, reason FROM recon_set_aside_rows WHERE account_id = $1",
                account_id,
            )
            assert {row["table_name"] for row in aside} == {table}
            assert all(row["reason"].startswith("refused by the table") for row in aside)
        assert "key_too_narrow" not in json.dumps(
            [
                row["issues"]
                for row in await connection.fetch("SELECT issues::text FROM trade_recon")
            ]
        )


_FILLS_MARKS = """
CREATE FUNCTION fill_marks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.mark := NEW.login; RETURN NEW; END $$;
ALTER TABLE {table} ADD COLUMN mark text;
UPDATE {table} SET mark = login;
CREATE TRIGGER fills BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION fill_marks();
DELETE FROM {place} WHERE login = '{login}';
CREATE UNIQUE INDEX only_one ON {place} {index};
"""


@pytest.mark.parametrize(
    ("place", "index"),
    [
        ("raw_trades_closed_2026_02", "(mark) WHERE mark = '{login}'"),
        ("raw_trades_closed_2026_02", "((CASE WHEN mark = '{login}' THEN upper(mark) END))"),
        (
            "raw_metrics_hourly_2026_02",
            "((nullif(mark, '{login}') IS NULL), date) WHERE mark = '{login}'",
        ),
        ("raw_metrics_daily_2026_02", "(mark) INCLUDE (date, account_id) WHERE mark = '{login}'"),
    ],
)
async def test_a_unique_index_that_takes_no_second_row_is_named_as_the_key_that_is_too_narrow(
    place: str, index: str, warehouse: Database, service_of: Engine
) -> None:
    """Of some rows, of an expression, of a column of the owner's, of one partition alone: none of
    which is known before the write.
    """
    table = place.removesuffix("_2026_02")
    async with warehouse.connect() as connection:
        chosen, login = await connection.fetchrow(  # type: ignore[misc]
            "SELECT account_id, min(login) FROM raw_trades_closed_2026_02 AS t"
            " WHERE (SELECT count(*) FROM raw_metrics_alltime AS a WHERE a.login = t.login) = 1"
            " GROUP BY 1 HAVING count(*) > 5 ORDER BY 1 LIMIT 1"
        )
        ids = [
            row["account_id"]
            for row in await connection.fetch(
                "SELECT DISTINCT account_id FROM raw_trades_closed_2026_02 ORDER BY 1"
            )
        ]
        await connection.execute(
            _FILLS_MARKS.format(
                table=table, place=place, login=login, index=index.format(login=login)
            )
        )
        for account_id in ids:
            await connection.execute(f"DELETE FROM {place} WHERE account_id = $1", account_id)
        async with service_of() as service:
            await run(service, RunKind.FULL)
        attempts = {
            row["account_id"]: row["outcome"]
            for row in await connection.fetch("SELECT account_id, outcome FROM recon_attempts")
        }
        assert {attempts[account_id] for account_id in ids if account_id != chosen} == {"healed"}
        assert (
            await connection.fetchval(f"SELECT count(*) FROM {place} WHERE account_id = $1", chosen)
            >= 1
        )
        aside = await connection.fetch("SELECT account_id, reason FROM recon_set_aside_rows")
        assert {row["account_id"] for row in aside} == {chosen}
        assert all(
            row["reason"].startswith("key too narrow") and "only_one" in row["reason"]
            for row in aside
        ), aside
        issues = json.loads(
            await connection.fetchval(
                "SELECT issues::text FROM trade_recon WHERE account_id = $1", chosen
            )
        )
        narrow = next(issue for issue in issues if issue["type"] == "key_too_narrow")
        assert {row["unique_key"] for row in narrow["metadata"]["rows"]} == {"only_one"}
