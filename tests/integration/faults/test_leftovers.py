"""No test leaves a process behind: not when it fails, and not when pytest is interrupted, told to
end, or killed.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from tests.support.commands import ROOT
from tests.support.processes import start
from tests.support.waiting import PATIENCE

_SECONDS = PATIENCE
_TEST = """
import asyncio, os, signal, sys
from pathlib import Path

import psutil
from tests.support.processes import start

_SLEEP = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(900)']); time.sleep(900)"


async def test_that_starts_processes(postgres):
    assert not Path(os.environ["READY"]).exists(), "after a crash another worker begins with the same test"
    held = await start(sys.executable, "-c", _SLEEP)
    parent = await start(sys.executable, "-c", _SLEEP, start_new_session=True)
    while not (psutil.Process(held.pid).children() and psutil.Process(parent.pid).children()):
        await asyncio.sleep(0.02)
    held.send_signal(signal.SIGSTOP)
    Path(os.environ["READY"]).write_text(f"{os.getpid()}", encoding="utf-8")
    assert "wait" in os.environ["THEN"], "it fails"
    await asyncio.sleep(900)
"""
_ENDS = {
    "it fails": ("fail", [], None),
    "pytest is interrupted": ("wait", [], signal.SIGINT),
    "pytest is told to end": ("wait", [], signal.SIGTERM),
    "pytest is killed": ("wait", [], signal.SIGKILL),
    "one of several workers is killed": ("wait for the worker", ["-n1"], signal.SIGKILL),
    "pytest is killed while workers run": ("wait", ["-n1"], signal.SIGKILL),
}


def _running(mark: str) -> list[str]:
    """What still runs of all that was started with the mark in its environment or its command
    line.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            # PostgreSQL's children write their titles over their environment.
            if process.status() != psutil.STATUS_ZOMBIE and (
                mark in process.environ().values() or mark in " ".join(process.cmdline())
            ):
                found.append(" ".join(process.cmdline()))
    return found


async def _ended(
    folder: Path, then: str, options: Sequence[str], number: signal.Signals | None
) -> None:
    mark, ready = f"left-{secrets.token_hex(4)}", folder / "ready"
    folder.mkdir(mode=0o755)
    (folder / "test_it.py").write_text(_TEST, encoding="utf-8")
    # A folder that the account of PostgreSQL can enter, and that shows whose it is.
    temporary = Path("/tmp") / mark  # noqa: S108 - removed below
    temporary.mkdir(mode=0o755)
    variables = {"MARK": mark, "READY": str(ready), "THEN": then, "TMPDIR": str(temporary)}
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "TEST_DATABASE_URL"))
    }
    words = [
        "-q",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "-c",
        str(ROOT / "pyproject.toml"),
        *options,
        str(folder),
    ]
    try:
        with (folder / "said").open("wb") as said:
            process = await start(
                *(sys.executable, "-m", "pytest", *words),
                cwd=ROOT,
                env=environment | variables,
                stdout=said,
                stderr=said,
            )
        async with asyncio.timeout(_SECONDS):
            while not ready.exists() or not ready.read_text(encoding="utf-8"):
                assert process.returncode is None, (folder / "said").read_text(encoding="utf-8")
                await asyncio.sleep(0.02)
            assert number is None or len(_running(mark)) >= 7, (
                "pytest, its reaper, two pairs and a server"
            )
            if number is not None:
                os.kill(
                    int(ready.read_text(encoding="utf-8")) if "worker" in then else process.pid,
                    number,
                )
            await process.wait()
            while _running(mark):  # noqa: ASYNC110 - other processes' events
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(
            f"{_running(mark)} still run\n{(folder / 'said').read_text(encoding='utf-8')}"
        ) from None
    finally:
        leftovers = sorted(
            path.name for path in temporary.iterdir() if path.name.startswith("trade-recon")
        )
        shutil.rmtree(temporary)
    assert leftovers == []


@pytest.mark.parametrize("how", _ENDS)
async def test_whatever_ends_a_test_it_leaves_no_process_and_no_server(
    tmp_path: Path, how: str
) -> None:
    then, options, number = _ENDS[how]
    await _ended(tmp_path / "run", then, options, number)
