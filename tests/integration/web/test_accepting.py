"""Issues are accepted over HTTP, whatever characters the account's id has, and every face shows
it.
"""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx2
import pytest

from app.domain.issues.codes import IssueCode
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.support.clock import TODAY
from tests.support.commands import ended, served, settings_for
from tests.support.engine import fill

_ODD = ["firm/7", "a b?c=%2F#é", "x/issues/y/accept"]
_CODE = "absent_upstream"
_UNTIL = TODAY + dt.timedelta(days=60)


def _world() -> World:
    world = World.generate(6, seed=3, today=TODAY, trades_per_account=8, contradictory=False)
    ids = world.account_ids
    return world.renamed({**dict(zip(ids, ids, strict=True)), **dict(zip(ids, _ODD, strict=False))})


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx2.AsyncClient]:
    async with SandboxServer(_world()) as sandbox:
        await fill(database, sandbox)
        async with database.connect() as connection:
            for account in _ODD:
                await connection.execute(
                    "INSERT INTO raw_metrics_daily (account_id, date, login, platform, broker,"
                    " num_trades) SELECT account_id, (SELECT min(date) FROM raw_metrics_daily WHERE"
                    " account_id = $1) - 3, login, platform, broker, 2 FROM raw_metrics_alltime"
                    " WHERE account_id = $1",
                    account,
                )
        async with served(settings_for(database.dsn, sandbox.base_url)) as client:
            yield client


def _at(account: str, code: str = _CODE) -> str:
    return f"/accounts/{quote(account, safe='')}/issues/{code}/accept"


async def _audit(client: httpx2.AsyncClient) -> dict[str, object]:
    return await ended(
        client, (await client.post("/runs", json={"kind": "audit"})).headers["Location"]
    )


async def test_an_issue_is_accepted_shown_and_taken_back(client: httpx2.AsyncClient) -> None:
    first = await _audit(client)
    assert (first["status"], first["needs_somebody"], first["left"]["new"]) == (  # type: ignore[index]
        "completed_with_issues",
        True,
        3,
    )
    for account in _ODD:
        body = {"reason": "the vendor lost it", "until": _UNTIL.isoformat()}
        answers = await asyncio.gather(*(client.post(_at(account), json=body) for _ in range(3)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.text for answer in answers}) == 1, (
            "asked for three times at once it is accepted once"
        )
        shown = (await client.get(f"/accounts/{quote(account, safe='')}")).json()
        [accepted] = shown["accepted"]
        assert (accepted["issue"], accepted["reason"], accepted["until"]) == (
            _CODE,
            "the vendor lost it",
            f"{_UNTIL}",
        )
        assert accepted["evidence"]["type"] == _CODE
        assert [issue["type"] for issue in shown["issues"]] == [_CODE]
    again = await _audit(client)
    assert (again["status"], again["needs_somebody"], again["left"]["accepted"]) == (  # type: ignore[index]
        "succeeded",
        False,
        3,
    )
    assert (
        again["left_told"]
        == "Known, and nothing to be done by the warehouse: 3 accounts with accepted issues."
    )
    report = (await client.get("/report")).json()
    assert report["reconciled_through_told"].endswith(f"but for 3 accounts accepted until {_UNTIL}")
    dates = {"first_until": f"{_UNTIL}", "last_until": f"{_UNTIL}"}
    assert report["accepted"] == {"accounts": 3, "issues": 3, **dates, "by_issue": {_CODE: 3}}
    assert (report["last_run"]["needs_somebody"], report["held_back_by"]) == (False, [])
    for was_accepted in (True, False):
        answer = await client.delete(_at(_ODD[0]), params={"reason": "found again"})
        assert (answer.status_code, answer.json()["was_accepted"]) == (200, was_accepted)
    report = (await client.get("/report")).json()
    assert ([row["account_id"] for row in report["held_back_by"]], report["holding_accounts"]) == (
        [_ODD[0]],
        1,
    )
    assert report["reconciled_through_told"].endswith(f"but for 2 accounts accepted until {_UNTIL}")


async def test_what_cannot_be_accepted_is_a_problem_that_says_why(
    client: httpx2.AsyncClient,
) -> None:
    await _audit(client)
    reason = {"reason": "known"}
    cases = [
        (_at("nobody"), reason, 404, "There is no account 'nobody'"),
        (_at(_ODD[0], "upstream_drift"), reason, 409, "open are absent_upstream"),
        (_at(_ODD[0], "suspiciously_few_hours"), reason, 409, "for information"),
        (_at(_ODD[0], "absent"), reason, 422, "path.code"),
        (_at(_ODD[0]), {}, 422, "reason"),
        (_at(_ODD[0]), {"reason": "   "}, 422, "Give a reason"),
        (_at(_ODD[0]), {"reason": "x" * 501}, 422, "reason"),
        (_at(_ODD[0]), {**reason, "until": f"{TODAY}"}, 422, "is not such a date"),
        (_at(_ODD[0]), {**reason, "until": "2099-01-01"}, 422, "is not such a date"),
        (_at(_ODD[0]), {**reason, "until": "soon"}, 422, "until"),
        (_at(_ODD[0]), {**reason, "unitl": f"{_UNTIL}"}, 422, "unitl"),
    ]
    for path, body, status, said in cases:
        answer = await client.post(path, json=body)
        assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert (await client.delete(_at("nobody"))).status_code == 404
    assert (await client.get("/report")).json()["accepted"] is None


async def test_an_issue_that_there_is_not_is_answered_with_all_that_there_are(
    client: httpx2.AsyncClient,
) -> None:
    answer = await client.post(_at("a", "no_such_issue"), json={"reason": "why not"})
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert all(f"'{code.value}'" in detail for code in IssueCode)
    assert detail.endswith(". Nothing was changed.")


async def test_without_a_date_an_acceptance_ends_after_90_days(client: httpx2.AsyncClient) -> None:
    await _audit(client)
    answer = await client.post(_at(_ODD[1]), json={"reason": "known"})
    assert answer.json()["until"] == f"{TODAY + dt.timedelta(days=90)}"
