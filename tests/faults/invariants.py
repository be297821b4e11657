"""What must hold in every cell of the fault matrix, whatever happened; each raises AssertionError
with what it found.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.domain.states import Outcome, RunStatus
from app.sandbox.witness.comparison import Comparison
from tests.faults.scene import MOVING_FROM, Scene, copied_rows, stored_rows
from tests.support.replicas import until_nothing_is_left

if TYPE_CHECKING:
    import asyncpg

_CLEAN = (RunStatus.SUCCEEDED, RunStatus.COMPLETED_WITH_ISSUES)
_LEFT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Played:
    """A cell after a run: what was stored before, the run, whether it is the one after the fault,
    and what differs from upstream then.
    """

    scene: Scene
    before: Sequence[tuple[str, str]]
    run: "asyncpg.Record"
    is_well: bool
    compared: Comparison


async def nothing_lost(played: Played) -> None:
    """Each row that stood before stands, or a copy of it is kept."""
    connection = played.scene.connection
    there = {*await stored_rows(connection), *await copied_rows(connection)}
    lost = [row for row in played.before if row not in there]
    assert not lost, f"{len(lost)} rows are gone without a copy, such as {lost[0]}"


async def nothing_false(played: Played) -> None:
    """What is called reconciled is equal to upstream on every settled date; what was not read is
    not.
    """
    claimed = await played.scene.connection.fetch(
        "SELECT account_id FROM trade_recon WHERE reconciliation_status = 'reconciled' AND"
        " last_reconciled >= $1",
        played.run["created_at"],
    )
    reconciled = {row["account_id"] for row in claimed}
    false = [
        each
        for each in played.compared.sample
        # Alltime has no date: what it counts may lie in dates that still move.
        if reconciled.issuperset(each.account_ids)
        and (each.day < MOVING_FROM if each.day else not played.scene.lagging)
    ]
    assert not false, f"reconciled, and differs: {false[0]}"


async def nothing_twice(played: Played) -> None:
    """What a run counts is what its attempts tell, and no row was put aside twice."""
    connection, run = played.scene.connection, played.run
    attempts = await connection.fetch(
        "SELECT outcome FROM recon_attempts WHERE run_id = $1", run["run_id"]
    )
    outcomes = Counter(each["outcome"] for each in attempts if each["outcome"] is not None)
    for outcome in Outcome:
        if outcome is not Outcome.UNCHANGED:
            assert run[outcome.value] == outcomes[outcome.value], (
                f"{outcome.value}: {run[outcome.value]} counted, {outcomes[outcome.value]} recorded"
            )
    assert run["unchanged"] >= outcomes["unchanged"]
    copies = await copied_rows(connection)
    assert len(copies) == len(set(copies)), "a row was put aside twice"


async def nothing_endless(played: Played) -> None:
    """The run is over, and no account was blamed for what happened around it."""
    blamed = await played.scene.connection.fetch(
        "SELECT t.account_id, t.failed_attempts, a.outcome, a.issues_found, a.issues_left, a.detail"
        " FROM trade_recon AS t LEFT JOIN recon_attempts AS a ON a.account_id = t.account_id AND"
        " a.run_id = $1 WHERE t.failed_attempts > 0",
        played.run["run_id"],
    )
    assert not blamed, f"blamed: {[tuple(row) for row in blamed]}"


async def nothing_hidden(played: Played) -> None:
    """Each account of the run has an outcome or is counted as left, and a run that is not clean
    says why.
    """
    run = played.run
    waiting = await played.scene.connection.fetchval(
        "SELECT count(*) FROM recon_attempts WHERE run_id = $1 AND outcome IS NULL", run["run_id"]
    )
    if run["prepared_at"] is not None:
        assert run["total"] == sum(run[outcome.value] for outcome in Outcome) + waiting
    assert (run["status"] in _CLEAN and waiting == 0) or run["error"], (
        f"{run['status']} without a reason, {waiting} accounts wait"
    )


async def nothing_contagious(played: Played) -> None:
    """With the fault over, the next run ends well and the warehouse equals upstream in every row
    and column.
    """
    if played.is_well:
        left = await played.scene.connection.fetch(
            "SELECT account_id, outcome, issues_left, detail FROM recon_attempts WHERE run_id = $1"
            " AND outcome IS DISTINCT FROM 'healed'",
            played.run["run_id"],
        )
        status, error = played.run["status"], played.run["error"]
        assert status == RunStatus.SUCCEEDED, (
            f"{status}, {error or 'no error'}; not healed: {[tuple(row) for row in left]}"
        )
        assert played.compared.sample == ()


async def quota_kept(played: Played) -> None:
    """Upstream refused no request for being one too many."""
    refused = sum(request.status == 429 for request in played.scene.sandbox.log.requests)
    assert not refused, f"{refused} requests beyond the quota"


async def nothing_left(played: Played) -> None:
    """No claim, no staged row and no note of a scan outlives its run."""
    await until_nothing_is_left(played.scene.connection, _LEFT_SECONDS)
    if played.run["status"] in _CLEAN:
        notes = "SELECT count(*) FROM recon_scan WHERE run_id = $1"
        assert await played.scene.connection.fetchval(notes, played.run["run_id"]) == 0


INVARIANTS: Sequence[Callable[[Played], Awaitable[None]]] = (
    nothing_lost,
    nothing_false,
    nothing_twice,
    nothing_endless,
    nothing_hidden,
    nothing_contagious,
    quota_kept,
    nothing_left,
)
