"""pgqueuer as a contender: a queue of jobs that do nothing, drained by its consumers."""

import asyncio
import contextlib
import importlib
import importlib.metadata
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import asyncpg

from bench.contender import Contender, NothingToCompareError

JOB = "nothing"
_ENQUEUED_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Queue:
    """Their side: pgqueuer's tables in a database of their own, and as many jobs in each round as
    we have accounts.
    """

    dsn: str
    connection: "asyncpg.Connection[asyncpg.Record]"
    library: ModuleType
    jobs: int

    @classmethod
    @contextlib.asynccontextmanager
    async def installed(cls, dsn: str, library: ModuleType, jobs: int) -> AsyncIterator["Queue"]:
        """The library's tables, with the settings for autovacuum that it recommends."""
        connection = await asyncpg.connect(dsn)
        try:
            queue = cls(dsn, connection, library, jobs)
            await queue._queries.install()
            await queue._queries.optimize_autovacuum()
            yield queue
        finally:
            await connection.close()

    @property
    def _queries(self) -> Any:  # noqa: ANN401 - a class of a library that may be absent
        return self.library.Queries.from_asyncpg_connection(self.connection)

    def contender(self, consumers: int, batch: int) -> Contender:
        """One way to drain the queue."""
        return Contender(
            f"pgqueuer, {consumers} x {batch}",
            self._queue,
            lambda: self._drain(consumers, batch),
            self._done,
        )

    async def _queue(self) -> None:
        await self.connection.execute("TRUNCATE pgqueuer, pgqueuer_log, pgqueuer_statistics")
        for begin in range(0, self.jobs, _ENQUEUED_AT_ONCE):
            count = min(_ENQUEUED_AT_ONCE, self.jobs - begin)
            await self._queries.enqueue([JOB] * count, [None] * count, [0] * count)
        await self.connection.execute("VACUUM ANALYZE")

    async def _done(self) -> int:
        return int(
            await self.connection.fetchval(
                "SELECT count(DISTINCT job_id) FROM pgqueuer_log WHERE status = 'successful' AND"
                " NOT EXISTS (SELECT FROM pgqueuer)"
            )
        )

    async def _drain(self, consumers: int, batch: int) -> None:
        async with contextlib.AsyncExitStack() as connections:
            runs = []
            for _ in range(consumers):
                connection = await asyncpg.connect(self.dsn)
                connections.push_async_callback(connection.close)
                queuer = self.library.PgQueuer.from_asyncpg_connection(connection)
                queuer.entrypoint(JOB)(_do_nothing)
                runs.append(
                    queuer.run(batch_size=batch, mode=self.library.types.QueueExecutionMode.drain)
                )
            await asyncio.gather(*runs)


async def _do_nothing(_job: object) -> None:
    """The job."""


def load_library() -> ModuleType:
    """pgqueuer, imported by name so that types hold with and without it.

    Raises NothingToCompareError if it is not there.
    """
    try:
        library = importlib.import_module("pgqueuer")
        importlib.import_module("pgqueuer.types")
    except ModuleNotFoundError as error:
        if error.name != "pgqueuer":
            raise
        raise NothingToCompareError(
            "pgqueuer is not installed, so there is nothing to compare claims with. trade-recon"
            " itself does not need it. Install it into this environment with uv pip install"
            " 'pgqueuer>=1.6,<2' (the dependency group bench of pyproject.toml), and start again."
        ) from None
    return library
