"""trade-recon behind a real pgbouncer in transaction mode: what a user gets who sets
RECON_STATEMENT_CACHE=0 and nothing else there.
"""

import asyncio
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

import asyncpg
import pytest
import structlog

from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.errors import ConfigurationError
from app.sandbox.damage.damage import HEALABLE_KINDS, damage
from app.sandbox.server.serving import SandboxServer
from app.store.database.listen import WakeUps
from app.store.database.pool import Database as Pool
from app.store.schema.migrations.migrate import migrate
from tests.conftest import SCHEMA, Database, Server
from tests.support.commands import Command, access, run_command
from tests.support.engine import difference, engine, run
from tests.support.plain import plain
from tests.support.processes import start
from tests.support.waiting import PATIENCE

_PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
_KEEPS_STATEMENTS = (1, 21)

needs_pgbouncer = pytest.mark.skipif(_PROGRAM is None, reason="pgbouncer is not installed")
pytestmark = needs_pgbouncer

_SESSION_STATE = """
SELECT
    ARRAY(SELECT name::text FROM pg_settings WHERE source = 'session' AND name NOT IN ('application_name', 'client_encoding')) AS settings,
    ARRAY(SELECT name FROM pg_prepared_statements) AS statements,
    ARRAY(SELECT pg_listening_channels()) AS channels,
    ARRAY(SELECT objid::text FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS locks,
    ARRAY(SELECT relname::text FROM pg_class WHERE relnamespace = pg_my_temp_schema()) AS temporary
"""


def _version() -> tuple[int, int]:
    assert _PROGRAM is not None
    found = re.search(
        r"PgBouncer (\d+)\.(\d+)",
        subprocess.run([_PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout,
    )
    assert found is not None
    return int(found[1]), int(found[2])


@asynccontextmanager
async def pooled(dsn: str, home: Path, *, size: int) -> AsyncIterator[str]:
    """A pgbouncer in transaction mode with at most `size` connections to the server; the way
    through it to the database of `dsn`.
    """
    assert _PROGRAM is not None
    parts = urlsplit(dsn)
    options = {name: values[0] for name, values in parse_qs(parts.query).items()}
    host = options.get("host") or parts.hostname or "127.0.0.1"
    user = unquote(parts.username or options.get("user", "postgres"))
    folder = home / f"pgbouncer-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "users.txt").write_text(
        f'"{user}" "{unquote(parts.password or "")}"\n', encoding="utf-8"
    )
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={host} port={options.get('port') or parts.port or 5432}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {folder / 'users.txt'}\n"
        f"pool_mode = transaction\ndefault_pool_size = {size}\n",
        encoding="utf-8",
    )
    account = _account(host)
    with (folder / "log").open("wb") as log:
        process = await start(
            _PROGRAM,
            str(folder / "pgbouncer.ini"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else [],
        )
    way = f"postgresql://{quote(user)}@127.0.0.1:{port}{parts.path}"
    try:
        await _until_it_answers(way, process, folder / "log")
        yield way
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _account(host: str) -> pwd.struct_passwd | None:
    """As root pgbouncer refuses to run: it runs as the owner of the server's socket, who may use
    it, or as nobody.
    """
    if os.geteuid() != 0:
        return None
    owner = (
        pwd.getpwuid(Path(host).stat().st_uid) if host.startswith("/") else pwd.getpwnam("nobody")
    )
    return pwd.getpwnam("nobody") if owner.pw_uid == 0 else owner


async def _until_it_answers(way: str, process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            assert process.returncode is None, log.read_text(encoding="utf-8")
            try:
                connection = await asyncpg.connect(way, statement_cache_size=0)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                await connection.close()
                return


async def _hurt(database: Database) -> None:
    async with database.connect() as connection:
        await damage(connection, database.schema, seed=3, kinds=HEALABLE_KINDS, accounts_per_kind=1)


@pytest.mark.parametrize("size", [1, 3])
async def test_the_schema_is_made_through_the_pooler_once_by_any_number_of_processes(
    postgres: Server, open_folder: Path, size: int
) -> None:
    name = f"recon_pooled_{secrets.token_hex(4)}"
    await postgres.execute(f"CREATE DATABASE {name}")
    try:
        async with pooled(postgres.database(name), open_folder, size=size) as way:
            applied = await asyncio.gather(*(migrate(way, statement_cache=0) for _ in range(3)))
            together = [file for one in applied for file in one]
            assert len(together) == len(set(together)) > 0
            assert await migrate(way, statement_cache=0) == []
    finally:
        await postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_an_audit_through_the_pooler_heals_everything_however_few_connections_it_has_and_leaves_no_session_state(
    filled: Database, sandbox: SandboxServer, open_folder: Path, size: int
) -> None:
    await _hurt(filled)
    config = EngineConfig(workers=4, poll_seconds=0.05, batch_size=6)
    async with pooled(filled.dsn, open_folder, size=size) as way:
        async with engine(filled, sandbox, config=config, dsn=way, statement_cache=0) as service:
            state = await run(service, RunKind.AUDIT)
            assert state["status"] == "succeeded"
            assert (await run(service, RunKind.FULL))["requests"] == 0
        inspectors = [await asyncpg.connect(way, statement_cache_size=0) for _ in range(size)]
        transactions = [inspector.transaction() for inspector in inspectors]
        for transaction in transactions:
            await transaction.start()
        # Each transaction holds a connection of the server: together they see all of them.
        for inspector in inspectors:
            assert tuple(await inspector.fetchrow(_SESSION_STATE) or ()) == ([], [], [], [], [])
        for transaction, inspector in zip(transactions, inspectors, strict=True):
            await transaction.rollback()
            await inspector.close()
    assert (await difference(filled, sandbox)).sample == ()


async def test_two_services_share_a_run_through_the_pooler(
    filled: Database, sandbox: SandboxServer, open_folder: Path
) -> None:
    await _hurt(filled)
    config = EngineConfig(workers=2, poll_seconds=0.05, batch_size=3)
    async with (
        pooled(filled.dsn, open_folder, size=3) as way,
        engine(filled, sandbox, config=config, dsn=way, statement_cache=0) as one,
        engine(filled, sandbox, config=config, dsn=way, statement_cache=0) as other,
    ):
        run_id = await one.start_run(RunRequest(kind=RunKind.AUDIT))
        await asyncio.gather(
            one.pool.run_until_finished(run_id), other.pool.run_until_finished(run_id)
        )
        assert plain(await one.readings.run_state(run_id))["status"] == "succeeded"
    async with filled.connect() as connection:
        assert (
            await connection.fetchval("SELECT count(*) FROM trade_recon WHERE claim_id IS NOT NULL")
            == 0
        )
        assert await connection.fetchval("SELECT count(*) FROM recon_workers") == 0
        assert await connection.fetchval("SELECT count(*) FROM recon_fetches") == 0
    assert (await difference(filled, sandbox)).sample == ()


async def test_a_statement_that_is_given_up_through_the_pooler_is_cancelled_and_its_connection_serves_the_next(
    database: Database, open_folder: Path
) -> None:
    async with (
        pooled(database.dsn, open_folder, size=1) as way,
        Pool.open(way, database.schema, statement_cache=0) as pool,
    ):
        async with asyncio.timeout(PATIENCE):
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await pool.fetch_value("SELECT pg_sleep(3600)")
                assert await pool.fetch_value("SELECT 1") == 1


async def test_a_statement_cache_behind_the_pooler_is_refused_with_the_way_out(
    database: Database, open_folder: Path
) -> None:
    if _version() >= _KEEPS_STATEMENTS:
        pytest.skip("this pgbouncer keeps prepared statements")
    with structlog.testing.capture_logs() as logs:
        async with (
            pooled(database.dsn, open_folder, size=2) as way,
            Pool.open(way, database.schema) as pool,
            pool.connection() as connection,
        ):
            assert await connection.fetch_value("SELECT 7") == 7
            async with pool.transaction():
                # It holds the connection of the server that knows the statement; another one is
                # asked to run it.
                with pytest.raises(ConfigurationError, match="RECON_STATEMENT_CACHE=0"):
                    await connection.fetch_value("SELECT 7")
    assert [entry["action"] for entry in logs] == ["database.pooled"]


async def test_a_direct_way_that_leads_through_the_pooler_is_told(
    database: Database, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.database.listen._ECHO_SECONDS", 0.5)
    async with (
        pooled(database.dsn, open_folder, size=2) as way,
        Pool.open(database.dsn, database.schema) as pool,
    ):
        with structlog.testing.capture_logs() as logs:
            listening = asyncio.create_task(WakeUps(pool, way).listen(lambda: None))
            async with asyncio.timeout(PATIENCE):
                while not logs:  # noqa: ASYNC110 - a line of the log
                    await asyncio.sleep(0.05)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    assert logs[0]["action"] == "wake.lost"
    assert "pooler in transaction mode" in logs[0]["reason"]


async def test_the_command_works_through_the_pooler_and_migrates_and_listens_past_it(
    postgres: Server, sandbox: SandboxServer, open_folder: Path, tmp_path: Path
) -> None:
    name = f"recon_pooled_{secrets.token_hex(4)}"
    await postgres.execute(f"CREATE DATABASE {name}")
    database = Database(postgres.database(name), SCHEMA)
    try:
        async with pooled(database.dsn, open_folder, size=3) as way:
            variables = {
                **access(database, sandbox),
                "DATABASE_URL": way,
                "RECON_STATEMENT_CACHE": "0",
            }
            wrong = await run_command(
                tmp_path,
                {**variables, "DATABASE_DIRECT_URL": postgres.database("postgres")},
                "migrate",
            )
            assert (
                wrong.code,
                "DATABASE_DIRECT_URL leads to another database" in wrong.stderr,
            ) == (2, True)
            async with database.connect() as connection:
                assert await connection.fetchval("SELECT to_regnamespace($1) IS NULL", SCHEMA)
            variables["DATABASE_DIRECT_URL"] = database.dsn
            migrated = await run_command(tmp_path, variables, "migrate")
            assert migrated.code == 0, migrated.stderr
            filled = await run_command(tmp_path, variables, "reconcile", "--kind", "audit")
            assert filled.code == 0, filled.stderr
            served = await Command.start(tmp_path, variables, "serve", "--port", "0")
            await served.has_said("wake.listening", "http.serving")
            served.signal(signal.SIGTERM)
            assert (await served.end()).code == 0
    finally:
        await postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")
