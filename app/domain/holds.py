"""Guards: when healing waits for somebody's word, since what upstream says is hard to believe. Pure: no I/O."""

from dataclasses import dataclass

from app.domain.contract import TABLES, Endpoint
from app.domain.issues import IssueCode
from app.domain.models import AccountView, Hold, Outcome, Progress

FLAPS = 3
"""An account is held back when the same issue opened again so often right after healing."""
_ALLTIME = TABLES[Endpoint.ALLTIME].name
_DAILY = TABLES[Endpoint.DAILY].name


@dataclass(frozen=True, slots=True)
class HoldLimits:
    """What may be healed without a question.

    An account is held if more than `row_share` of its rows, and at least `rows`, would be rewritten or removed; a run stops
    if more than `account_share` of its accounts are held.
    """

    row_share: float = 0.2
    rows: int = 500
    account_share: float = 0.05

    def is_too_much(self, rewritten: int, stored: int) -> bool:
        """Whether an account that had `stored` rows may not lose or change so many of them."""
        return rewritten >= self.rows and rewritten > self.row_share * stored

    def suspects(self, held: int, total: int) -> bool:
        """Whether so many held accounts of a run's make upstream suspect."""
        return held > self.account_share * total

    def suspicion(self, held: int, total: int) -> str:
        """Why a run stopped, and what to do."""
        return (
            f"Upstream is suspect: {held} of the run's {total} accounts need confirmation, more than {self.account_share:.0%}. It suddenly"
            " has nothing for them, or healing would rewrite most of their rows. Nothing more was written. Look at upstream:"
            " confirming the run lets it go on, a new run looks again."
        )


def rewriting(rewritten: int, stored: int, table: str) -> Hold:
    """The hold of an account of whose rows too many would change."""
    return Hold(
        Outcome.NEEDS_CONFIRMATION,
        f"Healing {table} would bring the rewritten or removed rows to {rewritten} of the account's {stored}; that was not written."
        " Compare with upstream, and confirm the run to write it.",
    )


def vanished(view: AccountView, progress: Progress) -> Hold | None:
    """The hold of an account for which upstream, completely read, suddenly has nothing at all; None for others.

    One that somebody confirmed, or that was known to be absent before this guard existed, is not held again.
    """
    totals = view.totals
    has_rows = totals.has_alltime or totals.has_daily or totals.has_hourly or totals.has_closed
    absent = view.drift is not None and view.drift.absent
    asked = progress.dates_read(Endpoint.ALLTIME).everything and (view.is_doubtful or Endpoint.DAILY in progress.read)
    silent = asked and not progress.sent
    if not has_rows or progress.known or not (absent or silent) or _is_accepted(view):
        return None
    return Hold(
        Outcome.NEEDS_CONFIRMATION,
        "Upstream suddenly has nothing for the account; all its rows are kept. Confirm the run if upstream really forgot it.",
        absent=True,
    )


def _is_accepted(view: AccountView) -> bool:
    """Whether the account was recorded as absent upstream as a whole, not only on some dates."""
    table = _ALLTIME if view.totals.has_alltime else _DAILY
    return view.status == Outcome.EXPLAINED and any(
        entry.get("type") == IssueCode.ABSENT_UPSTREAM and table in _affected(entry.get("affected")) for entry in view.open_issues
    )


def _affected(tables: object) -> list[object]:
    return tables if isinstance(tables, list) else []
