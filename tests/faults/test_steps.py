"""The fault matrix strikes where it says: its steps are recognised in what a run does today."""

import random
from pathlib import Path

import pytest

from app.domain.states import RunStatus
from app.store.database.queries import list_files, load_queries
from tests.conftest import SCHEMA, Database
from tests.faults.conftest import Ground
from tests.faults.scene import Place, Scene, ended, start_audit, watched
from tests.faults.steps import MARKS, Step


async def test_a_run_that_nothing_disturbs_passes_every_step(
    ground: Ground, tmp_path: Path
) -> None:
    passed: list[Step] = []

    async def note(_: Scene, step: Step) -> None:
        passed.append(step)

    async with ground.postgres.clone(ground.damaged, "steps") as name:
        place = Place(
            Database(ground.postgres.database(name), SCHEMA),
            ground.sandbox,
            ground.bell,
            tmp_path,
            None,
        )
        async with watched(place, random.Random(0), note) as scene:
            run = await ended(scene, await start_audit(scene))
            assert await scene.worker.end() == 0
    assert run["status"] == RunStatus.SUCCEEDED, run["error"]
    assert passed == list(Step)


@pytest.mark.parametrize("step", MARKS)
def test_a_step_is_recognised_by_one_statement_alone(step: Step) -> None:
    statements = {
        (file, name): statement
        for file in list_files()
        for name, statement in load_queries(file, SCHEMA).items()
    }
    holding = [
        named for named, statement in statements.items() if MARKS[step] in statement.encode()
    ]
    assert len(holding) == (0 if step is Step.STAGE else 1), (
        "staging is composed for each table, all others are written in one file"
    )
