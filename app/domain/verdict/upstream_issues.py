"""Issues that upstream or the owner ends."""

import datetime as dt
from collections.abc import Mapping, Sequence

from app.domain.accounts.counts import DayCounts
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView, History
from app.domain.contract.tables import TABLES, Endpoint
from app.domain.issues.codes import (
    BY_ROWS,
    COUNTED_TABLES,
    SAMPLE,
    SHOW_ROWS,
    Issue,
    IssueCode,
    Severity,
    days_evidence,
    plain_dates_evidence,
)
from app.domain.verdict.unsettled import TOTALS, runs_unsettled, waits_until
from app.domain.wording.counts import counted

_COUNT = "num_trades"


def unread_history_issue(history: History) -> Issue:
    """Counts before the history are unread: alltime is not compared."""
    text = (
        f"What upstream counts before {history.first} could not be read: alltime is not compared"
        " until it is."
    )
    tables = (TABLES[Endpoint.ALLTIME].name,)
    return Issue(
        IssueCode.HISTORY_UNREAD, Severity.MEDIUM, text, tables, "fetch_missing_metrics", {}
    )


def absent_issue(
    kept: Mapping[Endpoint, Mapping[dt.date | None, int]], *, by_rows: bool = False
) -> Issue:
    """Rows that upstream does not send."""
    tables = tuple(TABLES[endpoint].name for endpoint, days in kept.items() if days)
    dates = sorted({day for days in kept.values() for day in days if day is not None})
    trades = {TABLES[endpoint].name: sum(days.values()) for endpoint, days in kept.items() if days}
    listed = ", ".join(
        f"{table} with {counted(number, 'trade')}" for table, number in trades.items()
    )
    where = f" on {counted(len(dates), 'date')}" if dates else ""
    text = (
        f"Upstream does not send rows that are stored{where}: {listed}. They are kept, also by a"
        " run that is confirmed: what upstream lacks altogether it may have forgotten, and only"
        " the warehouse's owner removes it."
    )
    evidence = {
        **plain_dates_evidence(dates),
        "metadata": {"trades_kept": trades, **({BY_ROWS: True} if by_rows else {})},
    }
    return Issue(
        IssueCode.ABSENT_UPSTREAM, Severity.MEDIUM, text, tables, "keep_stored_rows", evidence
    )


def _upstream_counts(view: AccountView, progress: Progress) -> dict[str, object]:
    """Upstream's trades by table, where it was read whole and sent usable counts."""
    reads = {
        endpoint: progress.dates_read(endpoint)
        for endpoint in (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
    }
    whole = {endpoint for endpoint, read in reads.items() if read.everything}
    if (
        view.first_day is not None
        and view.last_day is not None
        and reads[Endpoint.CLOSED].covers_span(view.first_day, view.last_day)
    ):
        whole.add(Endpoint.CLOSED)
    if Endpoint.ALLTIME not in progress.sent:
        whole.discard(Endpoint.ALLTIME)
    counts = {
        TABLES[endpoint].name: (
            view.totals.counts[TABLES[endpoint].name]
            - sum(progress.kept.get(endpoint, {}).values())
        )
        for endpoint in reads
        if endpoint in whole
        and not progress.withheld.get(endpoint)
        and not _lacks_count(progress, TABLES[endpoint].name)
    }
    return {"upstream_counts": counts} if counts else {}


def _lacks_count(progress: Progress, table: str) -> bool:
    return any(column.partition(" ")[0] == _COUNT for column in progress.unheld.get(table, ()))


def inconsistent_issue(
    view: AccountView, progress: Progress, days: Sequence[DayCounts], looks: Mapping[str, int]
) -> Issue:
    """Dates on which upstream contradicts itself."""
    text = "Upstream contradicts itself: everything was read again and the counts still differ."
    metadata: dict[str, object] = {
        **_upstream_counts(view, progress),
        **({"looks": dict(looks)} if looks else {}),
    }
    evidence = {**days_evidence(days), "metadata": metadata}
    return Issue(
        IssueCode.UPSTREAM_INCONSISTENT, Severity.INFO, text, COUNTED_TABLES, "none", evidence
    )


def unsettled_issue(view: AccountView, progress: Progress, days: Sequence[DayCounts]) -> Issue:
    """The difference lies on unsettled dates."""
    moving, looks = progress.moving, runs_unsettled(view)
    text = (
        f"The counts differ on dates from {moving.first} on, which still move; the next run looks"
        " again."
    )
    places = [day.date.isoformat() for day in days] or [TOTALS]
    metadata: dict[str, object] = {
        **_upstream_counts(view, progress),
        "moving_from": moving.first.isoformat(),
        "looks": {place: looks.get(place, 0) + 1 for place in places},
    }
    if progress.withheld:
        metadata["withheld"] = sorted({day.isoformat() for day in progress.withheld_days})
    if progress.alltime_is_withheld:
        until = waits_until(view) if progress.waits else moving.last
        metadata["alltime_waits_until"] = f"{until}"
        if view.drifts and view.drift is not None:
            metadata["drift"] = dict(view.drift.evidence)
    evidence = {**days_evidence(days), "metadata": metadata}
    return Issue(IssueCode.UNSETTLED, Severity.INFO, text, COUNTED_TABLES, "look_again", evidence)


def narrow_key_issues(progress: Progress) -> tuple[Issue, ...]:
    """Rows that share a key."""
    if not progress.too_narrow:
        return ()
    tables = tuple(sorted({row.table for row in progress.too_narrow}))
    text = (
        "Rows of upstream that the table's own key cannot hold beside others:"
        f" {len(progress.too_narrow)}; nothing was overwritten."
    )
    evidence = {
        "total_mismatches": len(progress.too_narrow),
        "metadata": {"rows": [row.as_json() for row in progress.too_narrow[:SAMPLE]]},
    }
    return (Issue(IssueCode.KEY_TOO_NARROW, Severity.HIGH, text, tables, SHOW_ROWS, evidence),)
