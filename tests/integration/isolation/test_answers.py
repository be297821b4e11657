"""Odd answers of every kind, given to what names one account, to one endpoint, or to everything;
for a while, and for ever.

Where only requests that name one account are answered oddly, that account alone fails, with what
the API said, and costs the others neither their repair nor a wait. Where nobody is answered well,
nobody is charged and nothing is changed; well again, all is repaired.

A few cases are drawn each time, the same ones; `ANSWERS_SEED=7` draws others, and `ANSWERS=all`
plays the whole table.
"""

import asyncio
import dataclasses
import gzip
import itertools
import os
import random
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import Enum
from typing import Any

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.integration.isolation.conftest import (
    NOW,
    TODAY,
    blamed,
    let_a_day_pass,
    lose,
    names_of,
    quick,
)
from tests.support.altered import AlteringApi, altering
from tests.support.engine import difference, engine, run
from tests.support.plain import plain
from tests.support.scripted import Arrival, Reply
from tests.support.worlds import world_fixtures

_SAID = "Odd words of the API."
_ACCOUNTS = 24
_LOSERS = 9
_DRAWN = 12
_UNBEARABLE = 60.0
"""Seconds after which a run has waited for an outage, a breaker or a Retry-After that concerned one
account alone.
"""


class Sense(Enum):
    """What an answer tells."""

    BAD = "nothing that can be used"
    ABSENT = "that there is nothing, where others are answered; else nothing that can be used"
    NOTHING = "that there is nothing"
    GOOD = "all that was asked for"


@dataclasses.dataclass(frozen=True)
class Odd:
    """An answer: what becomes of a good body, what it tells, and a piece of the sentence that it
    leads to.
    """

    reply: Callable[[bytes], Reply]
    said: str
    sense: Sense = Sense.BAD
    limits: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def may_pass(self) -> bool:
        """Whether the same request is worth another attempt; of an answer that is final the next
        run finds out whether it still holds.
        """
        return self.reply(b"{}").status not in _FINAL


def _status(status: int, said: str = "", **headers: str) -> Odd:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = f'{{"message": "{_SAID}"}}'.encode()
    return Odd(
        lambda _: Reply(status, body, named),
        said or f'answered {status} ({{"message": "{_SAID}"}})',
    )


def _fixed(reply: Reply, said: str, sense: Sense = Sense.BAD) -> Odd:
    return Odd(lambda _: reply, said, sense)


def _unfinished(status: int) -> Odd:
    return Odd(lambda body: Reply(status, body), f"answered {status}")


def _later(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


_LATE = {"timeout": 1.0, "account_timeout": 1.0}
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_GZIP = {"Content-Encoding": "gzip"}
_HTML = b"<!doctype html><html><body>Odd words of the API.</body></html>"


_REJECTIONS = (
    400,
    401,
    402,
    403,
    405,
    406,
    409,
    411,
    412,
    413,
    414,
    415,
    418,
    421,
    422,
    423,
    424,
    426,
    428,
    431,
    451,
    499,
)
_FINAL = frozenset((*_REJECTIONS, *range(300, 400)))


def _answers() -> dict[str, Odd]:
    failures = (408, 425, 500, 501, 502, 503, 504, 505, 507, 509, 520, 524, 529, 530, 599)
    waits = {"none": None, "0": "0", "2": "2", "huge": "86400", "beyond": "9" * 30, "garbage": "soon", "negative": "-5", "nan": "nan",
             "date": _later(3600), "past": _later(-3600), "impossible": "Wed, 99 Foo 2026 25:61:00 GMT"}  # fmt: skip
    table = {str(status): _status(status) for status in (*_REJECTIONS, *failures)}
    for status in (429, 503):
        table |= {
            f"{status}-after-{name}": _status(
                status, **({} if wait is None else {"Retry_After": wait})
            )
            for name, wait in waits.items()
        }
    table |= {
        str(status): dataclasses.replace(_status(status), sense=Sense.ABSENT)
        for status in (404, 410)
    }
    table |= {f"{status}-unfinished": _unfinished(status) for status in (201, 202, 205, 206, 226)}
    table |= {
        f"{status}-elsewhere": _status(
            status, f"redirect ({status} to http://127.0.0.1:1/", Location="http://127.0.0.1:1/x"
        )
        for status in (301, 302, 303, 307, 308)
    }
    table |= {
        f"{status}-nowhere": _status(status, f"redirect ({status})") for status in (300, 302, 307)
    }
    return table | {
        "203": Odd(lambda body: Reply(203, body), "", Sense.GOOD),
        "204": _fixed(Reply(204), "", Sense.NOTHING),
        "200-nothing": _fixed(Reply(200, b'{"Status": "ok", "Data": {"data": [], "total": 0}}'), "", Sense.NOTHING),
        "304": _fixed(Reply(304), "answered 304"),
        "503-html": _fixed(Reply(503, _HTML), f"answered 503 ({_HTML.decode()})"),
        "500-empty": _fixed(Reply(500), "answered 500, without a word"),
        "200-empty": _fixed(Reply(200), "answered 200, without a word"),
        "200-html": _fixed(Reply(200, _HTML), f"answered 200 ({_HTML.decode()})"),
        "200-array": _fixed(Reply(200, b"[]"), "answered 200 ([])"),
        "200-fail": _fixed(Reply(200, b'{"Status": "fail", "Error": "Odd words of the API."}'), f"reports a failure ({_SAID})"),
        "200-unknown-status": _fixed(Reply(200, b'{"Status": "partial", "Data": [], "Message": "Odd."}'), "unknown status partial"),
        "200-null-of-many": _fixed(Reply(200, b'{"Data": {"data": null, "total": 7}}'), "null in place of the rows"),
        "200-cut": Odd(lambda body: Reply(200, body[: len(body) // 2]), "answered 200 ("),
        "200-bom": Odd(lambda body: Reply(200, b"\xef\xbb\xbf" + body), "", Sense.GOOD),
        "200-utf16": Odd(lambda body: Reply(200, body.decode().encode("utf-16")), "", Sense.GOOD),
        "200-gzip": Odd(lambda body: Reply(200, gzip.compress(body), _GZIP), "", Sense.GOOD),
        "200-gzip-cut": Odd(lambda body: Reply(200, gzip.compress(body)[:-20], _GZIP), ""),
        "200-gzip-garbage": _fixed(Reply(200, b"\x1f\x8b\x08\x00 garbage", _GZIP), "cannot be read"),
        "200-chunked": Odd(lambda body: Reply(200, body, chunked=True), "", Sense.GOOD),
        "103-then-200": Odd(lambda body: Reply(raw=b"HTTP/1.1 103 Early\r\nlink: <x>\r\n\r\n" + _HEAD % len(body) + body), "", Sense.GOOD),
        "100-then-nothing": _fixed(Reply(raw=b"HTTP/1.1 100 Continue\r\n\r\n"), "connection"),
        "101": _fixed(Reply(raw=b"HTTP/1.1 101 Switching Protocols\r\nupgrade: odd\r\nconnection: upgrade\r\n\r\n"), "connection"),
        "body-cut": Odd(lambda body: Reply(raw=_HEAD % len(body) + body[:-9]), "connection"),
        "length-too-small": Odd(lambda body: Reply(raw=_HEAD % (len(body) - 9) + body), "answered 200 ("),
        "length-no-number": Odd(lambda body: Reply(raw=_HEAD.replace(b"%d", b"many") + body), "connection"),
        "chunk-garbage": _fixed(Reply(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n"), "connection"),
        "reset-before": _fixed(Reply(drop=True), "connection"),
        "reset-in-head": _fixed(Reply(raw=b"HTTP/1.1 200 OK\r\nconte"), "connection"),
        "reset-after-head": Odd(lambda body: Reply(raw=_HEAD % len(body)), "connection"),
        "tls": _fixed(Reply(raw=b"\x15\x03\x03\x00\x02\x02\x28" * 9), "connection"),
        "http-0.9": _fixed(Reply(raw=b"hello\r\n\r\n"), "connection"),
        "head-too-long": _fixed(Reply(raw=b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n"), "connection"),
        "silent": Odd(lambda _: Reply(raw=b"", hangs=True), "did not answer in time", limits=_LATE),
        "stalled": Odd(lambda body: Reply(raw=_HEAD % len(body) + body[:9], hangs=True), "did not answer in time", limits=_LATE),
        "drip": Odd(lambda body: Reply(200, body + b" " * 900, drip=0.02), "did not answer in time", limits=_LATE),
    }  # fmt: skip


_ANSWERS = _answers()
_SCOPES = ("account", "account at endpoint", "endpoint", "all")
_LENGTHS = ("for ever", "for a while")
_KINDS = ("full", "audit", "retry", "named", "changed")
_WHOLE = tuple(itertools.product(_ANSWERS, _SCOPES, _LENGTHS))


def _drawn() -> list[tuple[str, str, str, str, Endpoint]]:
    """Cases with the kind of run and the table that lost its rows."""
    chance = random.Random(os.environ.get("ANSWERS_SEED", "1"))
    cases = list(_WHOLE) if os.environ.get("ANSWERS") == "all" else chance.sample(_WHOLE, _DRAWN)
    return [
        (
            *case,
            chance.choice(_KINDS),
            chance.choice((Endpoint.HOURLY, Endpoint.CLOSED, Endpoint.DAILY)),
        )
        for case in cases
    ]


def _world() -> World:
    return World.generate(
        _ACCOUNTS, seed=5, today=TODAY, trades_per_account=4, days=14, contradictory=False
    )


async def _know_the_accounts(warehouse: Database, sandbox: SandboxServer) -> None:
    async with engine(warehouse, sandbox, config=quick(), now=lambda: NOW) as service:
        await run(service, RunKind.FULL)


filled, warehouse, sandbox = world_fixtures("answers", _world, _know_the_accounts)


@pytest.fixture
async def api(sandbox: SandboxServer) -> AsyncIterator[AlteringApi]:
    """The way to upstream, on which answers are altered."""
    async with altering(sandbox) as server:
        yield server


def _is_of(arrival: Arrival, names: frozenset[str]) -> bool:
    asked = ",".join(arrival.query.get(name, "") for name in ("accountIds", "logins"))
    return not names.isdisjoint(asked.split(","))


class Oddness:
    """Answers oddly to what is in scope, so many times or for ever."""

    def __init__(
        self, odd: Odd, scope: str, names: frozenset[str], endpoint: Endpoint, times: float
    ) -> None:
        self.odd, self.scope, self.names, self.endpoint, self.left = (
            odd,
            scope,
            names,
            endpoint,
            times,
        )
        self.shown = 0

    def __call__(self, arrival: Arrival, body: bytes) -> bytes | Reply:
        is_in = ("account" not in self.scope or _is_of(arrival, self.names)) and (
            "endpoint" not in self.scope or arrival.path.endswith(self.endpoint.path)
        )
        if not is_in or self.left <= 0:
            return body
        self.left -= 1
        self.shown += 1
        return self.odd.reply(body)


async def _stored(database: Database) -> dict[str, int]:
    """How many rows are stored, and what their counts sum up to: both may only rise."""
    async with database.connect() as connection:
        rows: dict[str, int] = {}
        for table in ("raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly"):
            row = await connection.fetchrow(
                f"SELECT count(*) AS rows, coalesce(sum(num_trades), 0) AS trades FROM {table}"
            )
            assert row is not None
            rows |= {f"{table} rows": row["rows"], f"{table} trades": int(row["trades"])}
        rows["raw_trades_closed"] = await connection.fetchval(
            "SELECT count(*) FROM raw_trades_closed"
        )
        return rows


async def _play(
    warehouse: Database, api: AlteringApi, kind: str, losers: list[str], limits: Mapping[str, float]
) -> dict[str, Any]:
    """Run once, at a process of its own; the run's state, with what is said of the accounts."""
    request: dict[str, Any] = (
        {"account_ids": tuple(losers)}
        if kind == "named"
        else {"changed_only": True}
        if kind == "changed"
        else {}
    )
    run_kind = {"audit": RunKind.AUDIT, "retry": RunKind.RETRY}.get(kind, RunKind.FULL)
    async with engine(
        warehouse, api.as_sandbox, config=quick(), now=lambda: NOW, limits=limits
    ) as service:
        async with asyncio.timeout(_UNBEARABLE):
            state = await run(service, run_kind, **request)
        accounts = [plain(await service.readings.account(account_id)) for account_id in losers]
    return {
        **state,
        "said": {
            each["account_id"]: each["attempts"][0]["detail"] if each["attempts"] else None
            for each in accounts
        },
    }


_ALWAYS = [
    ("204", "account", "for ever", "audit", Endpoint.DAILY),
    ("200-nothing", "account", "for ever", "full", Endpoint.DAILY),
]


@pytest.mark.parametrize(("name", "scope", "length", "kind", "endpoint"), [*_ALWAYS, *_drawn()])
async def test_an_odd_answer_costs_only_those_whom_it_concerns(
    name: str,
    scope: str,
    length: str,
    kind: str,
    endpoint: Endpoint,
    warehouse: Database,
    api: AlteringApi,
) -> None:
    odd = _ANSWERS[name]
    is_of_account, is_lasting = scope.startswith("account"), length == "for ever"
    patient = {
        "outage_wait": 300.0,
        "breaker_seconds": 300.0,
        "longest_retry_wait": 0.05,
        "check_wait": 0.2,
    }
    limits = {
        **patient,
        **({} if is_of_account else {"outage_wait": 2.5, "breaker_seconds": 0.2}),
        **odd.limits,
    }
    losers = await lose(warehouse, endpoint, _LOSERS)
    async with warehouse.connect() as connection:
        await connection.execute(
            "UPDATE raw_metrics_alltime SET ingestion_timestamp = clock_timestamp() AT TIME ZONE"
            " 'UTC' WHERE account_id = ANY($1)",
            losers,
        )
    bad = losers[len(name) % len(losers)]
    before = await _stored(warehouse)
    times = float("inf") if is_lasting else 2
    oddness = Oddness(odd, scope, await names_of(warehouse, [bad]), endpoint, times)
    api.arrivals.clear()
    api.alter = oddness
    state = await _play(warehouse, api, kind, losers, limits)
    after, charged = await _stored(warehouse), await blamed(warehouse)
    left = set((await difference(warehouse, api.sandbox)).account_ids)
    told = (
        f"{state['status']}: {state['error']} {state['accounts']} {charged} {state['said']}"
        f" {oddness.shown} of {len(api.arrivals)}"
    )
    assert oddness.shown, told
    assert all(after[each] >= before[each] for each in before), (before, after, told)
    if odd.sense is Sense.GOOD or (
        not is_lasting and odd.sense is Sense.BAD and (odd.may_pass or is_of_account)
    ):
        assert (state["status"], left, charged) == ("succeeded", set(), {}), told
    elif not is_lasting and odd.sense is Sense.BAD:
        assert state["status"] == "succeeded" or odd.said in state["error"], told
        assert charged == {}, told
    elif is_of_account:
        assert left <= {bad}, told
        if odd.sense is Sense.BAD:
            assert (left, charged) == ({bad}, {bad: 1}), told
            assert odd.said in state["said"][bad], told
            assert state["accounts"]["healed"] == len(losers) - 1, told
        assert charged.keys() <= {bad}, told
        assert len(api.arrivals) < 90, told
    else:
        assert charged == {}, told
        if odd.sense is Sense.BAD:
            assert (state["status"], after) == ("failed", before), told
            assert odd.said in state["error"], told
        assert len(api.arrivals) < 300, told
    # Well again.
    api.alter = lambda _, body: body
    await let_a_day_pass(warehouse)
    state = await _play(
        warehouse, api, "full" if odd.sense in (Sense.BAD, Sense.GOOD) else "audit", losers, {}
    )
    assert (await difference(warehouse, api.sandbox)).account_ids == set(), (told, state)
    assert await blamed(warehouse) == {}, (told, state)
