"""A TCP proxy between trade-recon and a server, as a network that fails: connections freeze, break,
are refused, or are slow.

A frozen connection is what a lost route, a firewall that forgot its state or a failed virtual
machine leaves behind: both ends are open, nothing arrives, and no FIN or RST ever comes.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, quote, unquote, urlsplit, urlunsplit

_PIECE = 64 * 1024
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends RST instead of FIN."""

_Opener = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
Watch = Callable[[object, bytes], Awaitable[None]]


class TcpProxy:
    """Forwards connections from `port` of 127.0.0.1 to one server, until it is told to fail them.

    `delay` is the number of seconds that each piece of data waits, in both directions; `refuses`
    closes each new connection at once, `swallows` accepts new ones and forwards nothing of them,
    `watch` is awaited with what a client sends before it goes on, and with the connection on which
    it came.
    """

    def __init__(self, connect: _Opener) -> None:
        """Use `to` or `to_database` instead, which also close it."""
        self._connect = connect
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.delay = 0.0
        self.watch: Watch | None = None
        self.refuses = False
        self.swallows = False
        self.accepted = 0
        self.port = 0

    @classmethod
    @asynccontextmanager
    async def to(cls, connect: _Opener) -> AsyncIterator["TcpProxy"]:
        """A proxy whose connections lead to what `connect` opens."""
        proxy = cls(connect)
        server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            proxy.drop()
            for task in list(proxy._tasks):
                task.cancel()
            await asyncio.gather(*proxy._tasks, return_exceptions=True)

    @classmethod
    @asynccontextmanager
    async def to_database(cls, dsn: str) -> AsyncIterator[tuple["TcpProxy", str]]:
        """A proxy to the PostgreSQL of a DSN, over TCP or a Unix socket, and the DSN of the same
        database through it.
        """
        parts = urlsplit(dsn)
        options = {name: values[0] for name, values in parse_qs(parts.query).items()}
        host = options.pop("host", None) or parts.hostname or "127.0.0.1"
        port = int(options.pop("port", None) or parts.port or 5432)

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            if host.startswith("/"):
                return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
            return await asyncio.open_connection(host, port)

        async with cls.to(connect) as proxy:
            password = "" if parts.password is None else f":{parts.password}"
            user = quote(unquote(parts.username or options.pop("user", "postgres")))
            query = "&".join(
                [*(f"{name}={quote(value)}" for name, value in options.items()), "sslmode=disable"]
            )
            address = f"{user}{password}@127.0.0.1:{proxy.port}"
            yield proxy, urlunsplit(parts._replace(netloc=address, query=query))

    @property
    def open_connections(self) -> int:
        """Connections that are forwarded or frozen."""
        return len(self._links)

    def freeze(self) -> int:
        """Forward nothing more of the connections that are open now, and close none; how many they
        are. New ones work.
        """
        for link in self._links:
            link.moves.clear()
        return len(self._links)

    def thaw(self) -> None:
        """Let frozen connections go on with what has waited."""
        for link in self._links:
            link.moves.set()

    def drop(self) -> int:
        """Break the connections that are open now, with RST at both ends; how many they were."""
        dropped = list(self._links)
        for link in dropped:
            link.reset()
        return len(dropped)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            if self.refuses:
                return
            await self._forward(reader, writer)
        except (OSError, asyncio.CancelledError):
            # Either end is gone, or the proxy is: that is what it is for.
            return
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await self._connect()
        link = _Link(writer, back)
        if self.swallows:
            link.moves.clear()
        self._links.add(link)
        directions = [
            asyncio.create_task(self._pump(link, reader, back, watched=True)),
            asyncio.create_task(self._pump(link, there, writer, watched=False)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._links.discard(link)
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            back.close()

    async def _pump(
        self,
        link: "_Link",
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        *,
        watched: bool,
    ) -> None:
        while piece := await source.read(_PIECE):
            if watched and self.watch is not None:
                await self.watch(link, piece)
            await link.moves.wait()
            if self.delay:
                await asyncio.sleep(self.delay)
                await link.moves.wait()
            target.write(piece)
            await target.drain()
        # A close does not pass a frozen network either.
        await link.moves.wait()


class _Link:
    """The two ends of one connection, and whether data moves between them."""

    def __init__(self, *ends: asyncio.StreamWriter) -> None:
        self._ends = ends
        self.moves = asyncio.Event()
        self.moves.set()

    def reset(self) -> None:
        for end in self._ends:
            raw = end.get_extra_info("socket")
            if raw is not None and raw.family != socket.AF_UNIX:
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.transport.abort()
