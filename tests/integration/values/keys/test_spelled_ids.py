"""Account ids that upstream spells otherwise for a night or for good: no second account comes in,
and no trade changes its account.
"""

import json
import random
from collections.abc import Callable

import pytest

from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.integration.values.conftest import NOW
from tests.support.altered import altering
from tests.support.engine import difference, engine, run
from tests.support.scripted import Arrival

_CONFIG = EngineConfig(workers=1, poll_seconds=0.05, postpone_seconds=0, postpone_named_seconds=0)
_HIDDEN = (" ", "\t", "\n", "\u00a0", "\u3000", "\u200b", "\ufeff", "\u2060", "\u00ad")
_ODD = ("acc-00001", "acc-00002", "acc-00005")
_ENDPOINTS = ("metrics/alltime", "metrics/daily", "metrics/hourly", "trades/closed")
_RAW = ("raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly", "raw_trades_closed")


def _spelled(seed: int, where: tuple[str, ...]) -> Callable[[Arrival, bytes], bytes]:
    """An alteration of some endpoints: blanks, invisible characters and case are drawn for some
    ids, blanks for parts of all keys.
    """
    drawn = random.Random(seed)

    def spell(text: str, *, is_id: bool) -> str:
        text = drawn.choice([text, text.upper(), text.title()]) if is_id else text
        if is_id and drawn.random() < 0.5:
            place = drawn.randint(0, len(text))
            text = f"{text[:place]}\u200b{text[place:]}"
        return drawn.choice(("", *_HIDDEN)) + text + drawn.choice(("", *_HIDDEN))

    # The same for the whole night, as one serializer does it.
    ids = {each: spell(each, is_id=True) for each in _ODD}

    def alter(arrival: Arrival, body: bytes) -> bytes:
        if not arrival.path.endswith(where):
            return body
        answer = json.loads(body)
        for row in answer["Data"]["data"]:
            row.update({"accountId": ids[row["accountId"]]} if row.get("accountId") in ids else {})
            row.update(
                {
                    name: spell(row[name], is_id=False)
                    for name in ("login", "position", "ticket")
                    if isinstance(row.get(name), str)
                }
            )
        return json.dumps(answer).encode()

    return alter


@pytest.mark.parametrize(("seed", "lasts"), [(1, False), (2, True), (3, False), (4, True)])
async def test_another_spelling_of_an_id_makes_no_account(
    warehouse: Database, sandbox: SandboxServer, seed: int, *, lasts: bool
) -> None:
    where = _ENDPOINTS if seed < 3 else tuple(random.Random(seed).sample(_ENDPOINTS, 2))
    async with (
        warehouse.connect() as c,
        altering(sandbox) as api,
        engine(warehouse, api.as_sandbox, now=lambda: NOW, config=_CONFIG) as service,
    ):
        keys = "SELECT DISTINCT account_id, login, platform, broker FROM {} ORDER BY 1, 2, 3, 4"
        before = [await c.fetch(keys.format(table)) for table in _RAW]
        await c.execute(
            "DELETE FROM raw_metrics_daily WHERE date BETWEEN '2026-02-10' AND '2026-02-25' AND"
            " account_id = ANY($1)",
            _ODD,
        )
        await c.execute(
            "DELETE FROM raw_metrics_hourly WHERE date < '2026-03-01' AND account_id = ANY($1)",
            _ODD[:2],
        )
        await c.execute(
            "DELETE FROM raw_trades_closed WHERE trade_date > '2026-03-01' AND account_id ="
            " ANY($1)",
            _ODD[1:],
        )
        await c.execute(
            "UPDATE raw_metrics_alltime SET num_trades = num_trades + 1 WHERE account_id = ANY($1)",
            _ODD[2:],
        )
        api.alter = _spelled(seed, where)
        await run(service, RunKind.AUDIT)
        assert [await c.fetch(keys.format(table)) for table in _RAW] == before, (seed, where)
        assert (await difference(warehouse, sandbox)).account_ids == set(), (seed, where)
        if not lasts:
            api.alter = lambda _, body: body
        state = await run(service, RunKind.AUDIT)
        assert state["status"] == "succeeded"
        assert (await difference(warehouse, sandbox)).account_ids == set()
        assert not await c.fetchval(
            "SELECT count(*) FROM trade_recon WHERE account_id NOT IN (SELECT account_id FROM"
            " raw_metrics_alltime)"
        )
