"""The fault matrix: every step of a run meets every fault, and what must hold holds, in the run and
after it.
"""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SCHEMA, Database
from tests.faults.conftest import Ground
from tests.faults.invariants import INVARIANTS, Played
from tests.faults.scene import Fault, Place, cells, ended, play, start_audit, stored_rows
from tests.faults.steps import Step
from tests.support.engine import difference

_SEED = os.environ.get("RECON_FAULT_SEED") or secrets.token_hex(4)

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(("step", "fault"), cells(), ids=lambda part: str(part).replace(" ", "-"))
async def test_what_must_hold_holds_when_a_fault_strikes_at_a_step(
    ground: Ground,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    step: Step,
    fault: Fault,
) -> None:
    small = await ground.disks.get() if fault is Fault.DISK_FULL else None
    async with ground.postgres.clone(
        ground.damaged, "cell", small.tablespace if small else None
    ) as name:
        database = Database(ground.postgres.database(name), SCHEMA)
        ground.sandbox.log.reset()
        print(f"RECON_FAULT_SEED={_SEED}")  # noqa: T201 - shown where a cell fails
        place = Place(
            database, ground.sandbox, ground.bell, tmp_path, small.folder if small else None
        )
        async with play(step, fault, place, seed=_SEED) as scene:
            before = await stored_rows(scene.connection)
            for is_well in (False, True):
                run = await ended(scene, await start_audit(scene))
                assert scene.has_struck, (
                    "the fault never struck: no statement or request of the run was recognised as"
                    f" its step {step}"
                )
                played = Played(
                    scene, before, run, is_well, await difference(database, ground.sandbox)
                )
                for check in INVARIANTS:
                    await check(played)
                if not is_well:
                    await scene.recovered()
                    scene.catch_up()
            assert await scene.worker.end() == 0
    record_property("held", 2 * len(INVARIANTS))
