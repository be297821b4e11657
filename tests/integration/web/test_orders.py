"""Orders and ends: who starts or steers a run may say why, the record keeps it, and the log has a
line for each order and each end.
"""

import pytest
from structlog.testing import capture_logs

from app.domain.runs.orders import LONGEST_REASON, bounded_reason
from app.errors import InvalidRequest
from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.commands import ended, served, settings_for

_SLOW = Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=1.0)


async def test_each_order_stays_with_its_reason_and_has_a_line_in_the_log(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with filled.connect() as connection:
        await connection.execute("DELETE FROM raw_metrics_hourly")
    sandbox.set_faults(_SLOW)
    with capture_logs() as logs:
        async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
            location = (
                await client.post("/runs", json={"reason": "the night of\n the 9th"})
            ).headers["Location"]
            run_id = location.rpartition("/")[2]
            for action, body in (
                ("pause", {"reason": "deploy"}),
                ("pause", {"reason": "again"}),
                ("resume", None),
                ("cancel", {"reason": None}),
            ):
                assert (await client.post(f"{location}/{action}", json=body)).status_code == 200
            state = (await client.get(location)).json()
            # What was so already was not ordered.
            assert [(order["order"], order["reason"]) for order in state["orders"]] == [
                ("start", "the night of the 9th"),
                ("pause", "deploy"),
                ("resume", None),
                ("cancel", None),
            ]
            assert (
                await client.post("/maintenance", json={"reason": "after the move"})
            ).status_code == 200
            for wrong in ({"reason": "x" * (LONGEST_REASON + 1)}, {"reason": 7}, {"why": "x"}):
                assert (await client.post(f"{location}/pause", json=wrong)).status_code == 422
                assert (await client.post("/maintenance", json=wrong)).status_code == 422
            assert (
                await client.post("/runs", json={"reason": "x" * (LONGEST_REASON + 1)})
            ).status_code == 422
            sandbox.set_faults(NO_FAULTS)
            second = (await client.post("/runs")).headers["Location"]
            assert (await ended(client, second))["status"] == "succeeded"
    told = [
        (entry["action"], entry.get("run_id") == run_id)
        for entry in logs
        if entry.get("action", "").startswith("order.")
    ]
    assert told == [
        ("order.start", True),
        ("order.pause", True),
        ("order.resume", True),
        ("order.cancel", True),
        ("order.maintenance", False),
        ("order.start", False),
    ]
    ends = [entry for entry in logs if entry.get("action") == "run.finished"]
    assert [(entry["run_id"] == run_id, entry["status"]) for entry in ends] == [
        (True, "cancelled"),
        (False, "succeeded"),
    ]
    assert ends[1]["rows_inserted"] > 0
    assert ends[1]["seconds"] > 0
    assert ends[1]["requests"] > 0
    assert "failed" not in ends[1], "figures that are 0 are left out"
    async with filled.connect() as connection:
        kept = await connection.fetch("SELECT what, reason FROM recon_orders WHERE run_id IS NULL")
    assert [tuple(row) for row in kept] == [("maintenance", "after the move")]


@pytest.mark.parametrize(
    ("given", "kept"),
    [(None, None), ("", None), ("  \n ", None), (" a\n b\x00c ", "a b c"), ("x" * 500, "x" * 500)],
)
def test_a_reason_is_kept_as_one_line(given: str | None, kept: str | None) -> None:
    assert bounded_reason(given) == kept


def test_a_reason_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="at most 500 characters; this one has 501"):
        bounded_reason("x" * 501)
