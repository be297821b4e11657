"""What is asked for in a second shape before upstream is blamed, and what that may cost."""

import datetime as dt
from collections.abc import Collection
from dataclasses import replace

import pytest

from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import Endpoint, Request
from app.domain.ids import Login
from app.domain.issues.codes import IssueCode
from app.domain.planning.second_shape import disputed
from app.domain.planning.trial_requests import Trials
from app.domain.verdict.explanation import explain
from app.engine.batch.progress import record_read
from tests.support.views import DAY, view

_LATER = DAY + dt.timedelta(days=90)


def _read() -> Progress:
    """All was read in the first shape, and a second one is wanted."""
    progress = Progress(tried={})
    for endpoint in (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED):
        progress.dates_read(endpoint).everything = True
    return progress


def _codes(of: AccountView, progress: Progress) -> set[IssueCode]:
    return {issue.code for issue in explain(of, progress, moving_from=_LATER)}


def _rounds(
    accounts: list[tuple[AccountView, Progress]],
    trials: Trials,
    max_ids: int = 100,
    suspects: Collection[str] = (),
) -> list[Request]:
    """All requests of a trial of which none brings anything."""
    asked = []
    while planned := trials.plan(accounts, max_ids=max_ids, suspects=suspects):
        progress_of = {of.account_id: progress for of, progress in accounts}
        for each in planned:
            asked.append(each.request)
            for account_id in each.account_ids:
                record_read(progress_of[account_id], each)
    return asked


@pytest.mark.parametrize(
    ("counts", "tables"),
    [
        ((3, 3, 2), [Endpoint.CLOSED, Endpoint.DAILY, Endpoint.HOURLY]),
        ((3, 2, 3), [Endpoint.HOURLY, Endpoint.DAILY, Endpoint.CLOSED]),
        ((3, 2, 1), [Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED]),
    ],
)
def test_the_table_that_stands_against_the_others_is_asked_first_and_upstream_is_blamed_after_all_of_them(
    counts: tuple[int, int, int], tables: list[Endpoint]
) -> None:
    of, progress = view("a", 9, 9, counts, known_days=5), _read()
    assert IssueCode.UPSTREAM_INCONSISTENT not in _codes(of, progress)
    asked = _rounds([(of, progress)], Trials())
    assert [request.endpoint for request in asked] == tables
    assert all(DAY in (*request.dates, request.date_from) for request in asked)
    assert _codes(of, progress) == {IssueCode.UPSTREAM_INCONSISTENT}


def test_a_single_date_of_trades_is_asked_for_by_the_filter_for_a_single_date() -> None:
    request = Request(
        Endpoint.CLOSED, logins=(Login("7"),), date_from=DAY, date_to=DAY, is_single=True
    )
    assert request.params() == {"logins": "7", "trade-date": "20260504"}


def test_what_an_earlier_run_has_tried_is_not_tried_again() -> None:
    of = view("a", 9, 9, (3, 3, 2), known_days=5)
    progress = replace(_read(), explained_as=of.signature)
    assert not disputed(of, progress)
    assert _codes(of, progress) == {IssueCode.UPSTREAM_INCONSISTENT}


def test_many_accounts_that_contradict_themselves_share_requests_but_for_the_first_few() -> None:
    accounts = [
        (view(f"a{number:04}", 9, 9, (3, 3, 2), known_days=5), _read()) for number in range(2000)
    ]
    asked = _rounds(accounts, Trials())
    assert len(asked) == 10 + 3 * 20 + 2
    assert all(
        _codes(of, progress) == {IssueCode.UPSTREAM_INCONSISTENT} for of, progress in accounts
    )


def test_what_a_batch_has_no_requests_left_to_try_is_blamed_on_nobody() -> None:
    accounts = [
        (view(f"a{number:04}", 9, 9, (3, 3, 2), known_days=5), _read()) for number in range(2000)
    ]
    assert len(_rounds(accounts, Trials(spent=590))) == 10
    untried = [
        progress
        for of, progress in accounts
        if IssueCode.UPSTREAM_INCONSISTENT not in _codes(of, progress)
    ]
    assert len(untried) == 2000


@pytest.mark.parametrize("number_of_suspects", [1, 3, 12, 40])
def test_accounts_that_failed_before_are_tried_alone_and_after_all_others(
    number_of_suspects: int,
) -> None:
    accounts = [
        (view(f"a{number:02}", 9, 9, (3, 3, 2), known_days=5), _read()) for number in range(40)
    ]
    suspects = {of.account_id for of, _ in accounts[:number_of_suspects]}
    names = suspects | {f"login-{each}" for each in suspects}
    asked = _rounds(accounts, Trials(), suspects=suspects)
    of_suspects = [
        request for request in asked if names.intersection((*request.account_ids, *request.logins))
    ]
    assert {max(len(request.account_ids), len(request.logins)) for request in of_suspects} == {1}
    assert len(of_suspects) == 3 * number_of_suspects
    first_round = [request for request in asked if request.endpoint is Endpoint.CLOSED]
    assert first_round.index(of_suspects[0]) >= min(len(accounts) - number_of_suspects, 10)
    assert all(
        _codes(of, progress) == {IssueCode.UPSTREAM_INCONSISTENT} for of, progress in accounts
    )


def test_of_unknown_dates_a_bounded_number_of_lists_is_asked_for_by_a_few_accounts_only() -> None:
    accounts = [
        (view(f"a{number}", 12, 9, known_days=750, finer=9), _read()) for number in range(300)
    ]
    for of, progress in accounts:
        progress.moving = replace(progress.moving, first=of.last_day or DAY)
    asked = _rounds(accounts, Trials())
    assert len(asked) <= 3 * 41
    assert {request.endpoint for request in asked} == {Endpoint.DAILY}
    assert all(not disputed(of, progress) for of, progress in accounts)


@pytest.mark.parametrize("number_of_suspects", [0, 1, 4])
def test_of_a_few_accounts_of_unknown_dates_one_is_asked_for_alone_and_the_others_share_their_lists(
    number_of_suspects: int,
) -> None:
    accounts = [(view(f"a{number}", 12, 9, known_days=60, finer=9), _read()) for number in range(8)]
    for of, progress in accounts:
        progress.moving = replace(progress.moving, first=of.last_day or DAY)
    suspects = {of.account_id for of, _ in accounts[:number_of_suspects]}
    asked = _rounds(accounts, Trials(), suspects=suspects)
    of_suspects = [request for request in asked if suspects.intersection(request.account_ids)]
    assert {len(request.account_ids) for request in of_suspects} <= {1}
    assert max(len(request.account_ids) for request in asked) == 7 - number_of_suspects
    assert len(asked) <= (2 + number_of_suspects) * 13
    assert all(not disputed(of, progress) for of, progress in accounts)


def test_where_asking_alone_told_more_all_that_still_differs_is_asked_for_alone_in_the_end() -> (
    None
):
    accounts = [
        (view(f"a{number:02}", 9, 9, (3, 3, 2), known_days=5), _read()) for number in range(30)
    ]
    trials = Trials()
    progress_of = {of.account_id: progress for of, progress in accounts}
    for each in trials.plan(accounts, max_ids=100):
        record_read(progress_of[each.account_ids[0]], each)
    # Upstream had the missing trade of the first account after all.
    accounts[0] = view("a00", 9, 9, known_days=5), accounts[0][1]
    asked = _rounds(accounts, trials)
    alone = {request.logins[0] for request in asked if len(request.logins) == 1}
    assert alone == {f"login-a{number:02}" for number in range(10, 30)}
    assert all(
        _codes(of, progress) == {IssueCode.UPSTREAM_INCONSISTENT} for of, progress in accounts[1:]
    )


def test_an_account_of_more_logins_than_a_request_may_name_is_tried_by_itself() -> None:
    accounts = [
        (view(f"a{number:02}", 9, 9, (3, 3, 2), known_days=5), _read()) for number in range(12)
    ]
    accounts[5] = (
        replace(accounts[5][0], logins=tuple(Login(f"l{number}") for number in range(7))),
        accounts[5][1],
    )
    asked = _rounds(accounts, Trials(is_sampled=True), max_ids=5)
    assert max(len(request.logins) for request in asked) == 7
    assert all(
        _codes(of, progress) == {IssueCode.UPSTREAM_INCONSISTENT} for of, progress in accounts
    )
