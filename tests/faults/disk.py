"""A small file system of its own for the data of one database, which a test can fill to the last
byte.
"""

import asyncio
import contextlib
import os
import secrets
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg
import pytest

from tests.conftest import Server

_SIZE = "48m"


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """`folder` is where it is mounted, `tablespace` the name under which PostgreSQL keeps data
    there.
    """

    folder: Path
    tablespace: str


class SmallDisks:
    """Mounts one when it is first asked for, and takes it away when the context ends."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._mounted = contextlib.AsyncExitStack()
        self._disk: SmallDisk | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._mounted.aclose()

    async def get(self) -> SmallDisk:
        """The disk; the test skips, with the reason, where this user may not mount one, or where
        the server is not on this machine.
        """
        if self._disk is None:
            if os.geteuid() != 0 or "TEST_DATABASE_URL" in os.environ:
                pytest.skip(
                    "a file system can only be mounted by root, and filled where the server is on"
                    " this machine"
                )
            self._disk = await self._mount()
        return self._disk

    async def _mount(self) -> SmallDisk:
        folder = Path(tempfile.mkdtemp(prefix="trade-recon-disk-"))
        self._mounted.callback(folder.rmdir)
        try:
            await _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder))
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no file system can be mounted here: {error.stderr}")
        self._mounted.push_async_callback(_run, "umount", "-l", str(folder))
        data = folder / "data"
        data.mkdir()
        folder.chmod(0o711)
        # PostgreSQL runs as another user than root, and insists on owning its folder.
        owner = (await _data_directory(self._server)).stat()
        os.chown(data, owner.st_uid, owner.st_gid)
        tablespace = f"recon_small_{secrets.token_hex(4)}"
        await self._server.execute(f"CREATE TABLESPACE {tablespace} LOCATION '{data}'")
        self._mounted.push_async_callback(self._server.execute, f"DROP TABLESPACE {tablespace}")
        return SmallDisk(folder, tablespace)


async def _data_directory(server: Server) -> Path:
    connection = await asyncpg.connect(server.dsn)
    try:
        return Path(await connection.fetchval("SHOW data_directory"))
    finally:
        await connection.close()


async def _run(*words: str) -> None:
    await asyncio.to_thread(subprocess.run, words, check=True, capture_output=True, text=True)
