"""A process that serves runs as `trade-recon serve` does, for tests that kill and stop it; forked
from one that has all imported.
"""

import asyncio
import ctypes
import datetime as dt
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pydantic import SecretStr

from app.engine.config import EngineConfig
from app.engine.repositories import Repositories
from app.engine.service import ReconService
from app.store.database.pool import Database as Pool
from app.telemetry import configure_logging
from app.upstream.client import UpstreamClient
from app.upstream.config import UpstreamConfig

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

LEASE_SECONDS = 1.5
LONGEST_LIE_SECONDS = 1.0
"""For so long upstream may answer what is not true."""
CONFIG = EngineConfig(
    batch_size=4,
    workers=1,
    lease_seconds=LEASE_SECONDS,
    account_timeout=5,
    poll_seconds=0.05,
    # As five seconds outlast most of what an upstream has: an account whose fetch failed is read
    # again once it is well.
    postpone_seconds=LONGEST_LIE_SECONDS + 0.5,
    postpone_named_seconds=0,
    grace_seconds=5,
)
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker needs: its way to the database, upstream, the quota, the file that says how
    many seconds its clock is off, its log.
    """

    dsn: str
    schema: str
    base_url: str
    rate: float
    burst: int
    now: dt.datetime
    clock: Path
    log: Path


class Worker:
    """One process; leaving the context kills it, whatever it does."""

    def __init__(self, setup: Setup) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._process: BaseProcess = context.Process(target=_main, args=(setup,), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """kill -9, which also ends a stopped process."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join()

    def stop(self) -> None:
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        self._signal(signal.SIGCONT)

    async def end(self) -> int | None:
        """Tell it to end in order; its exit code, None if it did not end."""
        self._signal(signal.SIGTERM)
        await asyncio.to_thread(self._process.join, CONFIG.grace_seconds + 25)
        return self._process.exitcode

    def _signal(self, number: signal.Signals) -> None:
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, number)


def _main(setup: Setup) -> None:
    # No worker outlives the tests, however they end.
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    with setup.log.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    # As `serve` does: what it logs must not take seconds, in which no heartbeat comes.
    configure_logging(json=True)
    begun, real = time.monotonic(), time.time

    def off() -> float:
        return float(setup.clock.read_text(encoding="ascii") or 0)

    def now() -> dt.datetime:
        return setup.now + dt.timedelta(seconds=time.monotonic() - begun + off())

    time.time = lambda: real() + off()
    asyncio.run(_serve(setup, now))


async def _serve(setup: Setup, now: Callable[[], dt.datetime]) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    upstream = UpstreamConfig(
        setup.base_url,
        SecretStr("sandbox"),
        rate=setup.rate,
        burst=setup.burst,
        timeout=3,
        account_timeout=3,
        outage_wait=20,
        breaker_seconds=0.3,
        retry_wait=0.05,
        longest_retry_wait=0.3,
    )
    async with (
        Pool.open(setup.dsn, setup.schema, statement_cache=0) as pool,
        UpstreamClient.open(upstream) as client,
    ):
        store = await Repositories.build(pool, LEASE_SECONDS)
        async with ReconService(store, client, CONFIG, now).pool.running():
            await stopping.wait()
