"""GET /changes: the feed over HTTP, its cursor and its problems."""

import datetime as dt
import random
import uuid
from collections.abc import AsyncIterator, Collection, Mapping

import httpx2
import pytest

from app.sandbox.server.serving import SandboxServer
from app.store.change_feed import ChangeFeed
from app.store.database.pool import Database as Pool
from tests.conftest import Database
from tests.support.commands import served, settings_for

_DAY = dt.date(2025, 6, 1)
_NEXT_DAY = dt.date(2025, 6, 2)


async def _note(
    database: Database,
    table: str,
    changed: Mapping[str, Collection[dt.date | None]],
    run_id: uuid.UUID | None = None,
) -> None:
    async with (
        Pool.open(database.dsn, database.schema) as pool,
        pool.transaction("repeatable_read") as connection,
    ):
        await ChangeFeed(pool).note(connection, run_id, table, changed)


@pytest.fixture
async def client(database: Database, sandbox: SandboxServer) -> AsyncIterator[httpx2.AsyncClient]:
    async with served(settings_for(database.dsn, sandbox.base_url)) as client:
        yield client


async def test_the_feed_tells_account_table_and_date_of_each_slice_and_the_run(
    client: httpx2.AsyncClient, database: Database
) -> None:
    run_id = uuid.uuid4()
    await _note(database, "raw_metrics_hourly", {"b": [_NEXT_DAY, _DAY], "a": [_DAY]}, run_id)
    await _note(database, "raw_metrics_alltime", {"a": [None]})
    body = (await client.get("/changes")).json()
    told = [
        (entry["account_id"], entry["table"], entry["date"], entry["run_id"])
        for entry in body["changes"]
    ]
    assert told == [
        ("a", "raw_metrics_hourly", "2025-06-01", str(run_id)),
        ("b", "raw_metrics_hourly", "2025-06-01", str(run_id)),
        ("b", "raw_metrics_hourly", "2025-06-02", str(run_id)),
        ("a", "raw_metrics_alltime", None, None),
    ]
    assert all(dt.datetime.fromisoformat(entry["changed_at"]).tzinfo for entry in body["changes"])
    assert body["more"] is False


async def test_a_reader_that_follows_next_sees_each_change_once_and_then_only_what_is_new(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await _note(
        database,
        "raw_metrics_daily",
        {f"account-{number}": [_DAY, _NEXT_DAY] for number in range(5)},
    )
    page = (await client.get("/changes", params={"limit": 4})).json()
    seen = page["changes"]
    while page["more"]:
        page = (await client.get("/changes", params={"limit": 4, "since": page["next"]})).json()
        assert 1 <= len(page["changes"]) <= 4
        seen += page["changes"]
    assert [(entry["account_id"], entry["date"]) for entry in seen] == [
        (f"account-{number}", day) for number in range(5) for day in ("2025-06-01", "2025-06-02")
    ]
    nothing = (await client.get("/changes", params={"since": page["next"]})).json()
    assert nothing == {"changes": [], "next": page["next"], "more": False}
    await _note(database, "raw_metrics_daily", {"account-0": [_DAY]})
    again = (await client.get("/changes", params={"since": page["next"]})).json()
    assert [entry["account_id"] for entry in again["changes"]] == ["account-0"]


async def test_an_empty_feed_gives_a_cursor_to_come_back_with(
    client: httpx2.AsyncClient, database: Database
) -> None:
    empty = (await client.get("/changes")).json()
    assert (empty["changes"], empty["more"]) == ([], False)
    await _note(database, "raw_metrics_daily", {"a": [_DAY]})
    found = (await client.get("/changes", params={"since": empty["next"]})).json()
    assert [entry["account_id"] for entry in found["changes"]] == ["a"]


@pytest.mark.parametrize(
    "since",
    [
        "",
        " ",
        "yesterday",
        "-1",
        "+1",
        "1.0",
        "007",
        "٣",
        "1_0",
        "9223372036854775808",
        "1" * 500,
        "a\x00b",
    ],
)
async def test_what_is_no_cursor_is_a_problem_that_says_what_to_do(
    client: httpx2.AsyncClient, since: str
) -> None:
    answer = await client.get("/changes", params={"since": since})
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert "leave it out to begin at the beginning." in answer.json()["detail"]
    assert len(answer.content) < 1000


async def test_a_cursor_beyond_the_end_is_gone_and_the_answer_says_what_to_do(
    client: httpx2.AsyncClient, database: Database
) -> None:
    assert (await client.get("/changes", params={"since": "0"})).status_code == 200
    await _note(database, "raw_metrics_daily", {"a": [_DAY], "b": [_DAY]})
    last = int((await client.get("/changes")).json()["next"])
    for beyond in (last + 1, last + random.Random(16).randrange(2, 10**9), 2**63 - 1):
        answer = await client.get("/changes", params={"since": str(beyond)})
        assert (answer.status_code, answer.headers["Content-Type"]) == (
            410,
            "application/problem+json",
        )
        assert f"`since` ({beyond}) lies behind the end of the feed" in answer.json()["detail"]
        assert answer.json()["detail"].endswith("leave it out, and begin at the beginning.")


async def test_a_cursor_at_the_end_stays_one_when_old_changes_are_deleted(
    client: httpx2.AsyncClient, database: Database
) -> None:
    await _note(database, "raw_metrics_daily", {"a": [_DAY]})
    last = (await client.get("/changes")).json()["next"]
    async with database.connect() as connection:
        await connection.execute("DELETE FROM recon_changes")
    assert (await client.get("/changes", params={"since": last})).json() == {
        "changes": [],
        "next": last,
        "more": False,
    }


@pytest.mark.parametrize("limit", ["0", "10001", "-5", "many", "1e3", ""])
async def test_a_limit_that_cannot_be_is_a_problem_that_names_it(
    client: httpx2.AsyncClient, limit: str
) -> None:
    answer = await client.get("/changes", params={"limit": limit})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "query.limit"
