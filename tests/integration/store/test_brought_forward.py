"""A database of an earlier version is brought to the newest state: no row is lost or changed, by
any number of processes, and after a migration that broke off.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import asyncpg
import pytest
import structlog
from pydantic import SecretStr

from app.composition import open_store
from app.errors import ConfigurationError
from app.examination import Finding, Level, examine
from app.settings.model import Settings
from app.store.schema.migrations import applying
from app.store.schema.migrations.files import BASELINE, later_files, replaced_files
from app.store.schema.migrations.migrate import migrate
from tests.conftest import SCHEMA, Server
from tests.support.warehouses.building import Place, new_database
from tests.support.warehouses.earlier_version import NEWEST, migrate_as_before

_STATES = ("0021", "0060", "0100", NEWEST)
_ROWS = 3
_ONE_ROW = ("recon_quota", "recon_report", "recon_window")
_DAY = "2026-01-05"
_TABLES = """
SELECT c.relname AS name
FROM pg_class AS c
WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relname !~ '^recon_(migrations|definitions|stage_)'
-- Attempts refer to runs.
ORDER BY c.relname = 'recon_attempts', 1
"""
_COLUMNS = """
SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type,
    (SELECT pg_get_constraintdef(k.oid) FROM pg_constraint AS k
     WHERE k.conrelid = a.attrelid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum]) AS condition
FROM pg_attribute AS a
WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum
"""
_VALUES: Mapping[str, str] = {
    "boolean": "n % 2 = 0",
    "smallint": "n",
    "integer": "n",
    "bigint": "n",
    "numeric": "n + 0.25",
    "double precision": "n + 0.5",
    "text": "COLUMN || n",
    "character varying": "right(COLUMN || n, 2)",
    "uuid": "md5('run' || n)::uuid",
    "date": f"date '{_DAY}'",
    "timestamp without time zone": f"timestamp '{_DAY} 04:05:06.789' + n * interval '1 hour'",
    "timestamp with time zone": f"timestamptz '{_DAY} 04:05:06.789Z' + n * interval '1 hour'",
    "jsonb": "jsonb_build_object(COLUMN, n)",
    "json": "json_build_object(COLUMN, n)",
    "text[]": "ARRAY[COLUMN || n, NULL]",
    "date[]": f"ARRAY[date '{_DAY}' + n]",
    "integer[]": "ARRAY[n]",
    "daterange": f"daterange('{_DAY}', date '{_DAY}' + n)",
    "datemultirange": f"datemultirange(daterange('{_DAY}', date '{_DAY}' + n))",
}
"""A value of each type in the row `n` of a column."""
_LISTED: Mapping[str, str] = {
    "issues": """'[{"type": "missing_trade_records", "severity": 1}]'::jsonb"""
}
Rows = Mapping[str, Sequence[Mapping[str, object]]]


async def _fill(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Give every table rows with a value in each column."""
    for raw in ("metrics_daily", "metrics_hourly", "trades_closed", "trades_open"):
        await connection.execute(
            f"SELECT {SCHEMA}.recon_create_partitions('raw_{raw}', ARRAY[date '{_DAY}'])"
        )
    for table in await connection.fetch(_TABLES, SCHEMA):
        name = f"{SCHEMA}.{table['name']}"
        columns = await connection.fetch(_COLUMNS, name)
        listed = ", ".join(f'"{column["name"]}"' for column in columns)
        if any(column["name"] in ("only_row", "singleton") for column in columns):
            await connection.execute(f"DELETE FROM {name}")
        await connection.execute(
            f"INSERT INTO {name} ({listed}) OVERRIDING SYSTEM VALUE SELECT"
            f" {', '.join(_value(column) for column in columns)}"
            f" FROM generate_series(1, {_ROWS}) AS n ON CONFLICT DO NOTHING"
        )


def _value(column: asyncpg.Record) -> str:
    name, condition = column["name"], column["condition"] or ""
    if name in ("only_row", "singleton"):
        return "true"
    if name in _LISTED:
        return _LISTED[name]
    if "ARRAY[" in condition:
        # One of the words that a CHECK takes.
        return f"({condition[condition.index('ARRAY[') : condition.index(']') + 1]})[1]"
    return _VALUES[column["type"]].replace("COLUMN", f"'{name}'")


async def _read(connection: "asyncpg.Connection[asyncpg.Record]") -> Rows:
    found = {}
    for table in await connection.fetch(_TABLES, SCHEMA):
        rows = await connection.fetch(
            f"SELECT to_jsonb(t)::text AS row FROM {SCHEMA}.{table['name']} AS t"
        )
        found[table["name"]] = [json.loads(row["row"]) for row in rows]
    return found


def _as_before(now: Rows, before: Rows) -> Rows:
    """The rows of earlier tables with their earlier columns, and each in its earlier place."""
    found = {}
    for table, rows in before.items():
        columns = rows[0].keys()
        kept = [{name: row[name] for name in columns} for row in now[table]]
        found[table] = sorted(kept, key=str)
    return found


def _with_known_changes(before: Rows) -> Rows:
    """The rows as a migration on the way writes them: dates of which rows came became several."""
    return {
        table: sorted(
            [
                {
                    name: f"{{{value}}}"
                    if name == "asked_dates" and not str(value).startswith("{")
                    else value
                    for name, value in row.items()
                }
                for row in rows
            ],
            key=str,
        )
        for table, rows in before.items()
    }


@pytest.mark.parametrize("state", _STATES)
async def test_no_row_of_an_earlier_version_is_lost_or_changed(
    postgres: Server, state: str
) -> None:
    async with new_database(postgres, SCHEMA) as place:
        await migrate_as_before(place.owner.dsn, SCHEMA, state)
        async with place.owner.connect() as connection:
            await _fill(connection)
            before = await _read(connection)
            assert {len(rows) for table, rows in before.items() if table not in _ONE_ROW} == {_ROWS}
            names = [path.stem for path in (*replaced_files(), *later_files())]
            assert await migrate(place.owner.dsn, SCHEMA) == [
                name for name in names if name > state and not name.startswith(state)
            ]
            now = await _read(connection)
            assert _as_before(now, before) == _with_known_changes(before)
            assert await migrate(place.owner.dsn, SCHEMA) == []
            assert await _read(connection) == now
            assert await _recorded(connection) == sorted([*names, BASELINE])


async def _recorded(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    rows = await connection.fetch(f"SELECT name FROM {SCHEMA}.recon_migrations ORDER BY name")
    return [row["name"] for row in rows]


async def _half(place: Place) -> list[str]:
    """Migrate as an earlier version did; the migrations that are to come."""
    await migrate_as_before(place.owner.dsn, SCHEMA, "0060")
    names = [path.stem for path in (*replaced_files(), *later_files())]
    return [name for name in names if name > "0061"]


async def test_processes_that_bring_it_forward_at_once_do_it_once(postgres: Server) -> None:
    async with new_database(postgres, SCHEMA) as place:
        missing = await _half(place)
        done = await asyncio.gather(*(migrate(place.owner.dsn, SCHEMA) for _ in range(3)))
        assert sorted(name for one in done for name in one) == missing


async def test_an_install_that_finds_the_record_of_another_leaves_all_as_it_is(
    postgres: Server,
) -> None:
    """As where a process of an earlier version migrated while this one waited for the lock."""
    async with new_database(postgres, SCHEMA) as place:
        await _half(place)
        async with place.owner.connect() as connection:
            before = await _recorded(connection)
            applied: list[str] = []
            assert not await applying.install(connection, SCHEMA, applied)
            assert (await _recorded(connection), applied) == (before, [])


async def test_a_migration_that_breaks_off_on_the_way_goes_on_where_it_ended(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = applying._execute

    async def breaks_off(
        connection: "asyncpg.Connection[asyncpg.Record]", schema: str, path: Path
    ) -> bool:
        if path.stem.startswith("0100"):
            await execute(connection, schema, path)
            raise KeyboardInterrupt
        return await execute(connection, schema, path)

    async with new_database(postgres, SCHEMA) as place:
        missing = await _half(place)
        with monkeypatch.context() as broken:
            broken.setattr(applying, "_execute", breaks_off)
            with pytest.raises(KeyboardInterrupt):
                await migrate(place.owner.dsn, SCHEMA)
        assert await migrate(place.owner.dsn, SCHEMA) == [
            name for name in missing if name >= "0100"
        ]


async def test_a_database_of_a_newer_version_is_told_by_migrate_at_the_start_and_by_doctor(
    postgres: Server,
) -> None:
    sentence = (
        f"The schema {SCHEMA} is newer than this trade-recon, which does not know 2 migrations of"
        " it (9999_b is the newest): run the version that made it."
    )
    async with new_database(postgres, SCHEMA) as place:
        await migrate(place.owner.dsn, SCHEMA)
        async with place.owner.connect() as connection:
            await connection.execute(
                # The last one is older than all that this version knows, and says nothing.
                "INSERT INTO recon_migrations (name, adopted) VALUES ('9998_a', false), ('9999_b',"
                " false), ('0011_renamed', false)"
            )
        said: list[str] = []
        assert await migrate(place.owner.dsn, SCHEMA, tell=said.append) == []
        assert said == [sentence]
        settings = Settings(database_url=SecretStr(place.owner.dsn), recon_schema=SCHEMA)
        with structlog.testing.capture_logs() as logs:
            async with open_store(settings):
                pass
        assert [line["event"] for line in logs if line.get("action") == "schema.newer"] == [
            sentence
        ]
        found = [finding async for finding in examine(settings)]
        assert Finding(Level.NOTE, sentence) in found


async def test_a_database_that_only_lacks_the_baseline_in_its_record_is_sent_to_migrate(
    postgres: Server,
) -> None:
    async with new_database(postgres, SCHEMA) as place:
        await migrate_as_before(place.owner.dsn, SCHEMA)
        settings = Settings(database_url=SecretStr(place.owner.dsn), recon_schema=SCHEMA)
        with pytest.raises(
            ConfigurationError, match=f"{BASELINE} first.*run `trade-recon migrate`"
        ):
            async with open_store(settings):
                pass
