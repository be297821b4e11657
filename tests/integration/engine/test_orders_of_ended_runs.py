"""An order about a run that has ended changes nothing, and is refused in a sentence that says when
it ended and what to do.
"""

import datetime as dt
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.domain.states import RunStatus
from app.engine.repositories import Repositories
from app.engine.runs.orders import RunOrders
from app.errors import Conflict
from app.store.database.pool import Database as Pool
from tests.conftest import SCHEMA, Database
from tests.support.clock import TODAY
from tests.support.commands import run_command

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_ENDED = dt.datetime(2026, 11, 24, 3, 10, 5, tzinfo=dt.UTC)
_TOLD = {
    RunStatus.SUCCEEDED: "has succeeded",
    RunStatus.COMPLETED_WITH_ISSUES: "is completed with issues",
    RunStatus.NEEDS_CONFIRMATION: "waits for confirmation",
    RunStatus.FAILED: "has failed",
    RunStatus.CANCELLED: "is cancelled",
}
_DONE = {"pause": "paused", "resume": "resumed", "cancel": "cancelled", "confirm": "confirmed"}
_FOLLOWED = {
    ("cancel", RunStatus.CANCELLED),
    ("cancel", RunStatus.NEEDS_CONFIRMATION),
    ("confirm", RunStatus.NEEDS_CONFIRMATION),
}


async def _ended(database: Database, status: RunStatus) -> uuid.UUID:
    run_id = uuid.uuid4()
    async with database.connect() as connection:
        await connection.execute(
            f"INSERT INTO {SCHEMA}.recon_runs (run_id, kind, status, created_at, prepared_at,"
            " finished_at) VALUES ($1, 'full', $2, $3, $3, $3)",
            run_id,
            status.value,
            _ENDED,
        )
    return run_id


async def test_each_order_about_a_run_that_has_ended_is_refused_in_a_sentence_and_changes_nothing(
    database: Database,
) -> None:
    async with Pool.open(database.dsn, database.schema) as pool:
        store = await Repositories.build(pool, 60)
        steering = RunOrders(store, lambda: TODAY)
        orders: dict[str, Callable[[uuid.UUID], Awaitable[None]]] = {
            name: getattr(steering, name) for name in _DONE
        }
        for status, told in _TOLD.items():
            for name, order in orders.items():
                run_id = await _ended(database, status)
                if (name, status) in _FOLLOWED:
                    await order(run_id)
                    continue
                before = dict(await store.run_reader.get(run_id))
                with pytest.raises(Conflict) as refused:
                    await order(run_id)
                said = str(refused.value)
                assert said.startswith(
                    f"The run {told}; it cannot be {_DONE[name]}. Nothing was changed."
                ), said
                assert ("It ended on 2026-11-24 at 03:10:05 UTC" in said) != (
                    status is RunStatus.NEEDS_CONFIRMATION
                )
                assert ("holds no account" in said) == (name == "confirm")
                assert (f"`trade-recon confirm {run_id}`" in said) == (
                    status is RunStatus.NEEDS_CONFIRMATION
                )
                assert (
                    dict(await store.run_reader.get(run_id)),
                    await store.orders.of_run(run_id),
                ) == (
                    before,
                    [],
                )


@pytest.mark.parametrize("order", _DONE)
async def test_a_command_whose_order_cannot_be_followed_ends_with_3(
    database: Database, tmp_path: Path, order: str
) -> None:
    run_id = await _ended(database, RunStatus.SUCCEEDED)
    variables = {
        "DATABASE_URL": database.dsn,
        "RISK_API_BASE_URL": "http://127.0.0.1:9",
        "RISK_API_KEY": "sandbox",
    }
    refused = await run_command(tmp_path, variables, "runs", order, str(run_id))
    assert (refused.code, refused.stdout) == (3, ""), refused.stderr
    assert (
        f"trade-recon: The run has succeeded; it cannot be {_DONE[order]}. Nothing was changed."
        in refused.stderr
    )
