"""Unsettled dates, and when their difference lasts."""

import contextlib
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.domain.accounts.counts import DayCounts
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import Endpoint
from app.domain.issues.codes import (
    Issue,
    IssueCode,
)

SETTLED_AFTER = 3
"""Runs until it is inconsistent."""
TOTALS = "totals"
_BETWEEN_COUNTS = dt.timedelta(hours=1)
"""Upstream needs time to settle."""
_SETTLING = (IssueCode.UNSETTLED, IssueCode.UPSTREAM_INCONSISTENT)


def once_an_hour(view: AccountView, issue: Issue, now: dt.datetime) -> Issue:
    """The issue with one run an hour counted."""
    metadata = issue.evidence.get("metadata")
    if (
        issue.code is not IssueCode.UNSETTLED
        or not isinstance(metadata, Mapping)
        or not isinstance(metadata.get("looks"), Mapping)
    ):
        return issue
    last, looks = _last_counted_at(view), runs_unsettled(view)
    if last is None or not dt.timedelta() <= now - last < _BETWEEN_COUNTS:
        return replace(
            issue,
            evidence={**issue.evidence, "metadata": {**metadata, "looked_at": now.isoformat()}},
        )
    counts = {
        place: min(count, looks.get(place, count)) for place, count in metadata["looks"].items()
    }
    return replace(
        issue,
        evidence={
            **issue.evidence,
            "metadata": {**metadata, "looks": counts, "looked_at": last.isoformat()},
        },
    )


def _last_counted_at(view: AccountView) -> dt.datetime | None:
    for entry in view.open_issues:
        metadata = entry.get("metadata")
        text = metadata.get("looked_at") if isinstance(metadata, Mapping) else None
        if entry.get("type") == IssueCode.UNSETTLED and isinstance(text, str):
            with contextlib.suppress(ValueError):
                found = dt.datetime.fromisoformat(text)
                return found if found.tzinfo is not None else None
    return None


def with_runs_counted(issue: Issue, places: Sequence[str], looks: Mapping[str, int]) -> Issue:
    """The issue with this run counted."""
    metadata = issue.evidence.get("metadata")
    counts = {place: looks.get(place, 0) + 1 for place in places}
    return replace(
        issue,
        evidence={
            **issue.evidence,
            "metadata": {**(metadata if isinstance(metadata, Mapping) else {}), "looks": counts},
        },
    )


def is_lasting(day: DayCounts, looks: Mapping[str, int], progress: Progress) -> bool:
    """Whether a date disagreed for several runs."""
    differing = [
        endpoint
        for endpoint, trades in ((Endpoint.HOURLY, day.hourly), (Endpoint.CLOSED, day.closed))
        if trades != day.daily
    ]
    was_read = all(progress.dates_read(endpoint).covers(day.date) for endpoint in differing)
    return was_read and looks.get(day.date.isoformat(), 0) >= SETTLED_AFTER


def runs_unsettled(view: AccountView) -> dict[str, int]:
    """Runs by date, or for totals."""
    for entry in view.open_issues:
        metadata = entry.get("metadata")
        looks = metadata.get("looks") if isinstance(metadata, Mapping) else None
        if entry.get("type") in _SETTLING and isinstance(looks, Mapping):
            return {str(place): count for place, count in looks.items() if isinstance(count, int)}
    return {}


def waits_until(view: AccountView) -> dt.date | None:
    """The last unsettled date when alltime was withheld."""
    for entry in view.open_issues:
        metadata = entry.get("metadata")
        text = metadata.get("alltime_waits_until") if isinstance(metadata, Mapping) else None
        if entry.get("type") == IssueCode.UNSETTLED and isinstance(text, str):
            with contextlib.suppress(ValueError):
                return dt.date.fromisoformat(text)
    return None
