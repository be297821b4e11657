"""When healing waits for somebody's word."""

from dataclasses import replace

import pytest

from app.domain.contract import Endpoint
from app.domain.holds import HoldLimits, vanished
from app.domain.models import AccountView, Drift, Progress, Totals

_STORED = AccountView("a", Totals(True, 5, True, 5, True, 5, True, 5))  # noqa: FBT003 - the names stand in the class
_ABSENT = {"type": "absent_upstream", "affected": ["raw_metrics_alltime", "raw_metrics_daily"]}


def _heard(*endpoints: Endpoint, sent: bool = False) -> Progress:
    progress = Progress(sent={Endpoint.DAILY} if sent else set())
    for endpoint in endpoints:
        progress.dates_read(endpoint).everything = True
    return progress


@pytest.mark.parametrize(
    ("rewritten", "stored", "too_much"),
    [(499, 499, False), (500, 2500, False), (501, 2500, True), (500, 2499, True), (10_000, 1_000_000, False), (500, 0, True)],
)
def test_too_much_is_more_than_the_part_of_the_account_and_at_least_the_rows(rewritten: int, stored: int, *, too_much: bool) -> None:
    assert HoldLimits().is_too_much(rewritten, stored) is too_much


@pytest.mark.parametrize(
    ("lowered", "compared", "suspect"),
    [(0, 0, False), (1, 1, False), (4, 4, False), (5, 5, True), (5, 100, False), (6, 100, True), (6, 120, False), (1, 20, False)],
)
def test_upstream_is_suspect_when_it_lowers_more_than_the_share_of_accounts_and_at_least_the_number(
    lowered: int, compared: int, *, suspect: bool
) -> None:
    assert HoldLimits().suspects(lowered, compared) is suspect


def test_an_account_has_vanished_when_alltime_and_daily_were_read_and_no_table_brought_a_row() -> None:
    assert vanished(_STORED, Progress()) is None
    assert vanished(_STORED, _heard(Endpoint.ALLTIME)) is None
    assert vanished(_STORED, _heard(Endpoint.ALLTIME, Endpoint.DAILY, sent=True)) is None
    hold = vanished(_STORED, _heard(Endpoint.ALLTIME, Endpoint.DAILY))
    assert hold is not None
    assert hold.absent


def test_an_audit_that_missed_an_account_twice_is_believed_unless_the_account_never_had_a_row() -> None:
    missed = replace(_STORED, drift=Drift(absent=True, evidence={}))
    assert vanished(missed, Progress()) is not None
    empty = replace(missed, totals=Totals(False, 0, False, 0, False, 0, False, 0))  # noqa: FBT003 - as above
    assert vanished(empty, Progress()) is None


def test_what_was_accepted_as_absent_is_not_held_again_but_what_was_only_held_is() -> None:
    missed = replace(_STORED, drift=Drift(absent=True, evidence={}), open_issues=(_ABSENT,))
    assert vanished(replace(missed, status="explained"), Progress()) is None
    assert vanished(replace(missed, status="needs_confirmation"), Progress()) is not None
    # Forgotten days were accepted, not the loss of the account.
    days = {**_ABSENT, "affected": ["raw_metrics_daily"]}
    assert vanished(replace(missed, status="explained", open_issues=(days,)), Progress()) is not None
    # One that was held is believed to be gone when alltime alone says so again.
    held = replace(_STORED, status="needs_confirmation", open_issues=(_ABSENT,))
    assert vanished(held, _heard(Endpoint.ALLTIME)) is not None
