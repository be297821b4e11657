"""When upstream lacks an account or its alltime row."""

from collections.abc import Mapping, Sequence

from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import TABLES, Endpoint
from app.domain.issues.codes import COUNTED_TABLES, Issue, IssueCode, Severity, plain_dates_evidence
from app.domain.states import Outcome

_ALLTIME = TABLES[Endpoint.ALLTIME].name
_STRATEGY = "keep_stored_rows"


def is_silent(view: AccountView, progress: Progress) -> bool:
    """Whether upstream, asked about an account with stored rows, sent none of it."""
    told = (view.drift is not None and view.drift.absent) or Endpoint.ALLTIME in progress.silent
    return told and _has_rows(view) and not progress.sent


def is_absent(view: AccountView, progress: Progress) -> bool:
    """Whether upstream has nothing of the account: each read that could show it brought no row."""
    if progress.known or not is_silent(view, progress) or may_be_without_id(view, progress):
        return False
    return (
        progress.dates_read(Endpoint.DAILY).everything
        and not is_hourly_unread(view, progress)
        and not is_closed_unread(view, progress)
    )


def may_be_without_id(view: AccountView, progress: Progress) -> bool:
    """Whether it may stand upstream without its id: it was not asked for by login yet."""
    return (
        progress.tried is not None
        and not view.by_login
        and bool(view.logins)
        and Endpoint.ALLTIME not in progress.named
    )


def is_hourly_unread(view: AccountView, progress: Progress) -> bool:
    """Whether stored hourly rows still have to be asked for."""
    read = progress.dates_read(Endpoint.HOURLY)
    if view.history is not None and view.first_day is not None and view.last_day is not None:
        # What is not compared is not asked for.
        return view.totals.has_hourly and not read.covers_span(view.first_day, view.last_day)
    return view.totals.has_hourly and not read.everything


def is_closed_unread(view: AccountView, progress: Progress) -> bool:
    """Whether upstream's trades must still be read."""
    if (
        not view.totals.has_closed
        or not view.logins
        or view.first_day is None
        or view.last_day is None
    ):
        return False
    return not progress.dates_read(Endpoint.CLOSED).covers_span(view.first_day, view.last_day)


def is_accepted(view: AccountView) -> bool:
    """Whether the absence was confirmed or known."""
    return view.status == Outcome.EXPLAINED and open_absence(view) is not None


def is_alltime_lacking(view: AccountView, progress: Progress) -> bool:
    """Whether upstream lacks the alltime row."""
    if not view.totals.has_alltime or Endpoint.ALLTIME in progress.sent:
        return False
    asked = lacks_alltime(view) and progress.dates_read(Endpoint.ALLTIME).everything
    return asked or (view.drift is not None and view.drift.absent)


def lacks_alltime(view: AccountView) -> bool:
    """Whether an open issue says so."""
    for entry in _entries(view):
        tables = entry.get("affected")
        if not isinstance(tables, list) or _ALLTIME in tables:
            return True
    return False


def open_absence(view: AccountView) -> Mapping[str, object] | None:
    """An absent account's open issue."""
    for entry in _entries(view):
        tables = entry.get("affected")
        if isinstance(tables, list) and set(COUNTED_TABLES).issubset(tables):
            return entry
    return None


def absence() -> Issue:
    """Upstream has nothing of the account."""
    text = "Upstream does not have the account; the stored rows are kept."
    return Issue(IssueCode.ABSENT_UPSTREAM, Severity.MEDIUM, text, COUNTED_TABLES, _STRATEGY, {})


def alltime_absence(view: AccountView) -> Issue:
    """Upstream lacks the alltime row."""
    text = f"Upstream does not send the row of {_ALLTIME} that is stored; it is kept."
    evidence = {
        **plain_dates_evidence(()),
        "metadata": {"trades_kept": {_ALLTIME: view.totals.alltime}},
    }
    return Issue(IssueCode.ABSENT_UPSTREAM, Severity.MEDIUM, text, (_ALLTIME,), _STRATEGY, evidence)


def carried(view: AccountView, progress: Progress) -> tuple[Issue, ...]:
    """Earlier conclusions that this run left undecided."""
    entry = open_absence(view)
    if entry is None or progress.sent or is_absent(view, progress):
        return ()
    return (Issue.from_json(entry),)


def _has_rows(view: AccountView) -> bool:
    totals = view.totals
    return bool(
        totals.has_alltime
        or totals.has_daily
        or totals.has_hourly
        or totals.has_closed
        or view.known_days
    )


def _entries(view: AccountView) -> Sequence[Mapping[str, object]]:
    return [entry for entry in view.open_issues if entry.get("type") == IssueCode.ABSENT_UPSTREAM]
