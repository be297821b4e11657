"""What is said where PostgreSQL cannot be reached, as whoever set the DSN meets it."""

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.errors import ConfigurationError, DatabaseUnavailable, ReconError
from app.store.database.connecting import servers
from app.store.database.pool import Database as Pool
from tests.conftest import Database, Server
from tests.support.commands import run_command
from tests.support.tcp_proxy import TcpProxy

_NOISE = re.compile(r"\b[A-Za-z]*(Error|Exception)\b|[Ee]rrno|gaierror")


async def _refusal(dsn: str) -> ReconError:
    with pytest.raises((ConfigurationError, DatabaseUnavailable)) as refused:
        async with Pool.open(dsn, "prop_trading_model", pool_size=1):
            pass
    assert not _NOISE.search(str(refused.value)), str(refused.value)
    return refused.value


@contextlib.asynccontextmanager
async def _answering(answer: bytes) -> AsyncIterator[int]:
    """The port of a server that answers the first packet so, and ends the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


async def test_where_nothing_listens_the_server_is_named() -> None:
    port, other = _closed_port(), _closed_port()
    assert f"no PostgreSQL listens on 127.0.0.1:{port};" in str(
        await _refusal(f"postgresql://a:b@127.0.0.1:{port}/db")
    )
    assert f"no PostgreSQL listens on localhost:{port};" in str(
        await _refusal(f"postgresql://a:b@localhost:{port}/db")
    )
    several = await _refusal(f"postgresql://a:b@127.0.0.1:{port},127.0.0.1:{other}/db")
    assert f"no PostgreSQL listens on 127.0.0.1:{port} and 127.0.0.1:{other};" in str(several)


async def test_a_socket_that_is_not_there_and_a_host_that_is_not_known_are_named(
    tmp_path: Path,
) -> None:
    assert f"no PostgreSQL listens on the socket in {tmp_path};" in str(
        await _refusal(f"postgresql:///db?host={tmp_path}")
    )
    assert "no-such-host.invalid:5432" in str(
        await _refusal("postgresql://a:b@no-such-host.invalid/db")
    )


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_a_server_without_tls_is_told_with_what_to_take_out(
    database: Database, mode: str
) -> None:
    authority = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    async with TcpProxy.to_database(database.dsn) as (proxy, dsn):
        said = await _refusal(
            dsn.replace("sslmode=disable", f"sslmode={mode}&sslrootcert={authority}")
        )
    assert isinstance(said, ConfigurationError)
    assert f"the server has no TLS: take sslmode={mode} out (127.0.0.1:{proxy.port})" in str(said)


async def test_what_is_no_postgresql_is_told_apart() -> None:
    async with _answering(b"") as port:
        assert f"127.0.0.1:{port} ends the connection at once" in str(
            await _refusal(f"postgresql://a:b@127.0.0.1:{port}/db?sslmode=require")
        )
    async with _answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert f"127.0.0.1:{port}" in str(
            await _refusal(f"postgresql://a:b@127.0.0.1:{port}/db?sslmode=disable")
        )


@pytest.mark.parametrize(
    ("dsn", "named"),
    [
        ("postgresql://u:p@h/db", "h:5432"),
        ("postgresql://u:p@h1:1,h2:2,h3/db", "h1:1, h2:2 and h3:5432"),
        ("postgresql://u:p@[::1]:5/db", "[::1]:5"),
        ("postgresql://u:p@[::1]/db", "[::1]:5432"),
        ("postgresql://u:p@/db?host=/run/pg&port=6543", "the socket in /run/pg"),
        ("postgresql://u:p@/db?host=h&port=6543", "h:6543"),
        ("postgresql://u:p%40x@%2Frun%2Fpg/db", "the socket in /run/pg"),
    ],
)
def test_the_servers_of_a_dsn_are_named_without_user_and_password(
    monkeypatch: pytest.MonkeyPatch, dsn: str, named: str
) -> None:
    monkeypatch.delenv("PGPORT", raising=False)
    assert servers(dsn) == named


async def test_commands_say_where_nothing_listens_and_what_is_wrong_with_tls(
    tmp_path: Path,
) -> None:
    port = _closed_port()
    ended = await run_command(
        tmp_path, {"DATABASE_URL": f"postgresql://a:geheim@127.0.0.1:{port}/x"}, "report"
    )
    assert (ended.code, f"no PostgreSQL listens on 127.0.0.1:{port}" in ended.stderr) == (
        3,
        True,
    ), ended.stderr
    async with _answering(b"N") as other:
        ended = await run_command(
            tmp_path,
            {"DATABASE_URL": f"postgresql://a:geheim@127.0.0.1:{other}/x?sslmode=require"},
            "report",
        )
    assert (ended.code, "the server has no TLS: take sslmode=require out" in ended.stderr) == (
        2,
        True,
    ), ended.stderr
    assert "geheim" not in ended.stderr


async def test_a_role_that_lacks_a_right_is_named_with_the_way_to_give_it(
    database: Database, postgres: Server, tmp_path: Path
) -> None:
    role = f"{database.dsn.partition('?')[0].rpartition('/')[2]}_poor"
    await postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'geheim-4711'")
    try:
        dsn = database.dsn.replace("//postgres:@", f"//{role}:geheim-4711@")
        assert role in dsn
        # Readers need less than runs, and are told that.
        schema = database.schema
        less = (
            f'GRANT USAGE ON SCHEMA "{schema}" TO "{role}"; GRANT SELECT ON ALL TABLES IN SCHEMA'
            f' "{schema}" TO "{role}"'
        )
        for words, way in (
            (["report"], less),
            (["maintain"], f"`trade-recon migrate --print --role {role}`"),
            (["removed"], less),
        ):
            ended = await run_command(tmp_path, {"DATABASE_URL": dsn}, *words)
            said = ended.stderr.splitlines()[-1]
            assert ended.code == 2, ended.stderr
            assert f"role {role} lacks a right: permission denied for" in said
            assert way in said
            assert "4711" not in ended.stderr
    finally:
        await postgres.execute(f"DROP ROLE {role}")
