"""The report's figures, counted in few passes: the same as the views of old and the attempts
themselves tell.
"""

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

import pytest

from app.engine.config import EngineConfig
from app.engine.report.views import Readings
from app.engine.repositories import Repositories
from app.store.database.pool import Database as Pool
from tests.conftest import Database
from tests.support.clock import now
from tests.support.plain import plain_report

if TYPE_CHECKING:
    import asyncpg

_ACCOUNTS = """
INSERT INTO trade_recon (account_id, trades_recon_checksum, mismatched_days, failed_attempts, reconciliation_status, last_checked, issues)
SELECT
    'account-' || n, n % 3 > 0, n % 2, n % 4, (ARRAY['pending', 'reconciled', 'failed'])[1 + n % 3], now() - make_interval(hours => n),
    CASE WHEN n % 5 = 0 THEN jsonb_build_array(
        jsonb_build_object(
            'type', 'daily_without_hourly', 'severity', 2, 'missing_dates', jsonb_build_array('2026-02-' || 10 + n % 7, '2026-03-01')
        ),
        jsonb_build_object('type', 'upstream_inconsistent', 'severity', 5, 'missing_dates', jsonb_build_array('2020-01-01'))
    ) ELSE '[]' END
FROM generate_series(1, 200) AS n
"""
_ATTEMPTS = """
INSERT INTO recon_attempts (run_id, account_id, position, outcome, finished_at)
SELECT $1, 'account-' || n || '-' || day, n, (ARRAY['healed', 'failed', 'partial'])[1 + n % 3], now() - make_interval(days => day)
FROM generate_series(1, 9) AS n, generate_series(0, 9) AS day
"""
_RUN = "INSERT INTO recon_runs (run_id, kind, status) VALUES ($1, 'full', 'running')"
_DAYS = """
SELECT to_char(finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, count(*) AS accounts_checked,
    count(*) FILTER (WHERE outcome = 'healed') AS resolved, count(*) FILTER (WHERE outcome = 'failed') AS failed
FROM recon_attempts WHERE finished_at IS NOT NULL GROUP BY 1 ORDER BY 1 DESC LIMIT 8
"""


@pytest.fixture
async def connection(database: Database) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    async with database.connect() as connection:
        yield connection


@pytest.fixture
async def readings(database: Database) -> AsyncIterator[Readings]:
    """With a single connection: whoever held one and asked for another would wait for itself."""
    async with Pool.open(database.dsn, database.schema, pool_size=1) as pool:
        yield Readings(await Repositories.build(pool, 60), EngineConfig(), now)


async def _kept(readings: Readings) -> Mapping[str, object]:
    assert await readings.keep_report()
    kept: Mapping[str, object] = plain_report(readings.shown(await readings.kept()))
    return kept


def _activity(report: Mapping[str, object]) -> Mapping[str, int]:
    """Accounts checked, by day."""
    return {day["day"]: day["accounts_checked"] for day in report["recent_activity"]["days"]}  # type: ignore[index]


async def test_one_pass_tells_what_the_views_of_old_tell(
    readings: Readings, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await connection.execute(_ACCOUNTS)
    kept = await _kept(readings)
    view = await connection.fetchrow("SELECT * FROM v_reconciliation_progress")
    assert view is not None
    overall: Mapping[str, object] = kept["overall"]  # type: ignore[assignment]
    assert overall == {
        name: (
            value.isoformat().replace("+00:00", "Z")
            if isinstance(value, dt.datetime)
            else pytest.approx(float(value))
        )
        for name, value in view.items()
    }
    assert kept["issues_by_type"] == [
        dict(row) for row in await connection.fetch("SELECT * FROM get_issue_statistics()")
    ]
    statuses = await connection.fetch(
        "SELECT reconciliation_status, count(*) FROM trade_recon GROUP BY 1"
    )
    assert kept["accounts_by_status"] == {row[0]: row[1] for row in statuses}
    assert kept["reconciled_through"] is None, "some disagree, and no issue says where"
    await connection.execute(
        "UPDATE trade_recon SET trades_recon_checksum = true, mismatched_days = 0 WHERE issues ="
        " '[]'"
    )
    assert (await _kept(readings))["reconciled_through"] == dt.date(2026, 2, 9)


async def test_a_warehouse_without_accounts_has_a_report(readings: Readings) -> None:
    kept = await _kept(readings)
    assert kept["overall"]["total_accounts"] == 0  # type: ignore[index]
    assert (kept["issues_by_type"], kept["accounts_by_status"], kept["reconciled_through"]) == (
        [],
        {},
        None,
    )


async def test_an_emptied_table_of_figures_is_filled_again(
    readings: Readings, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await connection.execute(_ACCOUNTS)
    await connection.execute("TRUNCATE recon_report, recon_window")
    kept = await _kept(readings)
    assert kept["overall"]["total_accounts"] == 200  # type: ignore[index]
    assert not await readings.keep_report(least_seconds=60)
    store = readings._store
    assert (
        await store.histories.note_window(dt.date(2026, 2, 1)),
        await store.histories.window(),
    ) == (True, dt.date(2026, 2, 1))
    assert not await store.histories.note_window(dt.date(2026, 2, 1))


@pytest.mark.parametrize(
    ("day", "through"),
    [
        (day, dt.date(2026, 2, 2))
        for day in ("0000-00-00", "2026-13-45", "yesterday", "", "9999-99-99")
    ]
    + [("2026-00-00", None)],
)
async def test_dates_of_an_earlier_system_that_are_none_break_nothing(
    readings: Readings,
    connection: "asyncpg.Connection[asyncpg.Record]",
    day: str,
    through: dt.date | None,
) -> None:
    await connection.execute(
        "INSERT INTO trade_recon (account_id, trades_recon_checksum, issues) VALUES ('a', false,"
        " jsonb_build_array(jsonb_build_object('type', 'daily_without_hourly', 'severity', 2,"
        " 'missing_dates', jsonb_build_array($1::text, '2026-02-03T00:00:00'))))",
        day,
    )
    assert (await _kept(readings))["reconciled_through"] == through


@pytest.mark.parametrize(
    ("daily_from", "first_trade", "issues", "through"),
    [
        ("2026-01-05", None, "[]", dt.date(2026, 1, 4)),
        (
            "2026-01-05",
            "2026-01-03",
            '[{"type": "absent_upstream", "severity": 3}]',
            dt.date(2026, 1, 2),
        ),
        (
            "-infinity",
            "2026-01-03",
            '[{"type": "absent_upstream", "severity": 3, "missing_dates": []}]',
            dt.date(2026, 1, 2),
        ),
        (None, None, '[{"type": "absent_upstream", "severity": 3}]', None),
        (
            "2026-01-05",
            None,
            '[{"type": "daily_without_hourly", "severity": 2, "missing_dates": ["2026-02-03"]}]',
            dt.date(2026, 2, 2),
        ),
    ],
)
async def test_a_held_account_whose_issues_name_no_date_puts_all_its_dates_in_doubt(
    readings: Readings,
    connection: "asyncpg.Connection[asyncpg.Record]",
    daily_from: str | None,
    first_trade: str | None,
    issues: str,
    through: dt.date | None,
) -> None:
    await connection.execute(
        "INSERT INTO trade_recon (account_id, trades_recon_checksum, reconciliation_status, issues)"
        " VALUES ('held', true, 'needs_confirmation', $1::text::jsonb), ('whole', true,"
        " 'reconciled', '[]')",
        issues,
    )
    await connection.execute(
        "INSERT INTO recon_identity (login, platform, broker, account_id, daily_from, today,"
        " counts, first_trade) VALUES ('1', 'p', 'b', 'held', $1::text::date, true, true,"
        " $2::text::date), ('2', 'p', 'b', 'whole', '2025-01-01', true, true, NULL)",
        daily_from,
        first_trade,
    )
    assert (await _kept(readings))["reconciled_through"] == through


async def test_a_day_that_is_over_is_counted_once(
    readings: Readings, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    run_id = uuid.uuid4()
    await connection.execute(_RUN, run_id)
    await connection.execute(_ATTEMPTS, run_id)
    first = await _kept(readings)
    expected = [dict(row) for row in reversed(await connection.fetch(_DAYS))]
    assert first["recent_activity"]["days"] == expected  # type: ignore[index]
    assert first["recent_activity"] == plain_report(await readings.report())["recent_activity"]
    # Nobody writes into a day that is over, so that only who counts it again sees this.
    await connection.execute("DELETE FROM recon_attempts WHERE position = 1")
    before, after = _activity(first), _activity(await _kept(readings))
    today = max(before)
    assert after[today] == before[today] - 1
    assert {day: count for day, count in after.items() if day < min(today, _an_hour_ago())} == {
        day: count for day, count in before.items() if day < min(today, _an_hour_ago())
    }


async def test_a_run_that_is_confirmed_takes_back_what_it_recorded_on_days_that_are_over(
    readings: Readings, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    run_id = uuid.uuid4()
    await connection.execute(_RUN, run_id)
    await connection.execute(_ATTEMPTS, run_id)
    before = _activity(await _kept(readings))
    await connection.execute(
        "UPDATE recon_attempts SET outcome = NULL, finished_at = NULL WHERE position = 1"
    )
    await connection.execute("UPDATE recon_runs SET confirmed_at = now()")
    assert _activity(await _kept(readings)) == {day: count - 1 for day, count in before.items()}


def _an_hour_ago() -> str:
    return (dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)).date().isoformat()
