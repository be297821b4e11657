"""A reader that ends early, as `| head -1` does, changes nothing of how a command ends."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import Database, Server
from tests.support.commands import access, environment, run_command
from tests.support.engine import TODAY, engine, fill, run
from tests.support.processes import start_command
from tests.support.waiting import PATIENCE

_COMMANDS = (
    "--help",
    "accept --list",
    "accounts list",
    "accounts show {account}",
    "changes --run {run}",
    "doctor",
    "inspect",
    "legacy --report",
    "maintain",
    "migrate",
    "migrate --print",
    "reconcile --account {account}",
    "removed --run {run}",
    "report",
    "report --format json",
    "runs list",
    "runs show {run}",
)
_OTHERS = {"accounts show nowhere": 2, "reconcile --nothing": 2}


@pytest.fixture(scope="module")
async def place(
    postgres: Server, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Path, Mapping[str, str], str, str]]:
    """A folder, the variables of a warehouse that is equal to upstream, its run and an account."""
    world = World.generate(
        4, seed=3, today=TODAY, trades_per_account=6, days=10, contradictory=False
    )
    async with postgres.clone(template, "early") as name, SandboxServer(world) as sandbox:
        database = Database(postgres.database(name), "prop_trading_model")
        await fill(database, sandbox)
        async with engine(database, sandbox) as service:
            state = await run(service, RunKind.FULL)
        account_id = next(each for each in world.account_ids if world.trades(each))
        yield (
            tmp_path_factory.mktemp("early"),
            access(database, sandbox),
            str(state["run_id"]),
            account_id,
        )


async def _without_reader(
    folder: Path, variables: Mapping[str, str], words: list[str], *, errors_too: bool
) -> tuple[int | None, str]:
    """How a command ends whose reader has gone already, and what it says of it."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process = await start_command(
            words,
            folder,
            environment(folder, **variables),
            stdout=writer,
            stderr=writer if errors_too else asyncio.subprocess.PIPE,
        )
    finally:
        os.close(writer)
    async with asyncio.timeout(PATIENCE):
        _, told = await process.communicate()
    return process.returncode, told.decode()


@pytest.mark.parametrize("command", [*_COMMANDS, *_OTHERS])
async def test_a_command_whose_reader_ends_early_ends_by_its_own_result(
    command: str, place: tuple[Path, Mapping[str, str], str, str]
) -> None:
    folder, variables, run_id, account_id = place
    words = command.format(run=run_id, account=account_id).split()
    code, told = await _without_reader(folder, variables, words, errors_too=False)
    assert (code, "Traceback" in told or "BrokenPipe" in told) == (
        _OTHERS.get(command, 0),
        False,
    ), told


async def test_neither_logs_nor_progress_need_a_reader(
    place: tuple[Path, Mapping[str, str], str, str],
) -> None:
    folder, variables, _, account_id = place
    words = ["reconcile", "--account", account_id]
    code, _ = await _without_reader(folder, variables, words, errors_too=True)
    assert code == 0


async def test_what_needs_action_still_ends_with_1(
    database: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    variables = access(database, sandbox)
    assert (await run_command(tmp_path, variables, "report")).code == 1, "no account is known"
    code, _ = await _without_reader(tmp_path, variables, ["report"], errors_too=False)
    assert code == 1
