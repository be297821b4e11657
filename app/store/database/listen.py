"""Notifications of new runs, which spare the wait for the next poll.

Optional, since workers keep polling; they need a session past any transaction pooler.
"""

import asyncio
import contextlib
import hashlib
import random
import secrets
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from app.errors import ConfigurationError, DatabaseUnavailable, ReconError, StatementTooSlow
from app.store.database.connecting import reach
from app.store.database.errors import connecting, translated
from app.store.database.pool import Database
from app.store.database.session import begin_session, close
from app.store.database.transaction import Connection
from app.telemetry import get_logger

if TYPE_CHECKING:
    import asyncpg

    from app.store.database.transaction import Record

_log = get_logger(__name__)
_VARIABLE = "DATABASE_DIRECT_URL"
_CONNECT_SECONDS = 15.0
_ANSWER_SECONDS = 10.0
_ECHO_SECONDS = 10.0
_PROBE_SECONDS = 30.0
"""Probe interval: a silently dead connection looks idle."""
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0


def wake_channel(schema: str) -> str:
    """An installation's channel.

    A digest, since a schema's name may fill a channel's 63 bytes.
    """
    return f"trade_recon_{hashlib.blake2b(schema.encode(), digest_size=8).hexdigest()}"


async def notify(connection: Connection, schema: str, run_id: str) -> None:
    """Wake listening processes on commit."""
    await connection.execute("SELECT pg_notify($1, $2)", wake_channel(schema), run_id)


async def require_same_database(database: Database, dsn: str) -> None:
    """Raise ConfigurationError unless `dsn` leads to the pool's database.

    Raises DatabaseUnavailable or StatementTooSlow without an answer.
    """
    async with _connected(dsn) as connection:
        await _compare(database, connection)


class WakeUps:
    """Listens for one installation's new runs."""

    def __init__(self, database: Database, dsn: str) -> None:
        self._database = database
        self._dsn = dsn
        self._channel = wake_channel(database.schema)
        self._is_away = False

    async def check(self) -> None:
        """Raise ConfigurationError if the way leads elsewhere; an outage is only logged."""
        try:
            await require_same_database(self._database, self._dsn)
        except (DatabaseUnavailable, StatementTooSlow) as error:
            self._note_outage(error)

    async def listen(self, callback: Callable[[], None]) -> None:
        """Call `callback` for each new run and reconnection; never returns."""
        pause = _FIRST_PAUSE
        while True:
            try:
                async with _connected(self._dsn) as connection:
                    lost = asyncio.Event()
                    connection.add_termination_listener(lambda _, lost=lost: lost.set())
                    await self._begin(connection, callback)
                    pause = _FIRST_PAUSE
                    await _until_lost(connection, lost)
            except ReconError as error:
                self._note_outage(error)
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _begin(
        self, connection: "asyncpg.Connection[Record]", callback: Callable[[], None]
    ) -> None:
        await _compare(self._database, connection)
        heard = asyncio.Event()

        def hear(*_: object) -> None:
            heard.set()
            callback()

        with translated(_VARIABLE):
            await connection.add_listener(self._channel, hear)
        callback()
        await self._database.execute("SELECT pg_notify($1, '')", self._channel)
        try:
            async with asyncio.timeout(_ECHO_SECONDS):
                await heard.wait()
        except TimeoutError:
            raise DatabaseUnavailable(
                f"No notification comes through the connection of {_VARIABLE}: it must lead past"
                " any pooler in transaction mode."
            ) from None
        self._is_away = False
        _log.info("New runs are heard of at once.", action="wake.listening")

    def _note_outage(self, error: ReconError) -> None:
        if not self._is_away:
            self._is_away = True
            _log.warning(
                "New runs are not heard of; until the connection for it stands again they are found"
                " by polling.",
                action="wake.lost",
                reason=str(error),
            )


@contextlib.asynccontextmanager
async def _connected(dsn: str) -> "AsyncIterator[asyncpg.Connection[Record]]":
    with connecting(dsn, _VARIABLE):
        connection: asyncpg.Connection[Record] = await reach(
            dsn,
            timeout=_CONNECT_SECONDS,
            command_timeout=_ANSWER_SECONDS,
            statement_cache_size=0,
            server_settings={"application_name": "trade-recon listener"},
        )
    try:
        with translated(_VARIABLE):
            await begin_session(connection)
        yield connection
    finally:
        await close(connection)


async def _compare(database: Database, direct: "asyncpg.Connection[Record]") -> None:
    """Take one advisory lock both ways, which only the same server refuses.

    Copies and standbys share names and identifiers.
    """
    key = secrets.randbits(63)
    async with database.transaction(statement_seconds=_ANSWER_SECONDS) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", key)
        with translated(_VARIABLE):
            is_free = await direct.fetchval("SELECT pg_try_advisory_xact_lock($1)", key)
    if is_free:
        raise ConfigurationError(
            f"{_VARIABLE} leads to another database than DATABASE_URL: it must be the way to the"
            " same one past the pooler. Correct it, or leave it out, and start again. Nothing was"
            " changed."
        )


async def _until_lost(connection: "asyncpg.Connection[Record]", lost: asyncio.Event) -> None:
    while True:
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                await lost.wait()
        except TimeoutError:
            with translated(_VARIABLE):
                await connection.execute("SELECT 1")
        else:
            raise DatabaseUnavailable("The connection that listens was lost.")
