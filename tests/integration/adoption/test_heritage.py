"""The warehouse of the first system: its narrow key, its checks, and what its dashboards read."""

import json

from app.domain.issues.codes import IssueCode
from app.sandbox.witness.raw_sql import quoted
from tests.integration.adoption.conftest import Stories
from tests.support.warehouses.building import with_setting
from tests.support.warehouses.heritage import HERITAGE, IN_PARTS, TOO_SUCCESSFUL

CLOSED = "raw_trades_closed"


def tickets(rows: object) -> set[str]:
    return {json.loads(row)["ticket"] for row in rows}  # type: ignore[attr-defined]


async def test_of_a_closing_in_two_parts_the_stored_one_stays_and_both_are_evidence(
    stories: Stories,
) -> None:
    story = await stories(HERITAGE)
    for account_id in IN_PARTS:
        parts = {
            key
            for key in story.colliding[CLOSED]
            if key.split()[2]
            in {natural.login for natural in story.sandbox.world.natural_keys(account_id)}
        }
        missing = {
            each.key
            for each in story.comparison.sample
            if each.table == CLOSED and each.account_ids == (account_id,)
        }
        assert len(parts) == 2
        assert missing < parts
        evidence = json.dumps(story.issues[account_id][IssueCode.KEY_TOO_NARROW])
        assert all(key.split()[4] in evidence for key in parts)
        assert (
            len({each.key for each in story.comparison.sample if each.account_ids == (account_id,)})
            == 1
        )


async def test_a_part_that_was_stored_is_not_touched(stories: Stories) -> None:
    story = await stories(HERITAGE)
    [stored] = [
        row
        for row in story.rows[1][CLOSED]
        if json.loads(row)["account_id"] == IN_PARTS[0]
        and any(json.loads(row)["ticket"] == key.split()[4] for key in story.colliding[CLOSED])
    ]
    assert story.rows[3][CLOSED][stored] == 1


async def test_a_row_that_a_check_refuses_is_set_aside_alone(stories: Stories) -> None:
    story = await stories(HERITAGE)
    [refused] = [entry for entry in story.set_aside if entry.table != CLOSED]
    assert (refused.table, refused.account_id) == ("raw_metrics_hourly", TOO_SUCCESSFUL)
    assert "rate_is_a_percentage" in refused.reason
    assert {entry.account_id for entry in story.set_aside if entry.table == CLOSED} == set(IN_PARTS)
    assert [
        each.key for each in story.comparison.sample if each.account_ids == (TOO_SUCCESSFUL,)
    ] == [refused.key]


async def test_what_the_old_system_had_recorded_is_kept_and_made_whole(stories: Stories) -> None:
    story = await stories(HERITAGE)
    async with story.place.owner.connect() as connection:
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM trade_recon WHERE num_nulls(issues, failed_attempts,"
                " trades_recon_checksum) > 0"
            )
            == 0
        )
        # What was healed is no issue any more, and a placeholder is no account.
        assert "2024-01-02" not in json.dumps(story.issues.get("acc-00003", {}))
        assert not await connection.fetchval(
            "SELECT count(*) FROM trade_recon WHERE account_id ~ '^[0-9a-f]{32}$'"
        )
        assert await connection.fetchval(
            "SELECT created_at < (SELECT min(applied_at) FROM recon_migrations) FROM trade_recon"
            " WHERE account_id = 'acc-00003'"
        )
        indexes = {
            row["indexname"]
            for row in await connection.fetch(
                "SELECT indexname FROM pg_indexes WHERE tablename = 'trade_recon'"
            )
        }
    assert {"trade_recon_pkey", "trade_recon_waiting", "trade_recon_issues"} <= indexes


async def test_dashboards_go_on_with_the_names_and_rights_that_they_had(stories: Stories) -> None:
    story = await stories(HERITAGE)
    accounts = len(story.sandbox.world.account_ids)
    async with with_setting(story.place.owner, "role", story.place.role).connect() as connection:
        progress = await connection.fetchrow("SELECT * FROM v_reconciliation_progress")
        dashboard = await connection.fetchrow(
            "SELECT total_accounts, reconciliation_percentage FROM firm_dashboard"
        )
        assert progress is not None
        assert dashboard is not None
        assert progress["total_accounts"] >= accounts
        assert dashboard["total_accounts"] == progress["total_accounts"]
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM mv_all_account_ids WHERE account_id LIKE 'acc-%'"
            )
            == accounts
        )
        found = {
            row["issue_type"]
            for row in await connection.fetch("SELECT * FROM get_issue_statistics()")
        }
        assert found == {kind for issues in story.issues.values() for kind in issues}
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM trade_recon WHERE account_id LIKE 'acc-%'"
            )
            == accounts
        )


async def test_the_old_functions_and_the_account_list_can_still_be_called_and_refreshed(
    stories: Stories,
) -> None:
    story = await stories(HERITAGE)
    async with story.place.owner.connect() as connection:
        await connection.execute("SELECT update_trade_recon_stats('acc-00001'::varchar)")
        row = await connection.fetchrow(
            "SELECT trades_recon_checksum, num_trades_raw_closed FROM trade_recon WHERE account_id"
            " = 'acc-00001'"
        )
        closed = await connection.fetchval(
            f"SELECT count(*) FROM {quoted(HERITAGE.schema)}.{CLOSED} WHERE account_id ="
            " 'acc-00001'"
        )
        assert row is not None
        assert tuple(row) == (True, closed)
        await connection.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY mv_all_account_ids")
