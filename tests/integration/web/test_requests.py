"""Requests of any kind are answered, and with what they are due: whatever a caller sends, the
service does not fail by it.
"""

import asyncio
import datetime as dt
import json
import random
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from app.sandbox.server.serving import SandboxServer
from app.web.request_limits import LARGEST_BODY
from tests.conftest import Database
from tests.support.commands import served, settings_for

_JSON = {"Content-Type": "application/json"}
_ODD_IDS = (
    "a/b",
    "/a",
    "a/",
    "a//b",
    "a/reconcile",
    "reconcile",
    "a?b=c",
    "a#b",
    "100%",
    "%2F",
    "%252F",
    "a b",
    " ",
    ".",
    "..",
    "a/../b",
    "\u00e4\u4e2d\U0001f4c8",
    "a+b&c;d",
    "\\",
    "\x01\x7f",
    "runs/1/cancel",
    "x" * 255,
)


@pytest.fixture
async def client(database: Database, sandbox: SandboxServer) -> AsyncIterator[httpx2.AsyncClient]:
    async with served(settings_for(database.dsn, sandbox.base_url)) as client:
        yield client


def _path(account_id: str) -> str:
    # A client takes a dot segment for itself, so dots are encoded too.
    return f"/accounts/{quote(account_id, safe='').replace('.', '%2E')}"


async def test_an_account_is_found_by_any_id_that_a_column_holds(
    client: httpx2.AsyncClient, database: Database
) -> None:
    async with database.connect() as connection:
        await connection.executemany(
            "INSERT INTO trade_recon (account_id) VALUES ($1)", [(each,) for each in _ODD_IDS]
        )
    for account_id in _ODD_IDS:
        answer = await client.get(_path(account_id))
        assert (answer.status_code, answer.json().get("account_id")) == (
            200,
            account_id,
        ), answer.text
    for account_id in ("a/b", "a/reconcile", "..", "100%"):
        answer = await client.post(f"{_path(account_id)}/reconcile", params={"wait": 20})
        assert (answer.status_code, answer.json().get("account_id")) == (
            200,
            account_id,
        ), answer.text
    assert (await client.get("/accounts/a/b")).json()["account_id"] == "a/b", (
        "a slash that is not encoded is the id's as well"
    )
    for account_id in ("b/a", "a/b/", "nobody?"):
        answer = await client.get(_path(account_id))
        assert (answer.status_code, account_id in answer.json()["detail"]) == (404, True)
    assert (await client.post(_path("a/b"))).status_code == 405
    assert (
        (await client.get("/accounts/")).status_code
        == (await client.get("/accounts")).status_code
        == 404
    )


async def _raw(client: httpx2.AsyncClient, request: bytes) -> bytes:
    """What is answered to these bytes."""
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


def _head(*headers: str, path: str = "/runs") -> bytes:
    lines = f"POST {path} HTTP/1.1", "Host: a", "Content-Type: application/json", *headers
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def test_a_body_above_the_limit_is_refused_before_it_is_read(
    client: httpx2.AsyncClient, database: Database
) -> None:
    # None of it is ever sent.
    announced = await _raw(client, _head("Content-Length: 419430400"))
    assert announced.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in announced
    assert b"connection: close" in announced
    assert json.loads(announced.partition(b"\r\n\r\n")[2])["detail"].startswith(
        "The body is larger than 1 MiB"
    )
    for path in (
        "/maintenance",
        f"/runs/{uuid.uuid4()}/cancel",
        "/accounts/a/reconcile",
        "/nothing",
    ):
        assert (await _raw(client, _head("Content-Length: 1048577", path=path))).startswith(
            b"HTTP/1.1 413 "
        ), path
    # No more than that: what the service leaves unread would break the connection before its answer
    # is seen.
    pieces = (b"10000\r\n" + b" " * 65536 + b"\r\n") * 16 + b"1\r\n \r\n"
    chunked = await _raw(client, _head("Transfer-Encoding: chunked") + pieces)
    assert chunked.startswith(b"HTTP/1.1 413 ")
    # The limit itself is none too many, and a length that lies does not let more through.
    assert (
        await client.post("/runs", content=b" " * (LARGEST_BODY - 2) + b"{}", headers=_JSON)
    ).status_code == 202
    lying = await _raw(client, _head("Content-Length: 2", "Connection: close") + b"[]" + b"x" * 100)
    assert lying.startswith((b"HTTP/1.1 422 ", b"HTTP/1.1 400 "))
    for value in ("-1", "1e3", "0x10", "9" * 400, "1, 2"):
        assert (await _raw(client, _head(f"Content-Length: {value}"))).startswith(
            (b"HTTP/1.1 400 ", b"HTTP/1.1 413 ")
        ), value
    async with database.connect() as connection:
        assert await connection.fetchval("SELECT count(*) FROM recon_runs") == 1


@pytest.mark.parametrize(
    ("stop_at", "status"),
    [
        ("9999-12-31T23:59:59-12:00", 422),
        ("9999-12-31T23:59:59.999999-00:01", 422),
        ("0001-01-01T00:00:00+14:00", 422),
        ("0001-01-01T00:00:00Z", 422),
        ("2000-01-01T00:00:00Z", 422),
        ("9999-12-31T23:59:59.999999Z", 422),
        ("9998-12-31T23:59:59.999999Z", 202),
        ("9998-12-31T23:59:59-14:00", 422),
        ("2099-01-01T00:00:00+23:59", 202),
        ("10000-01-01T00:00:00Z", 422),
        ("2099-01-01T00:00:00", 422),
        ("2099-02-30T00:00:00Z", 422),
        ("2099-01-01T00:00:00+99:00", 422),
        (1e308, 422),
        (-1e18, 422),
        (4102444800, 202),
        (True, 422),
        ({}, 422),
    ],
)
async def test_a_stop_that_is_no_time_or_past_is_refused_and_any_other_is_kept(
    client: httpx2.AsyncClient, stop_at: object, status: int
) -> None:
    answer = await client.post("/runs", json={"kind": "retry", "stop_at": stop_at})
    assert answer.status_code == status, answer.text
    if status == 202:
        run = await client.get(answer.headers["Location"])
        assert run.status_code == 200
        assert dt.datetime.fromisoformat(run.json()["stop_at"]) > dt.datetime(
            2098, 1, 1, tzinfo=dt.UTC
        )


async def test_a_run_of_another_version_is_shown(
    client: httpx2.AsyncClient, database: Database
) -> None:
    run_id = uuid.uuid4()
    async with database.connect() as connection:
        for check in ("kind", "status"):
            await connection.execute(
                f"ALTER TABLE recon_runs DROP CONSTRAINT recon_runs_{check}_check"
            )
        await connection.execute(
            "ALTER TABLE recon_attempts DROP CONSTRAINT recon_attempts_outcome_check"
        )
        for request in ('{"a_later_field": {"x": 1}}', "[]", "null", '"text"'):
            await connection.execute(
                "INSERT INTO recon_runs (run_id, kind, status, request, finished_at) VALUES ($1,"
                " 'later', 'later', $2::text::jsonb, now()) ON CONFLICT (run_id) DO UPDATE SET"
                " request = excluded.request",
                run_id,
                request,
            )
            answer = await client.get(f"/runs/{run_id}")
            assert (answer.status_code, answer.json()["kind"], answer.json()["request"]) == (
                200,
                "later",
                json.loads(request),
            )
        await connection.execute("INSERT INTO trade_recon (account_id) VALUES ('a')")
        await connection.execute(
            "INSERT INTO recon_attempts (run_id, account_id, position, outcome, finished_at) VALUES"
            " ($1, 'a', 1, 'later', now())",
            run_id,
        )
    assert (await client.get("/accounts/a")).json()["attempts"][0]["outcome"] == "later"
    assert (await client.get("/report")).status_code == 200
    assert (await client.post(f"/runs/{run_id}/pause")).status_code == 409


_TEXTS = (
    "",
    " ",
    "0",
    "-1",
    "1e400",
    "nan",
    "inf",
    "9" * 30,
    "9" * 5000,
    "\u0661",
    "a\x00b",
    "\x00",
    "\ud800",
    "../..",
    "%",
    "%zz",
    "{}",
    "null",
    "true",
    "0001-01-01",
    "9999-12-31T23:59:59-12:00",
    "x" * 300,
    "'; DROP TABLE x; --",
    "\U0001f4c8",
    str(uuid.UUID(int=0)),
    "17",
)
_VALUES: tuple[Any, ...] = (
    *_TEXTS,
    None,
    True,
    0,
    -1,
    2**31,
    2**63,
    10**400,
    1.5,
    1e300,
    [],
    {},
    [[]],
    [None],
    {"a": 1},
)
_NAMES = (
    "kind",
    "max_accounts",
    "account_ids",
    "changed_only",
    "stop_at",
    "\ud800",
    "",
    "a" * 5000,
    "\x00",
)


def _encoded(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def _requests(drawn: random.Random, count: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, address and the rest of requests, drawn at random."""

    def text() -> str:
        return _encoded(drawn.choice(_TEXTS))

    for _ in range(count):
        address = drawn.choice(
            (
                "/runs",
                "/runs",
                "/runs",
                f"/runs/{text()}",
                f"/runs/{text()}/{drawn.choice(('pause', 'resume', 'cancel', 'confirm'))}",
                f"/accounts/{text()}",
                f"/accounts/{text()}/reconcile?wait={text()}",
                f"/changes?since={text()}&limit={text()}",
                "/report",
                f"/report?{text()}={text()}",
                f"/{text()}",
            )
        )
        rest: dict[str, Any] = {"headers": {}}
        if drawn.random() < 0.3:
            header = drawn.choice(
                ("Idempotency-Key", "If-None-Match", "Content-Type", "Accept", "X-Forwarded-For")
            )
            rest["headers"][header] = (
                drawn.choice(_TEXTS).encode("utf-8", "replace").replace(b"\x00", b"?").strip()
            )
        if drawn.random() < 0.6:
            body = {drawn.choice(_NAMES): drawn.choice(_VALUES) for _ in range(drawn.randrange(4))}
            whole = drawn.choice((body, body, body, drawn.choice(_VALUES)))
            rest["content"] = drawn.choice(
                (
                    json.dumps(whole).encode(),
                    b"[" * 5000,
                    b"\xff\xfe",
                    json.dumps(whole).encode()[:-1],
                )
            )
            rest["headers"].setdefault("Content-Type", "application/json")
        yield (
            drawn.choice(("GET", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS")),
            address,
            rest,
        )


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_is_sent_to_any_address_is_the_callers_fault_and_never_an_error_of_the_service(
    client: httpx2.AsyncClient, database: Database, seed: int
) -> None:
    answered: set[int] = set()
    for method, address, rest in _requests(random.Random(seed), 200):
        answer = await client.request(method, address, **rest)
        assert answer.status_code < 500, (method, address, rest, answer.text)
        assert len(answer.content) < 100_000
        if answer.status_code >= 400 and method != "HEAD":
            assert answer.headers["Content-Type"] == "application/problem+json", (
                method,
                address,
                answer.text,
            )
            assert json.loads(answer.content)["status"] == answer.status_code
        answered.add(answer.status_code)
    assert {200, 202, 404, 405, 422} <= answered
    async with database.connect() as connection:
        await connection.execute(
            "UPDATE recon_runs SET status = 'cancelled', finished_at = now() WHERE status ="
            " 'queued'"
        )


async def test_a_nul_in_any_parameter_of_any_route_is_a_problem_that_names_it(
    client: httpx2.AsyncClient,
) -> None:
    described = (await client.get("/openapi.json")).json()["paths"]
    asked = 0
    for path, methods in described.items():
        filled = (
            path.replace("{run_id}", str(uuid.uuid4()))
            .replace("{account_id}", "a")
            .replace("{code}", "absent_upstream")
        )
        assert "{" not in filled, path
        for method, route in methods.items():
            names = [each["name"] for each in route.get("parameters", ()) if each["in"] == "query"]
            for name in names:
                for value in ("%00", "a%00b"):
                    answer = await client.request(method.upper(), f"{filled}?{name}={value}")
                    assert answer.status_code == 422, (
                        method,
                        path,
                        name,
                        answer.status_code,
                        answer.text,
                    )
                    assert name in answer.text
                    asked += 1
    assert asked > 20
