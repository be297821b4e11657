"""The upstream of the benchmarks that computes its rows: pages, filters and sums agree."""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from app.domain.contract.tables import PAGE_ROWS, Endpoint
from bench.computed import Answers
from bench.endless import RefusedError
from bench.world import DATES, PERIOD, SHIFT

_ACCOUNTS = PERIOD + 500
"""Accounts beyond a period share its places."""
_DAY = f"{DATES[40]:%Y%m%d}"
_FINER = (Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers(_ACCOUNTS, filled=40)


def _rows(answers: Answers, endpoint: Endpoint, **filters: str) -> list[dict[str, object]]:
    named = {name.replace("_", "-"): text for name, text in filters.items()}
    found = answers.answer(f"/{endpoint.path}", {**named, "skip": "0", "limit": "1000"})
    return [json.loads(found.row(place)) for place in range(found.total)]


def _on(endpoint: Endpoint, day: str) -> Mapping[str, str]:
    return {"trade_date": day} if endpoint is Endpoint.CLOSED else {"dates": day}


def _trades(endpoint: Endpoint, rows: Sequence[Mapping[str, object]]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for row in rows:
        trades = 1 if endpoint is Endpoint.CLOSED else row["numTrades"]
        assert isinstance(trades, int)
        counted[str(row["login"])] += trades
    return counted


def test_all_tables_count_the_same_trades_of_each_account_on_a_day(answers: Answers) -> None:
    counted = [
        _trades(endpoint, _rows(answers, endpoint, **_on(endpoint, _DAY))) for endpoint in _FINER
    ]
    assert counted[0] == counted[1] == counted[2]
    assert 0.2 * _ACCOUNTS < len(counted[0]) < 0.25 * _ACCOUNTS


@pytest.mark.parametrize("endpoint", _FINER)
def test_a_scan_has_the_rows_that_requests_by_name_have(
    answers: Answers, endpoint: Endpoint
) -> None:
    numbers = random.Random(5).sample(range(1, _ACCOUNTS + 1), 300)
    name, texts = (
        ("logins", [str(number) for number in numbers])
        if endpoint is Endpoint.CLOSED
        else ("accountIds", [f"acc-{number:07}" for number in numbers])
    )
    named = _rows(answers, endpoint, **_on(endpoint, _DAY), **{name: ",".join(texts)})
    logins = set(map(str, numbers))
    scanned = [
        row for row in _rows(answers, endpoint, **_on(endpoint, _DAY)) if row["login"] in logins
    ]
    assert named == scanned
    assert named


def test_a_scan_of_several_days_has_each_key_once_and_in_order(answers: Answers) -> None:
    first, last = DATES[10], DATES[12]
    found = answers.answer(
        "/v2/trades/closed",
        {"trade-date-from": f"{first:%Y%m%d}", "trade-date-to": f"{last:%Y%m%d}"},
    )
    keys = [
        (row["tradeDate"], int(row["login"]), int(row["position"]))
        for row in map(json.loads, map(found.row, range(found.total)))
    ]
    assert keys == sorted(set(keys))
    assert {date[:10] for date, _, _ in keys} == {f"{day}" for day in DATES[10:13]}
    assert found.total > PAGE_ROWS


def test_alltime_counts_the_trades_of_all_days(answers: Answers) -> None:
    logins = ["1", "77", str(SHIFT), str(_ACCOUNTS)]
    told = _rows(answers, Endpoint.ALLTIME, logins=",".join(logins))
    closed = _trades(Endpoint.CLOSED, _rows(answers, Endpoint.CLOSED, logins=",".join(logins)))
    assert {str(row["login"]): row["numTrades"] for row in told} == closed
    assert len(_rows(answers, Endpoint.ALLTIME)) == _ACCOUNTS


def test_accounts_that_do_not_exist_have_no_rows(answers: Answers) -> None:
    assert _rows(answers, Endpoint.DAILY, accountIds=f"acc-{_ACCOUNTS + 1:07},giant,acc-0") == []


def test_a_filter_that_is_not_played_is_refused(answers: Answers) -> None:
    with pytest.raises(RefusedError, match="hours"):
        _rows(answers, Endpoint.HOURLY, hours="3")
