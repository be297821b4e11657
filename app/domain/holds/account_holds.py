"""Holds of accounts."""

from dataclasses import dataclass

from app.domain.accounts.hold import Hold, Shown
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.holds.limits import HoldLimits
from app.domain.holds.waiting import confirming
from app.domain.issues.absence import is_absent, is_accepted
from app.domain.states import Outcome
from app.domain.wording.counts import choose, counted


@dataclass(frozen=True, slots=True)
class Sent:
    """An account's rows and trades upstream, `on` dates."""

    rows: int = 0
    trades: int | None = 0
    on: str = ""

    @property
    def phrase(self) -> str:
        """As the object of a sentence."""
        trades = (
            "rows without a count of trades"
            if self.trades is None
            else counted(self.trades, "trade")
        )
        return f"{trades} in {counted(self.rows, 'row')}{self.on}"


@dataclass(frozen=True, slots=True)
class HoldFigures:
    """What a write to one table would do to an account: of `stored` trades when the run began it
    leaves `left`; `lost` rows go, move or shrink; `blanks`: figures become empty.
    """

    table: str
    stored: int
    left: int
    lost: int
    blanks: bool
    sent: Sent

    @property
    def shown(self) -> Shown:
        """What confirming allows."""
        return Shown(self.left, self.blanks, self.stored)

    @property
    def sentence(self) -> str:
        """What is stored, sent, and would be left."""
        blanks = ", with empty figures" if self.blanks else ""
        loses = (
            f"remove, move, lower or blank {counted(self.lost, 'row')} and " if self.lost else ""
        )
        return (
            f"In {self.table}, {counted(self.stored, 'trade')} {choose(self.stored, 'was', 'were')}"
            f" stored when the run began, and upstream has {self.sent.phrase}{blanks}. Writing that"
            f" would {loses}leave {counted(self.left, 'trade')} there."
        )


def _held(what: str, figures: HoldFigures, run_id: object) -> Hold:
    return Hold(
        Outcome.NEEDS_CONFIRMATION,
        f"{what} {figures.sentence} Run {run_id} did not write that. Compare with upstream; to"
        f" write it: {confirming(run_id)}.",
        shown=figures.shown,
    )


def rewriting(
    rewritten: int, rows: int, limits: HoldLimits, figures: HoldFigures, run_id: object
) -> Hold:
    """The hold of an account of which too many rows would change."""
    what = (
        f"Healing {figures.table} would bring the rewritten or removed rows to {rewritten} of the"
        f" account's {rows}; allowed without a question are {limits.row_share:.0%}, or fewer than"
        f" {limits.rows}."
    )
    return _held(what, figures, run_id)


def lowering(figures: HoldFigures, run_id: object) -> Hold:
    """The hold of an account that a suspect upstream lowers or blanks."""
    if figures.left < figures.stored:
        what = "Upstream is suspect, and would lower the number of the account's trades."
    elif figures.blanks:
        what = "Upstream is suspect, and has empty figures where figures of the account are stored."
    else:
        what = "Upstream is suspect, and would change the account's rows."
    return _held(what, figures, run_id)


def exceeding(figures: HoldFigures, confirmed: Shown, run_id: object) -> Hold:
    """The hold of an account that would lose more than was confirmed."""
    least = confirmed.least(figures.stored)
    fewer = (
        [f"that at least {counted(least, 'trade')} {choose(least, 'is', 'are')} left"]
        if figures.left < least
        else []
    )
    empty = ["that no figure becomes empty"] if figures.blanks and not confirmed.blanks else []
    what = (
        f"Confirmed was {' and '.join([*fewer, *empty])} in {figures.table}, which does not hold"
        " any more."
    )
    return _held(what, figures, run_id)


def vanished(view: AccountView, progress: Progress, run_id: object = "RUN") -> Hold | None:
    """The hold of an account of which upstream suddenly has nothing, unless that was confirmed."""
    if not is_absent(view, progress) or is_accepted(view):
        return None
    most = max(view.totals.counts.values())
    return Hold(
        Outcome.NEEDS_CONFIRMATION,
        f"Upstream suddenly has nothing for the account, of which {counted(most, 'trade')}"
        f" {choose(most, 'is', 'are')} stored; all its rows are kept. If upstream really forgot it:"
        f" {confirming(run_id)}.",
        absent=True,
    )
