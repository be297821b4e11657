import asyncio
import random
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.support.commands import environment
from tests.support.processes import start

_HEAVY = (
    "app.engine",
    "app.composition",
    "app.store",
    "app.upstream",
    "app.web",
    "asyncpg",
    "fastapi",
    "httpx2",
    "structlog",
    "uvicorn",
)


async def _said(folder: Path, *words: str) -> tuple[int, str]:
    """The exit code of `python -m app`, and all that it says."""
    process = await start(
        *(sys.executable, "-m", "app", *words),
        cwd=folder,
        env=environment(folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["reconcil"], "'reconcile'"),
        (["RECONCILE"], "'reconcile'"),
        (["fix_null_ids"], "'fix-null-ids'"),
        (["status"], "'report'"),
        (["restore", "5"], "'removed restore'"),
        (["removed", "resotre", "5"], "'restore'"),
        (["report", "--fromat", "json"], "'--format'"),
        (["reconcile", "-account", "a"], "'--account'"),
        (["reconcile", "--max_accounts", "3"], "'--max-accounts'"),
        (["--vresion"], "'--version'"),
        (["--kind", "audit", "reconcile"], "`reconcile`"),
        (["--fix-null-ids"], "`legacy`"),
        (["reconcile", "--kind", "ful"], "'full'"),
        (["accounts", "list", "--status", "reconcilled"], "'reconciled'"),
    ],
)
async def test_a_mistake_on_the_command_line_is_answered_with_what_was_meant(
    tmp_path: Path, words: list[str], meant: str
) -> None:
    code, said = await _said(tmp_path, *words)
    assert code == 2
    assert meant in said.splitlines()[-1]


async def test_what_is_like_nothing_is_answered_with_what_there_is(tmp_path: Path) -> None:
    code, said = await _said(tmp_path, "xyzzy")
    assert (code, "reconcile, " in said.splitlines()[-1]) == (2, True)
    code, said = await _said(tmp_path, "report", "--xyzzy")
    assert (code, "--format" in said.splitlines()[-1]) == (2, True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["reconcile", "--max-accounts", "0"], "must be at least 1."),
        (["reconcile", "--max-accounts", "many"], "must be a whole number."),
        (["confirm", "abc"], "must be a UUID, such as"),
        (["serve", "--port", "70000"], "must be at most 65535."),
    ],
)
async def test_a_value_that_cannot_be_is_answered_with_what_it_must_be(
    tmp_path: Path, words: list[str], sentence: str
) -> None:
    code, said = await _said(tmp_path, *words)
    assert code == 2
    assert sentence in said
    assert "Input should" not in said


async def test_the_version_is_told(tmp_path: Path) -> None:
    assert await _said(tmp_path, "--version") == (0, "trade-recon 0.1.0\n")


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["reconcile", "--help"],
        ["removed", "--help"],
        ["runs", "--help"],
        ["accounts", "list", "--help"],
        ["--version"],
        ["reconcil"],
    ],
)
async def test_help_waits_for_no_import_of_the_engine(tmp_path: Path, words: list[str]) -> None:
    script = (
        "import sys; from app.__main__ import main\n"
        f"sys.argv = ['trade-recon', *{words!r}]\n"
        "try:\n    main()\nfinally:\n"
        f"    print('IMPORTED', [name for name in {_HEAVY!r} if name in sys.modules])"
    )
    process = await start(
        *(sys.executable, "-c", script),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert said.decode().splitlines()[-1] == "IMPORTED []"


@pytest.mark.parametrize("imports", random.Random(16).sample(range(1, 600), 4))
async def test_ctrl_c_in_the_first_second_ends_without_a_traceback(
    tmp_path: Path, imports: int
) -> None:
    # It accepts connections and says nothing: whatever does not wait for imports waits for it.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dsn = f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/db"
        process = await start(
            *(sys.executable, "-X", "importtime", "-m", "app", "reconcile"),
            cwd=tmp_path,
            env=environment(
                tmp_path,
                DATABASE_URL=dsn,
                RISK_API_BASE_URL="http://127.0.0.1:1/",
                RISK_API_KEY="x",
            ),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        said = [b""]
        while b"app.interruption" not in said[-1]:
            said.append(await process.stderr.readline())
        said += [await process.stderr.readline() for _ in range(imports)]
        process.send_signal(signal.SIGINT)
        said.append(await process.stderr.read())
        assert await process.wait() == 130
    assert b"Traceback" not in b"".join(said)
