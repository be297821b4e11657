"""Accounts are shown whatever an earlier system left in the column `issues`."""

import json

import pytest

from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.commands import served, settings_for
from tests.support.engine import fill

_RIGHT = {
    "type": "unsettled",
    "severity": 5,
    "description": "d",
    "affected": [],
    "resolution_strategy": "none",
    "total_missing": 1,
}
_ODD = [
    "hello",
    3,
    {"a": 1},
    ["old text"],
    [{"type": 5}],
    [None, 3, [], {}],
    [_RIGHT, {"type": "x"}, "old"],
    [[_RIGHT]],
]


@pytest.mark.parametrize("odd", _ODD, ids=json.dumps)
async def test_what_is_no_issue_is_left_out(
    database: Database, sandbox: SandboxServer, odd: object
) -> None:
    await fill(database, sandbox)
    account_id = sandbox.world.account_ids[0]
    async with (
        served(settings_for(database.dsn, sandbox.base_url)) as client,
        database.connect() as connection,
    ):
        await connection.execute(
            "INSERT INTO trade_recon (account_id, issues) VALUES ($1, $2::jsonb)",
            account_id,
            json.dumps(odd),
        )
        answer = await client.get(f"/accounts/{account_id}")
        assert answer.status_code == 200, answer.text
        assert answer.json()["issues"] == (
            [_RIGHT] if isinstance(odd, list) and _RIGHT in odd else []
        )
