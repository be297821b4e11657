"""A user of the earlier system moves in and out again: each of the three forms of its schema, with
what years of use leave in it.
"""

import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.adoption import print_uninstall
from app.domain.contract.caps import Caps
from app.domain.contract.tables import TABLES, Endpoint
from app.domain.states import RunKind, RunStatus
from app.sandbox.server.serving import SandboxServer
from app.sandbox.witness.comparison import Comparison, DifferenceKind, compare
from app.sandbox.witness.ingestion import ingest
from app.sandbox.world.world import World
from app.settings.model import Settings
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Server
from tests.support.commands import access, run_command
from tests.support.engine import TODAY, engine, run
from tests.support.warehouses.building import Place, execute, new_database
from tests.support.warehouses.catalogue import Dump, dump_schema
from tests.support.warehouses.heritage import (
    FORMS,
    GRANTS,
    IN_PARTS,
    OLD_OBJECTS,
    SCHEMA,
    tables_of_heritage,
)
from tests.support.warehouses.worlds import edit, world

TEXT_TICKETS = ("acc-00003", "acc-00006")
"""Upstream sends tickets of these accounts that are no numbers."""
NO_ID_UPSTREAM = "acc-00020"
"""Upstream knows this account by no id: it stands under the MD5 of its natural key."""
CAPPED = "mean_tp_vs_sl"
CAPS = Caps.read("numeric(10,6)=9999.999999")
_API_NAME = {field.column: field.api_name for field in TABLES[Endpoint.DAILY].fields}[CAPPED]
_DROPPED = (TODAY - dt.timedelta(days=40)).replace(day=1)
"""A month whose hourly rows the owner dropped, with the partition where there is one."""

OLD_ROWS = (
    (
        "INSERT INTO SCHEMA.trade_recon (account_id, issues, failed_attempts,"
        " trades_recon_checksum) VALUES ('acc-00001', NULL, NULL, NULL)"
    ),
    (
        "INSERT INTO SCHEMA.trade_recon (account_id, failed_attempts, issues) VALUES"
        ' (\'acc-00002\', 3, \'["words", 7, {"type": "unknown"}]\')'
    ),
    (
        "INSERT INTO SCHEMA.trade_recon (account_id) SELECT md5(login || '|' || platform || '|' ||"
        " broker) FROM SCHEMA.raw_metrics_alltime WHERE account_id = 'acc-00010'"
    ),
    "REFRESH MATERIALIZED VIEW SCHEMA.mv_all_account_ids",
    f"UPDATE SCHEMA.raw_metrics_daily SET {CAPPED} = 9999.999999",
)
"""What the earlier system and its ingestion left: nothing known, odd entries, a placeholder as an
account, and capped values.
"""
DAMAGE = (
    # Ids: none yet, placeholders of the trigger, and a login in place of an id.
    (
        "UPDATE SCHEMA.raw_trades_closed SET account_id = NULL WHERE account_id IN ('acc-00004',"
        " 'acc-00008')"
    ),
    (
        "UPDATE SCHEMA.raw_metrics_daily SET account_id = NULL WHERE account_id = 'acc-00018' AND"
        " date = (SELECT max(date) FROM SCHEMA.raw_metrics_daily WHERE account_id = 'acc-00018')"
    ),
    "UPDATE SCHEMA.raw_trades_closed SET account_id = login WHERE account_id = 'acc-00013'",
    # Rows that are lacking.
    "DELETE FROM SCHEMA.raw_metrics_hourly WHERE account_id IN ('acc-00001', 'acc-00014')",
    "DELETE FROM SCHEMA.raw_metrics_daily WHERE account_id = 'acc-00015'",
    "DELETE FROM SCHEMA.raw_trades_closed WHERE account_id = 'acc-00016'",
    "DELETE FROM SCHEMA.raw_metrics_alltime WHERE account_id = 'acc-00017'",
)
WRONG_JOIN = """
UPDATE SCHEMA.raw_trades_closed AS t SET account_id = other.account_id
FROM (SELECT account_id FROM SCHEMA.raw_metrics_alltime WHERE account_id LIKE 'acc-%' ORDER BY account_id LIMIT 1) AS other
WHERE t.ctid IN (SELECT ctid FROM SCHEMA.raw_trades_closed ORDER BY position LIMIT 40)
"""
"""Ingestion that joins trades with accounts by ctid, which each partition counts from the start."""
OLD_QUERIES = (
    (
        "SELECT account_id, num_trades_alltime, num_trades_daily, num_trades_hourly,"
        " num_trades_raw_closed, trades_recon_checksum, issues, failed_attempts,"
        " last_failed_attempt, created_at FROM trade_recon WHERE NOT trades_recon_checksum AND"
        " failed_attempts = 0 ORDER BY last_checked NULLS FIRST LIMIT 10 FOR UPDATE SKIP LOCKED"
    ),
    (
        "SELECT total_accounts, reconciled, needs_reconciliation, has_failures, has_issues,"
        " reconciliation_percentage, last_activity, oldest_unreconciled FROM"
        " v_reconciliation_progress"
    ),
    "SELECT issue_type, severity, account_count, sample_accounts FROM get_issue_statistics()",
    "SELECT update_trade_recon_stats(account_id) FROM mv_all_account_ids LIMIT 3",
    "SELECT update_trade_recon_stats(p_account_id => 'acc-00001')",
    "REFRESH MATERIALIZED VIEW CONCURRENTLY mv_all_account_ids",
    (
        "INSERT INTO trade_recon (account_id, has_alltime) SELECT account_id, true FROM"
        " mv_all_account_ids ON CONFLICT (account_id) DO NOTHING"
    ),
    (
        "UPDATE trade_recon SET issues = '[]', last_reconciled = now(), failed_attempts = 0 WHERE"
        " account_id = 'acc-00001'"
    ),
    (
        "INSERT INTO raw_metrics_daily (account_id, date, login, platform, broker, num_trades)"
        " SELECT account_id, date, login, platform, broker, num_trades FROM raw_metrics_daily ORDER"
        " BY account_id, date LIMIT 5 ON CONFLICT (account_id, date) DO UPDATE SET num_trades ="
        " excluded.num_trades"
    ),
    (
        "INSERT INTO raw_metrics_hourly (account_id, date, hour, login, platform, broker,"
        " num_trades) SELECT account_id, date, hour, login, platform, broker, num_trades FROM"
        " raw_metrics_hourly ORDER BY 1, 2, 3 LIMIT 5 ON CONFLICT (account_id, date, hour) DO"
        " UPDATE SET num_trades = excluded.num_trades"
    ),
    "SELECT total_accounts, reconciliation_percentage FROM firm_dashboard",
)
"""Statements of the earlier system's jobs and dashboards, in words of our own."""


@dataclass(frozen=True)
class Moved:
    """What was seen: sentences of `migrate`, the runs, comparisons after each step, and the schema
    before and after all of it.
    """

    form: str
    place: Place
    told: Sequence[str]
    runs: Mapping[str, Mapping[str, Any]]
    comparisons: Mapping[str, Comparison]
    set_aside: Sequence[Mapping[str, Any]]
    issues: Mapping[str, Sequence[str]]
    queries: Sequence[str]
    codes: Mapping[str, int]
    report: Mapping[str, Any]
    before: tuple[Dump, Sequence[str]]
    after: tuple[Dump, Sequence[str]]


def upstream_world() -> World:
    made = world(accounts=20, in_parts=IN_PARTS)
    edit(made.records(Endpoint.DAILY), lambda row: row.update({_API_NAME: 123456.75}))
    for account in TEXT_TICKETS:
        edit(
            made.records(Endpoint.CLOSED, [account])[:3],
            lambda row: row.update(ticket=f"W{row['ticket']}"),
        )
    made.hide_id(NO_ID_UPSTREAM)
    return made


async def _move(postgres: Server, form: str, folder: Path, stack: AsyncExitStack) -> Moved:
    place = await stack.enter_async_context(new_database(postgres, SCHEMA))
    sandbox = await stack.enter_async_context(SandboxServer(upstream_world()))
    await execute(place, (*FORMS[form], *OLD_OBJECTS, *GRANTS))
    async with place.owner.connect() as connection:
        await ingest(sandbox.base_url, sandbox.api_key, connection, SCHEMA)
    await execute(place, OLD_ROWS)
    before = await _seen(place)
    told: list[str] = []
    await migrate(place.owner.dsn, SCHEMA, tell=told.append)
    await execute(place, DAMAGE)
    await execute(place, [_dropping(form)])
    runs: dict[str, Mapping[str, Any]] = {}
    comparisons = {}
    async with engine(place.owner, sandbox, caps=CAPS) as service:
        for name, kind in (
            ("audit", RunKind.AUDIT),
            ("full", RunKind.FULL),
            ("again", RunKind.AUDIT),
        ):
            runs[name] = await run(service, kind)
            comparisons[name] = await _compared(place, sandbox)
        await execute(place, [WRONG_JOIN])
        comparisons["wrong"] = await _compared(place, sandbox)
        runs["after ingestion"] = await run(service, RunKind.FULL)
        comparisons["after ingestion"] = await _compared(place, sandbox)
    codes, report = (
        await _commands(place, sandbox, folder) if form == next(iter(FORMS)) else ({}, {})
    )
    async with place.owner.connect() as connection:
        aside = [
            dict(row)
            for row in await connection.fetch(
                "SELECT table_name, account_id, reason FROM recon_set_aside_rows"
            )
        ]
        rows = await connection.fetch(
            "SELECT account_id, issues::text AS issues FROM trade_recon WHERE issues <> '[]'"
        )
        issues = {
            row["account_id"]: [issue["type"] for issue in json.loads(row["issues"])]
            for row in rows
        }
    queries = await _failing(place)
    async with place.owner.connect() as connection:
        await connection.execute(
            await print_uninstall(Settings(database_url=SecretStr(place.owner.dsn)), "trade_recon")
        )
    return Moved(
        form,
        place,
        told,
        runs,
        comparisons,
        aside,
        issues,
        queries,
        codes,
        report,
        before,
        await _seen(place),
    )


async def _commands(
    place: Place, sandbox: SandboxServer, folder: Path
) -> tuple[dict[str, int], dict[str, Any]]:
    """How our command and the earlier one end, and the report that the earlier one tells."""
    variables = {**access(place.owner, sandbox), "RECON_CAPS": "numeric(10,6)=9999.999999"}
    reconciled = await run_command(folder, variables, "reconcile")
    as_before = await run_command(folder, variables, "reconcile", "--fail-on", "failed:10%")
    legacy = await run_command(
        folder, variables, "legacy", "--fix-null-ids", "--reconcile", "--report"
    )
    label = "Reconciliation report: "
    assert label in legacy.stdout, legacy.stderr
    report = json.loads(legacy.stdout[legacy.stdout.index(label) + len(label) :])
    return {
        "reconcile": reconciled.code,
        "as before": as_before.code,
        "legacy": legacy.code,
    }, report


def _dropping(form: str) -> str:
    """The owner drops a month of hourly rows for good."""
    if "plain" in form:
        end = (_DROPPED + dt.timedelta(days=32)).replace(day=1)
        return (
            f"DELETE FROM SCHEMA.raw_metrics_hourly WHERE date >= '{_DROPPED}' AND date < '{end}'"
        )
    return f"DROP TABLE SCHEMA.raw_metrics_hourly_{_DROPPED:%Y_%m}"


async def _seen(place: Place) -> tuple[Dump, list[str]]:
    async with place.owner.connect() as connection:
        rows = await connection.fetch(
            "SELECT to_jsonb(t)::text AS row FROM trade_recon AS t ORDER BY 1"
        )
        return await dump_schema(connection, SCHEMA), [row["row"] for row in rows]


async def _compared(place: Place, sandbox: SandboxServer) -> Comparison:
    async with place.owner.connect() as connection:
        upstream = {endpoint: sandbox.world.rows(endpoint) for endpoint in Endpoint}
        return await compare(upstream, connection, SCHEMA, sample=1_000_000)


async def _failing(place: Place) -> list[str]:
    """The old queries that do not run any more; what they write is undone."""
    failing = []
    async with place.owner.connect() as connection:
        for query in OLD_QUERIES:
            transaction = connection.transaction()
            await transaction.start()
            try:
                await connection.execute(query)
            except Exception as error:  # noqa: BLE001 - named by the test
                failing.append(f"{query}: {error}")
            await transaction.rollback()
    return failing


@pytest.fixture(scope="module")
async def moved(
    postgres: Server, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mapping[str, Moved]]:
    async with contextlib.AsyncExitStack() as stack:
        yield {
            form: await _move(postgres, form, tmp_path_factory.mktemp("moved"), stack)
            for form in FORMS
        }


each_form = pytest.mark.parametrize("form", FORMS)


def _has_integer_tickets(form: str) -> bool:
    return form.startswith("integer")


def _unnamed(seen: Moved, comparison: Comparison) -> list[str]:
    """Differences that are not named, as are capped values, tickets that the column cannot hold,
    and closings in two parts.
    """
    left = []
    for each in comparison.sample:
        named = set(seen.issues.get(each.account_ids[0], ())) if each.account_ids else set()
        is_text = any(
            row["account_id"] in each.account_ids and "is a text" in row["reason"]
            for row in seen.set_aside
        )
        is_capped = each.kind is DifferenceKind.DIFFERING and each.columns == (CAPPED,)
        is_narrow = each.kind is DifferenceKind.MISSING and "key_too_narrow" in named
        if not (
            is_capped
            or is_narrow
            or (is_text and each.kind is DifferenceKind.MISSING)
            or each.table == "raw_trades_open"
        ):
            left.append(f"{each.table} {each.kind} {each.key} {each.account_ids} {each.columns}")
    return left


@each_form
async def test_what_becomes_of_the_earlier_system_is_told(
    moved: Mapping[str, Moved], form: str
) -> None:
    told = "\n".join(moved[form].told)
    assert "trade_recon keeps its 3 rows" in told
    assert "1 row of trade_recon is under ids that stand in for unknown ones" in told
    for name in (
        "update_trade_recon_stats",
        "get_issue_statistics",
        "v_reconciliation_progress",
        "mv_all_account_ids",
    ):
        assert f" {name}_before_trade_recon" in told


@each_form
async def test_after_an_audit_only_what_is_named_is_left(
    moved: Mapping[str, Moved], form: str
) -> None:
    seen = moved[form]
    assert _unnamed(seen, seen.comparisons["audit"]) == []
    texts = {row["account_id"] for row in seen.set_aside if "is a text" in row["reason"]}
    assert texts == (set(TEXT_TICKETS) if _has_integer_tickets(form) else set())
    assert not any("out of range" in row["reason"] for row in seen.set_aside)


@each_form
async def test_a_second_run_writes_nothing(moved: Mapping[str, Moved], form: str) -> None:
    seen = moved[form]
    for name in ("full", "again"):
        rows = seen.runs[name]["rows"]
        assert {
            kind: rows[kind] for kind in ("inserted", "updated", "moved", "removed")
        } == dict.fromkeys(("inserted", "updated", "moved", "removed"), 0), name


@each_form
async def test_what_an_ingestion_that_joins_wrongly_does_is_put_right_by_the_next_run(
    moved: Mapping[str, Moved], form: str
) -> None:
    seen = moved[form]
    assert _unnamed(seen, seen.comparisons["wrong"]) != []
    assert _unnamed(seen, seen.comparisons["after ingestion"]) == []


@each_form
async def test_runs_end_in_order_and_old_queries_go_on(
    moved: Mapping[str, Moved], form: str
) -> None:
    seen = moved[form]
    assert {RunStatus(state["status"]) for state in seen.runs.values()} <= {
        RunStatus.SUCCEEDED,
        RunStatus.COMPLETED_WITH_ISSUES,
    }
    assert seen.queries == []


async def test_the_commands_end_as_the_old_ones_where_that_is_chosen_and_the_loop_over_the_old_report_goes_on(
    moved: Mapping[str, Moved],
) -> None:
    [seen] = [each for each in moved.values() if each.codes]
    # Accounts whose tickets the column cannot hold: the run that met them told, and the rest is for
    # the column's owner.
    assert seen.codes == {"reconcile": 0, "as before": 0, "legacy": 0}
    lines = []
    for day in seen.report["recent_activity"]:
        share = day["resolved"] / day["accounts_checked"] if day["accounts_checked"] else 0
        lines.append(f"{day['check_date']}: {share:.0%}, {day['failed']} failed")
    assert lines
    lines += [
        f"{issue['issue_type']} ({issue['severity']:d}): {issue['account_count']:d},"
        f" {', '.join(issue['sample_accounts'])}"
        for issue in seen.report["issues_by_type"]
    ]
    assert seen.report["overall"]["reconciliation_percentage"] > 50


@each_form
async def test_uninstall_leaves_the_catalogue_and_trade_recon_as_they_were(
    moved: Mapping[str, Moved], form: str
) -> None:
    before, after = moved[form].before, moved[form].after
    changed = {
        name for name in {*before[0], *after[0]} if before[0].get(name) != after[0].get(name)
    }
    # The month that the owner had dropped was made again for the rows that alltime counts.
    again = f"raw_metrics_hourly_{_DROPPED:%Y_%m}"
    assert {name for name in changed if not name.startswith(again)} == set()
    assert after[1] == before[1]


def test_the_forms_differ_in_the_type_of_the_ticket_and_the_partitions_of_hourly_rows() -> None:
    assert len({FORMS[form] for form in FORMS}) == len(FORMS)
    assert tables_of_heritage() in FORMS.values()
