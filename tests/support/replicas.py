"""Replicas of `trade-recon serve` as processes that a test stops, wakes and kills, and ways to wait
for what they do.
"""

import asyncio
import contextlib
import itertools
import json
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import httpx2

from tests.support.commands import access, environment
from tests.support.nursery import Forked
from tests.support.processes import start_command
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    import asyncpg

    from app.sandbox.server.serving import SandboxServer
    from tests.conftest import Database

LEASE_SECONDS = 5.0
"""The shortest lease that there is: tests wait for its end."""
_START_SECONDS = PATIENCE
_LOOK_SECONDS = 0.02

_SETTLED = """
SELECT NOT EXISTS (SELECT FROM trade_recon WHERE claimed_by IS NOT NULL OR claim_id IS NOT NULL)
"""
_STAGES = """
SELECT c.relname FROM pg_class AS c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relname LIKE 'recon\\_stage\\_%' ORDER BY 1
"""


class ReplicaEndedError(Exception):
    """A replica ended before it served."""


class Replica:
    """One process; `url` is where it answers, `is_stopped` whether SIGSTOP holds it."""

    def __init__(self, process: Forked, log: Path) -> None:
        self._process = process
        self._log = log
        self.url = ""
        self.is_stopped = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.returncode is None

    @property
    def answers(self) -> bool:
        """Whether it can be asked for something."""
        return self.is_running and not self.is_stopped and bool(self.url)

    @property
    def log(self) -> list[dict[str, object]]:
        """The lines of its log so far."""
        lines = self._log.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    async def serving(self) -> None:
        """Wait until it answers; ReplicaEndedError if it ends before."""
        async with asyncio.timeout(_START_SECONDS):
            while True:
                for entry in self.log:
                    if entry.get("action") == "http.serving":
                        self.url = str(entry["url"])
                        return
                if not self.is_running:
                    raise ReplicaEndedError(self._log.read_text(encoding="utf-8")[-2000:])
                await asyncio.sleep(_LOOK_SECONDS)

    def stop(self) -> None:
        """Hold the process where it is: it does not notice."""
        self.is_stopped = True
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let the process go on where it was."""
        self._signal(signal.SIGCONT)
        self.is_stopped = False

    async def kill(self) -> None:
        """End it at once, whatever it does: kill -9, which also ends a stopped process."""
        self._signal(signal.SIGKILL)
        await self._process.wait()

    async def end(self) -> int:
        """Tell it to end in order; its exit code."""
        self._signal(signal.SIGTERM)
        async with asyncio.timeout(_START_SECONDS):
            return await self._process.wait()

    async def start_run(self, kind: str, account_ids: Sequence[str] | None = None) -> str:
        """Start a run here that goes by counts; its id. httpx2.HTTPError if it does not answer or
        refuses.
        """
        async with httpx2.AsyncClient(base_url=self.url, timeout=5) as client:
            # Accounts that are named are compared whole otherwise, which asks upstream before
            # anything is detected.
            order = (
                {"kind": kind}
                if account_ids is None
                else {"kind": kind, "account_ids": list(account_ids), "depth": "counts"}
            )
            answer = await client.post("/runs", json=order)
            answer.raise_for_status()
            return str(answer.json()["run_id"])

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


class Replicas:
    """Starts replicas over one warehouse and one upstream; leaving the context kills all that are
    left, stopped ones too.
    """

    def __init__(
        self, folder: Path, database: "Database", sandbox: "SandboxServer", **variables: str
    ) -> None:
        """`folder` takes their logs; `variables` come on top of a short lease and an upstream that
        may be asked at once.
        """
        self._folder = folder
        self._variables: Mapping[str, str] = (
            access(database, sandbox) | {"RECON_LEASE_SECONDS": f"{LEASE_SECONDS:g}"} | variables
        )
        self._numbers = itertools.count(1)
        self._started: list[Replica] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for replica in self._started:
            if replica.is_running:
                await replica.kill()

    async def start(self) -> Replica:
        """One more replica, once it serves; ReplicaEndedError if it ends before."""
        log = self._folder / f"replica-{next(self._numbers)}.log"
        # Into a file: nobody reads a pipe while its process is not looked at, and a full one would
        # hold the process.
        with log.open("wb") as stream:
            process = await start_command(
                ("serve", "--port", "0"),
                self._folder,
                environment(self._folder, **self._variables),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=stream.fileno(),
            )
        replica = Replica(process, log)
        self._started.append(replica)
        await replica.serving()
        return replica


async def until(
    connection: "asyncpg.Connection[asyncpg.Record]",
    question: str,
    *values: object,
    seconds: float = PATIENCE,
) -> None:
    """Wait until PostgreSQL answers the question with true."""
    try:
        async with asyncio.timeout(seconds):
            while not await connection.fetchval(question, *values):  # noqa: ASYNC110 - other processes' events
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise AssertionError(
            f"this did not come true in {seconds:g} s: {question.strip()}"
        ) from None


async def until_waiting_for(
    connection: "asyncpg.Connection[asyncpg.Record]", holder: "asyncpg.Connection[asyncpg.Record]"
) -> int:
    """Wait until a backend waits for a lock that `holder` holds; which one.

    `connection` is another one than the holder's.
    """
    waiting = (
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'trade-recon' AND $1 ="
        " ANY(pg_blocking_pids(pid)) LIMIT 1"
    )
    async with asyncio.timeout(_START_SECONDS):
        while (found := await connection.fetchval(waiting, holder.get_server_pid())) is None:  # noqa: ASYNC110 - another process's event
            await asyncio.sleep(_LOOK_SECONDS / 4)
    return int(found)


async def until_nothing_is_left(
    connection: "asyncpg.Connection[asyncpg.Record]", seconds: float
) -> None:
    """Wait until no account is claimed and no fetch and no row is in staging, whoever left them."""
    await until(connection, _SETTLED, seconds=seconds)
    stages = [row["relname"] for row in await connection.fetch(_STAGES)]
    assert stages
    empty = " AND ".join(
        f"NOT EXISTS (SELECT FROM {table})" for table in ("recon_fetches", *stages)
    )
    await until(connection, f"SELECT {empty}", seconds=seconds)
