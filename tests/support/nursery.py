"""Starts `trade-recon` as processes without the seconds that their imports take: they are forked
from one that has imported it all.

A process that is asked for has its own environment, folder and streams, a parent that reaps it at
once, and the clock of the tests; from there on it runs as `python -m app.cli.app` does. `fork`
talks to the parent process, which `_serve` is.
"""

import asyncio
import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_LARGEST = 1 << 20
_nursery: socket.socket | None = None


class Forked:
    """A process that was forked, as asyncio's Process shows one that was started."""

    def __init__(
        self,
        status: asyncio.StreamReader,
        stdout: asyncio.StreamReader | None,
        stderr: asyncio.StreamReader | None,
    ) -> None:
        self.pid = 0
        self.returncode: int | None = None
        self.stdout = stdout
        self.stderr = stderr
        self._status = status
        self._ended = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Wait until it runs."""
        line = await self._status.readline()
        if not line:
            raise ChildProcessError(
                "the process from which others are forked has ended; its own message stands above"
            )
        self.pid = int(line)
        self._watching = asyncio.create_task(self._watch())

    async def wait(self) -> int:
        """Its exit code; minus the signal that ended it."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    async def communicate(self) -> tuple[bytes, bytes]:
        """What it says until it ends."""
        said = await asyncio.gather(
            *(reader.read() if reader else _nothing() for reader in (self.stdout, self.stderr))
        )
        await self.wait()
        return said[0], said[1]

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def _watch(self) -> None:
        line = await self._status.readline()
        self.returncode = int(line) if line else -signal.SIGKILL
        self._ended.set()


async def _nothing() -> bytes:
    return b""


async def fork(
    words: Sequence[str], folder: Path, variables: Mapping[str, str], stdout: int, stderr: int
) -> Forked:
    """Run `trade-recon` with these words in the folder; streams are PIPE, DEVNULL or a file's
    descriptor.
    """
    nursery = _open_nursery()
    with contextlib.ExitStack() as ours:
        status, theirs = await _pipe(ours)
        streams = [await _stream(ours, stdout), await _stream(ours, stderr)]
        order = json.dumps(
            {"words": list(words), "folder": str(folder), "variables": dict(variables)}
        ).encode()
        descriptors = [theirs, *(descriptor for _, descriptor in streams)]
        await asyncio.to_thread(socket.send_fds, nursery, [order], descriptors)
        process = Forked(status, streams[0][0], streams[1][0])
    await process.begin()
    return process


async def _stream(
    stack: contextlib.ExitStack, wanted: int
) -> tuple[asyncio.StreamReader | None, int]:
    if wanted == asyncio.subprocess.PIPE:
        return await _pipe(stack)
    if wanted == asyncio.subprocess.DEVNULL:
        descriptor = os.open(os.devnull, os.O_RDWR)
        stack.callback(os.close, descriptor)
        return None, descriptor
    return None, wanted


async def _pipe(stack: contextlib.ExitStack) -> tuple[asyncio.StreamReader, int]:
    """A pipe: what comes out of it here, and the end to hand over, which `stack` closes here."""
    out, into = os.pipe()
    stack.callback(os.close, into)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(out, "rb", 0)
    )
    return reader, into


def _open_nursery() -> socket.socket:
    global _nursery
    if _nursery is None:
        # Packets: an order and its descriptors stay together.
        _nursery, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            theirs.set_inheritable(True)
            parent = subprocess.Popen(
                [sys.executable, "-m", "tests.support.nursery", str(theirs.fileno())],
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        # It ends when its socket does.
        atexit.register(parent.wait)
        atexit.register(_nursery.close)
    return _nursery


def _serve(orders: socket.socket) -> None:
    """Fork on each order.

    Returns in the forked process, ready to run; ends the process when there is nobody left to give
    orders.
    """
    ended, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    statuses: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([orders.fileno(), ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            _reap(statuses)
        if orders.fileno() not in ready:
            continue
        order, descriptors, _, _ = socket.recv_fds(orders, _LARGEST, 3)
        if not order:
            os._exit(0)
        status, stdout, stderr = descriptors
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (ended, woken, status, *statuses.values()):
                os.close(descriptor)
            orders.close()
            _become(json.loads(order), stdout, stderr)
            return
        statuses[pid] = status
        _tell(status, pid)
        os.close(stdout)
        os.close(stderr)


def _reap(statuses: dict[int, int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            status = statuses.pop(found[0])
            _tell(status, os.waitstatus_to_exitcode(found[1]))
            os.close(status)


def _tell(status: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(status, f"{number}\n".encode())


def _become(order: Mapping[str, object], stdout: int, stderr: int) -> None:
    """Turn the forked process into the one that was ordered."""
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    os.chdir(str(order["folder"]))
    os.environ.clear()
    os.environ.update(order["variables"])  # type: ignore[call-overload]
    time.tzset()
    sys.argv = ["trade-recon", *order["words"]]  # type: ignore[misc]


if __name__ == "__main__":
    # What commands import when they need it, so that no process imports it again.
    from app.cli.app import main
    from app.clock import now as machines_now
    from tests.support.clock import environments_now

    _serve(socket.socket(fileno=int(sys.argv[1])))
    # Wherever it was imported by name already; what is imported later takes it from its module.
    for module in [*sys.modules.values()]:
        if getattr(module, "now", None) is machines_now:
            module.now = environments_now  # type: ignore[attr-defined]
    main()
