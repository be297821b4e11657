"""Acceptance: an issue holds nothing back while its figures stay; totals that grow alike are no
change.
"""

import datetime as dt
import hashlib
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal, InvalidOperation

import msgspec

from app.domain.accounts.money import Money, Side
from app.domain.accounts.view import AcceptedIssue, AccountView
from app.domain.issues.absence import lacks_alltime
from app.domain.issues.codes import BY_ROWS, Issue, IssueCode
from app.domain.issues.detection import detect
from app.errors import InvalidRequest

USUAL_DAYS = 90
MOST_DAYS = 366
_PASSING = frozenset(
    {
        "looks",
        "looked_at",
        "settled_before",
        "moving_from",
        "withheld",
        "alltime_waits_until",
        "upstream_counts",
        BY_ROWS,
    }
)
"""Of the run, not the difference."""
_DERIVED = frozenset({"discrepancy_percentage", "total_dates"})
_RELATIONS = "relations"
"""Only amounts have it."""
_NAMED = ("date", "figure")
_DIGITS = 4
_ALLTIME, _DAILY = "raw_metrics_alltime", "raw_metrics_daily"


def last_date(until: dt.date | None, today: dt.date) -> dt.date:
    """An acceptance's last date; InvalidRequest if past or too far."""
    if until is None:
        return today + dt.timedelta(days=USUAL_DAYS)
    latest = today + dt.timedelta(days=MOST_DAYS)
    if not today < until <= latest:
        raise InvalidRequest(
            f"An acceptance ends after {today} and at {latest} at the latest; {until} is not such a"
            " date. Nothing was changed."
        )
    return until


def figures_of(issue: Issue) -> str:
    """A digest of what differs."""
    plain: dict[str, object] = {
        name: value for name, value in issue.evidence.items() if name not in _DERIVED
    }
    metadata = issue.evidence.get("metadata")
    known = metadata if isinstance(metadata, Mapping) else {}
    plain["metadata"] = _plain_metadata(known, has_dates=bool(_dates(plain)))
    if _RELATIONS not in known:
        return _digest([issue.code.value, sorted(issue.affected), plain])
    # Which tables are compared follows from all accounts; only the amounts are this one's own.
    plain["sample_mismatches"] = [
        _amounts_of(sample) for sample in _samples(plain.get("sample_mismatches"))
    ]
    return _digest([issue.code.value, plain])


def disagreement_of(view: AccountView) -> str:
    """A digest of how the tables disagree."""
    totals = view.totals
    present = totals.has_alltime, totals.has_daily, totals.has_hourly, totals.has_closed
    pins = sorted(f"{table} {day} {number}" for (table, day), number in view.pins.items())
    days = [repr(day) for day in view.days]
    findings, odd_rows = sorted(map(repr, view.findings)), sorted(map(repr, view.odd_rows))
    seen = [
        present,
        _differences(totals.counts),
        days,
        findings,
        odd_rows,
        sorted(view.descents),
        sorted(view.doubled),
        pins,
    ]
    return _digest([*seen, _money(view.money)])


def is_covered(view: AccountView, accepted: Mapping[str, AcceptedIssue]) -> bool:
    """Whether all its issues are accepted."""
    codes = {str(entry.get("type")) for entry in view.open_issues}
    if not codes or not codes <= accepted.keys() or view.doubts or view.pins_are_due:
        return False
    return _is_seen_as_accepted(view, codes, accepted) and _is_drift_covered(view, accepted)


def _is_seen_as_accepted(
    view: AccountView, codes: Collection[str], accepted: Mapping[str, AcceptedIssue]
) -> bool:
    """Whether the account is as it was when accepted: by digest, or by figures where the issue was
    recorded by maintenance, which keeps no digest.
    """
    seen = disagreement_of(view)
    if all(accepted[code].seen == seen for code in codes):
        return True
    found = {issue.code.value: figures_of(issue) for issue in detect(view)}
    return found == {code: accepted[code].figures for code in codes}


def _is_drift_covered(view: AccountView, accepted: Mapping[str, AcceptedIssue]) -> bool:
    if view.drift is None:
        return True
    if view.drift.absent:
        return IssueCode.ABSENT_UPSTREAM in accepted and lacks_alltime(view)
    drifts = [issue for issue in detect(view) if issue.code is IssueCode.UPSTREAM_DRIFT]
    known = accepted.get(IssueCode.UPSTREAM_DRIFT)
    return known is not None and all(figures_of(issue) == known.figures for issue in drifts)


def still_accepted(
    left: Sequence[Issue], accepted: Mapping[str, AcceptedIssue]
) -> frozenset[IssueCode]:
    """Codes with unchanged figures."""
    return frozenset(
        issue.code
        for issue in left
        if issue.code in accepted and figures_of(issue) == accepted[issue.code].figures
    )


def how_it_ended(
    accepted: AcceptedIssue, left: Sequence[Issue], judged: Collection[str], today: dt.date | None
) -> str | None:
    """How an acceptance ended; None while it holds.

    Its issue has other figures, was closed (of the `judged` codes), or its date came (`today`).
    """
    found = [issue for issue in left if issue.code == accepted.code]
    if not found:
        return "closed" if accepted.code in judged else None
    if figures_of(found[0]) != accepted.figures:
        return "changed"
    return "expired" if today is not None and accepted.until <= today else None


def _plain_metadata(metadata: Mapping[str, object], *, has_dates: bool) -> dict[str, object]:
    plain = {
        name: value
        for name, value in metadata.items()
        if name not in _PASSING and name != _RELATIONS
    }
    if isinstance(counts := plain.get("counts"), Mapping):
        plain["counts"] = _differences(counts)
    if isinstance(amounts := plain.get("totals"), Mapping):
        plain["totals"] = {
            figure: sorted(set(_differences(sides).values()))
            for figure, sides in amounts.items()
            if isinstance(sides, Mapping)
        }
    if isinstance(upstream := plain.get("upstream"), Mapping) and isinstance(
        stored := plain.get("stored"), Mapping
    ):
        del plain["upstream"], plain["stored"]
        plain["differs_by"] = {
            name: _less(upstream.get(name), stored.get(name))
            for name in sorted({*upstream, *stored})
        }
    told = metadata.get("upstream_counts")
    if not has_dates and isinstance(told, Mapping) and {_ALLTIME, _DAILY} <= told.keys():
        # Where no date tells the difference, it lies between these two, which are always read for
        # that verdict.
        plain["alltime_and_daily"] = _less(told[_ALLTIME], told[_DAILY])
    return plain


def _money(money: Money | None) -> object:
    if money is None:
        return None
    _, days, _ = money.signature
    return [
        days,
        {figure.value: _differences(sides) for figure, sides in sorted(money.totals.items())},
    ]


def _samples(samples: object) -> list[Mapping[str, object]]:
    found = samples if isinstance(samples, Sequence) else ()
    return [sample for sample in found if isinstance(sample, Mapping)]


def _amounts_of(sample: Mapping[str, object]) -> list[str]:
    """Date, figure and amounts."""
    named = [str(sample.get(name)) for name in _NAMED]
    amounts = {str(value) for name, value in sample.items() if name not in _NAMED}
    return [*named, *sorted(amounts)]


def _differences(counts: Mapping[str, object] | Mapping[Side, float]) -> dict[str, str]:
    """Amounts above the least."""
    numbers = {str(table): _number(count) for table, count in counts.items()}
    known = [number for number in numbers.values() if number is not None]
    return {
        table: "-" if number is None else _plain_number(number - min(known))
        for table, number in sorted(numbers.items())
    }


def _less(one: object, other: object) -> str:
    first, second = _number(one), _number(other)
    if first is None or second is None:
        return f"{first} {second}"
    return _plain_number(first - second)


def _plain_number(number: Decimal) -> str:
    return f"{round(number, _DIGITS).normalize() + 0:f}"


def _number(value: object) -> Decimal | None:
    try:
        number = None if value is None else Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number is not None and number.is_finite() else None


def _dates(evidence: Mapping[str, object]) -> object:
    return evidence.get("missing_dates") or evidence.get("dates")


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()
