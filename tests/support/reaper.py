"""Ends what a pytest process left behind, however that ended: its children, their children, and its
temporary folders.

pytest holds a pipe to this process, which the kernel closes with pytest, also after a kill -9. All
that pytest starts inherits an environment variable that names pytest: this is how it is found, also
a PostgreSQL that has become a session of its own.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil

VARIABLE = "TESTS_STARTED_BY"
"""Holds a mark of each pytest process from which one descends, so that a pytest that a test starts
is found as well.
"""
_SECONDS = 20.0
_PAUSE_SECONDS = 0.1
_QUIET_ROUNDS = 3
"""Scans without a find, after which it is over: a process that was just being started shows in the
next.
"""


class Reaper:
    """Watches this process, from now on until it ends."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(8)
        # Without the mark and in a session of its own: no Ctrl-C and no reaper ends it, this
        # process's own included.
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, self._mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name != VARIABLE},
            start_new_session=True,
        )
        os.environ[VARIABLE] = ":".join(filter(None, [os.environ.get(VARIABLE), self._mark]))

    def remove(self, folder: str) -> None:
        """Remove the folder too, where this process ends before it does so."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{folder}\n".encode())
        self._process.stdin.flush()

    def finish(self) -> None:
        """End all that is left; to be called at the orderly end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _left(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if (
                mark in process.environ().get(VARIABLE, "")
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                yield process


def _end(process: psutil.Process, round_: int) -> None:
    with contextlib.suppress(psutil.Error):
        # PostgreSQL ends its children and gives back its shared memory only if it is told to end.
        is_patient = process.name() == "postgres" and round_ < _SECONDS / _PAUSE_SECONDS / 2
        process.send_signal(signal.SIGQUIT if is_patient else signal.SIGKILL)


def _reap(mark: str) -> None:
    folders = sys.stdin.read().splitlines()
    quiet, round_ = 0, 0
    while quiet < _QUIET_ROUNDS and round_ < _SECONDS / _PAUSE_SECONDS:
        found = list(_left(mark))
        for process in found:
            _end(process, round_)
        quiet, round_ = 0 if found else quiet + 1, round_ + 1
        time.sleep(_PAUSE_SECONDS)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _reap(sys.argv[1])
