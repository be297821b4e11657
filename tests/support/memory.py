"""Where the tests keep files: in memory if there is enough of it, since a database is copied there
in a fifth of the time a disk takes.
"""

import os
import tempfile
from pathlib import Path

import psutil

from tests.support.reaper import Reaper

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made there
_NEEDED = 6 << 30
"""Bytes free in memory and in its file system; four workers were seen to use a third of it."""


def keep_files_in_memory(reaper: Reaper) -> None:
    """Let temporary files of this process, its workers and all that they start go to a folder in
    memory, which the reaper removes.

    A `TMPDIR` that somebody chose is left alone, and so is the disk where memory is short, or where
    no program may run from there.
    """
    if "TMPDIR" in os.environ or not _has_room():
        return
    folder = tempfile.mkdtemp(prefix="recon-", dir=_MEMORY)
    # As root, PostgreSQL runs as another account, which has to get through.
    Path(folder).chmod(0o711)
    reaper.remove(folder)
    os.environ["TMPDIR"] = folder
    tempfile.tempdir = None


def _has_room() -> bool:
    if not os.access(_MEMORY, os.W_OK | os.X_OK):
        return False
    room = os.statvfs(_MEMORY)
    return (
        not room.f_flag & os.ST_NOEXEC
        and room.f_bavail * room.f_frsize >= _NEEDED
        and psutil.virtual_memory().available >= _NEEDED
    )
