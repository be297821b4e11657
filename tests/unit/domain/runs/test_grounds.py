import datetime as dt
import itertools

import pytest

from app.domain.runs.grounds import Basis, LastLook, audited

_AT = dt.datetime(2026, 3, 10, 12, 5, tzinfo=dt.UTC)


def _basis(kind: str = "full", **fields: object) -> Basis:
    usual: dict[str, object] = {
        "by_rows": False,
        "named": None,
        "changed_only": False,
        "taken": 0,
        "known": 395,
        "requests": 0,
        "began": _AT,
        "is_prepared": True,
    }
    return Basis(kind, **{**usual, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("basis", "said"),
    [
        (
            _basis(),
            [
                "all 395 accounts as of 2026-03-10 12:05 UTC",
                "Upstream was not asked: nothing disagreed.",
            ],
        ),
        (
            _basis(taken=3),
            ["Upstream was not asked: disagreements were repaired from stored rows, or are known"],
        ),
        (
            _basis(requests=7, taken=3),
            ["compared with each other", "Upstream was asked with 7 requests."],
        ),
        (
            _basis("audit", requests=1),
            [
                (
                    "the trades, net profit and lots of alltime with upstream. Upstream was asked with"
                    " 1 request."
                )
            ],
        ),
        (
            _basis("audit", requests=6, named=1, by_rows=True),
            ["1 named account", "every row and column"],
        ),
        (_basis(first=dt.date(2026, 1, 1)), ["dates from 2026-01-01 on"]),
        (
            _basis(changed_only=True),
            ["the accounts with rows written since the last run over all of them"],
        ),
        (_basis(known=0), ["Nothing was compared, since no account was known."]),
        (_basis(known=None), ["It rests on all accounts as of"]),
        (
            _basis(is_prepared=False, requests=2),
            [
                (
                    "Nothing was compared: the run ended before its accounts were known, after 2"
                    " requests."
                )
            ],
        ),
        (_basis(began=None), ["Nothing was compared"]),
        (
            _basis("audit", by_rows=True, requests=9, compared=391, left_out=4),
            [
                "rests on 391 of all 395 accounts (4 accounts were left out) as of",
                "every row and column",
            ],
        ),
        (
            _basis("audit", requests=9, compared=394, unread=1),
            ["394 of all 395 accounts (1 account failed or was not reached)"],
        ),
        (
            _basis(named=1, by_rows=True, pinned=1),
            ["was compared with upstream, but for 1 row that is pinned by restore."],
        ),
        (_basis("audit", requests=9, compared=395), ["rests on all 395 accounts as of"]),
        (_basis(compared=3, left_out=4), ["rests on all 395 accounts as of"]),
    ],
)
def test_a_run_says_what_it_rests_on(basis: Basis, said: list[str]) -> None:
    assert [each for each in said if each not in basis.sentence] == []


@pytest.mark.parametrize(
    ("basis", "said"),
    [
        (
            _basis(named=1, by_rows=True, requests=1, compared=0, unread=1),
            "1 account failed or was not reached. Upstream was asked with 1 request.",
        ),
        (
            _basis("audit", by_rows=True, compared=0, unread=300, left_out=95),
            "300 accounts failed or were not reached and 95 accounts were left out",
        ),
        (_basis("audit", compared=0, unread=395), "395 accounts failed or were not reached"),
    ],
)
def test_a_run_that_read_no_account_claims_no_comparison_with_upstream(
    basis: Basis, said: str
) -> None:
    assert said in basis.sentence
    assert basis.sentence.startswith("Nothing was compared with upstream")
    assert "every row" not in basis.sentence


def test_no_run_says_that_nothing_disagreed_that_compared_nothing() -> None:
    for known, prepared, began in itertools.product((0, 5), (False, True), (None, _AT)):
        sentence = _basis(known=known, is_prepared=prepared, began=began).sentence
        assert sentence.startswith(
            "It rests on" if known and prepared and began else "Nothing was compared"
        )


def test_an_account_says_when_and_how_it_was_compared() -> None:
    later = _AT + dt.timedelta(hours=2)
    assert (
        LastLook(None, agrees=True).sentence
        == "It rests on nothing yet: no run has compared the account."
    )
    assert LastLook(_AT, agrees=True).sentence.endswith(
        "12:05 UTC: they agreed, and no run had to take it."
    )
    assert LastLook(_AT, agrees=False).sentence.endswith(
        "they disagreed, and no run has taken it since."
    )
    by_run = LastLook(
        _AT, agrees=True, run_id="R", kind="audit", outcome="needs_confirmation", ended=_AT, rows=7
    )
    assert (
        by_run.sentence
        == "Last compared row by row (7 rows) by the audit run R, at 2026-03-10 12:05 UTC, and came"
        " out as needs confirmation."
    )
    counts = LastLook(_AT, agrees=True, run_id="R", kind="full", ended=_AT)
    assert "by counts" in counts.sentence
    assert "without being tried alone" in counts.sentence
    assert LastLook(later, agrees=True, run_id="R", kind="full", ended=_AT).sentence.endswith(
        "14:05 UTC: they agreed, and no run had to take it."
    )


@pytest.mark.parametrize(
    "odd",
    [dt.datetime.max, dt.datetime.min, dt.datetime.max.replace(tzinfo=dt.UTC)],  # noqa: DTZ901 - as the driver gives infinity
)
def test_times_that_no_calendar_of_ours_goes_beyond_are_told(odd: dt.datetime) -> None:
    assert " UTC" in LastLook(odd, agrees=True, run_id="R", kind="full", ended=_AT).sentence
    assert " UTC" in LastLook(_AT, agrees=True, run_id="R", kind="full", ended=odd).sentence
    assert " UTC" in _basis(began=odd).sentence


def test_without_an_audit_agreement_rests_on_the_warehouse_alone() -> None:
    assert "No audit has compared all accounts with upstream yet" in audited(None, None)
    assert audited(_AT, "R", 4).startswith(
        "All accounts but 4, which it left out or which failed, were last compared with upstream by"
    )
    assert (
        audited(_AT, "R")
        == "All accounts were last compared with upstream by the audit R, which ended at 2026-03-10"
        " 12:05 UTC."
    )
