"""Open trades: an audit counts upstream's snapshot beside what is stored, shows the difference, and
writes nothing.
"""

import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator
from random import Random

import pytest

from app.cli.output.report import show_report
from app.cli.output.tables import results_console
from app.domain.contract.open_trades import date_of
from app.domain.contract.tables import Endpoint
from app.domain.states import RunKind, RunStatus
from app.sandbox.server.faults import Faults, Rejection
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from app.web.schemas.report import Report
from tests.conftest import Database
from tests.support.clock import TODAY
from tests.support.engine import engine, fill, run
from tests.support.plain import plain_report


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer(
        World.generate(14, seed=8, today=TODAY, trades_per_account=6, days=20, contradictory=False)
    ) as server:
        yield server


@pytest.fixture
async def equal(database: Database, sandbox: SandboxServer) -> Database:
    await fill(database, sandbox)
    return database


async def test_a_snapshot_that_is_stored_as_it_is_differs_on_no_date_and_costs_one_request(
    equal: Database, sandbox: SandboxServer
) -> None:
    sandbox.log.reset()
    async with engine(equal, sandbox) as service:
        await run(service, RunKind.AUDIT)
        found = plain_report(await service.readings.report())["open_trades"]
    assert isinstance(found, dict)
    snapshot = len(sandbox.world.rows(Endpoint.OPEN))
    assert snapshot > 3
    assert (found["upstream"], found["stored"], found["dates"], found["error"]) == (
        snapshot,
        snapshot,
        [],
        None,
    )
    assert sum(each.endpoint is Endpoint.OPEN for each in sandbox.log.requests) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_the_difference_is_shown_by_date_and_no_row_is_written(
    seed: int, equal: Database, sandbox: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    random = Random(seed)
    sent = Counter(record.day for record in sandbox.world.records(Endpoint.OPEN))
    async with equal.connect() as connection:
        lost = random.sample(
            [
                row["position"]
                for row in await connection.fetch("SELECT position FROM raw_trades_open")
            ],
            2 + seed,
        )
        await connection.execute("DELETE FROM raw_trades_open WHERE position = ANY($1)", lost)
        old = min(day for day in sent if day) - dt.timedelta(days=400)
        await connection.execute(
            "SELECT recon_create_partitions('raw_trades_open', ARRAY[$1::date])", old
        )
        await connection.execute(
            "INSERT INTO raw_trades_open (trade_date, broker, platform, ticket, position, login)"
            " VALUES ($1, 1, 2, 'x', 'y', 'z')",
            old,
        )
        before = await connection.fetch(
            "SELECT trade_date, count(*) AS rows FROM raw_trades_open GROUP BY 1"
        )
        stored = {row["trade_date"]: row["rows"] for row in before}
        async with engine(equal, sandbox) as service:
            state = await run(service, RunKind.AUDIT)
            found = await service.readings.report()
            report = plain_report(found)
        assert (
            await connection.fetch(
                "SELECT trade_date, count(*) AS rows FROM raw_trades_open GROUP BY 1"
            )
            == before
        )
    assert state["rows"] == dict.fromkeys(
        ("inserted", "updated", "moved", "removed", "set_aside"), 0
    )
    shown = Report.model_validate(report).open_trades
    assert shown is not None
    assert (shown.upstream, shown.stored, shown.stored_of_other_dates) == (
        sent.total(),
        sent.total() - len(lost),
        1,
    )
    assert {each.date: (each.upstream, each.stored) for each in shown.dates} == {
        day: (count, stored.get(day, 0))
        for day, count in sent.items()
        if day and count != stored.get(day, 0)
    }
    show_report(results_console(), found)
    assert (
        f"Open trades: {sent.total()} in upstream's snapshot, {sent.total() - len(lost)} stored"
        in capsys.readouterr().out
    )


async def test_a_snapshot_that_cannot_be_read_costs_the_audit_nothing_else(
    equal: Database, sandbox: SandboxServer
) -> None:
    async with equal.connect() as connection:
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = $1", sandbox.world.account_ids[0]
        )
    for status in (404, 403, 500):
        sandbox.set_faults(
            Faults(rejections=(Rejection(status=status, endpoints=frozenset({Endpoint.OPEN})),))
        )
        async with engine(equal, sandbox) as service:
            state = await run(service, RunKind.AUDIT)
            found = plain_report(await service.readings.report())["open_trades"]
        assert state["status"] == RunStatus.SUCCEEDED, (status, state["error"])
        assert isinstance(found, dict)
        assert found["error"], status
        assert found["upstream"] is None


@pytest.mark.parametrize(
    ("sent", "day"),
    [
        ('"2025-06-01T00:00:00.000Z"', dt.date(2025, 6, 1)),
        ('"20250601"', dt.date(2025, 6, 1)),
        ("20250601", dt.date(2025, 6, 1)),
        ('"2025-11-31"', None),
        ('"soon"', None),
        ("null", None),
        ('"2025-6-1"', None),
    ],
)
def test_the_date_of_an_open_trade_is_read_in_all_its_forms(sent: str, day: dt.date | None) -> None:
    assert date_of(f'{{"tradeDate": {sent}}}'.encode()) == day
    assert date_of(b'{"login": "7"}') is None
