"""Guards: when healing waits for confirmation, since what upstream says is hard to believe.

Pure: no I/O.

Three limits: rows of one account that would be rewritten, accounts of a run whose figures upstream
lowers or blanks, and rows of a run that are removed, lowered or blanked. The last two judge
upstream as a whole, over all batches of the run.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from app.domain.accounts.counts import Totals
from app.domain.accounts.hold import Hold, Shown
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.issues.absence import is_absent, is_accepted
from app.domain.states import Outcome, RunStatus
from app.domain.wording.counts import choose, counted

FLAPS = 3
"""An account is held back when the same issue opened again so often right after healing."""


@dataclass(frozen=True, slots=True)
class HoldLimits:
    """What may be healed without confirmation.

    An account is held if more than `row_share` of its rows, and at least `rows`, would be rewritten
    or removed. A run stops if upstream lowers or blanks the figures of more than `account_share` of
    the accounts compared so far, and of at least `accounts`; or if more than `run_row_share` of the
    rows compared, and at least `run_rows`, would be removed, lowered or blanked.
    """

    row_share: float = 0.2
    rows: int = 500
    account_share: float = 0.05
    accounts: int = 5
    run_rows: int = 500
    run_row_share: float = 0.2

    def is_too_much(self, rewritten: int, stored: int) -> bool:
        """Whether an account that had `stored` rows may not lose or change so many of them."""
        return rewritten >= self.rows and rewritten > self.row_share * stored

    def suspects(self, lowered: int, compared: int) -> bool:
        """Whether so many accounts with lowered figures make upstream suspect."""
        return lowered >= self.accounts and lowered > self.account_share * compared

    def suspects_rows(self, lost: int, compared: int) -> bool:
        """Whether so many removed, lowered or blanked rows make upstream suspect."""
        return lost >= self.run_rows and lost > self.run_row_share * compared

    def suspicion(self, lowered: int, compared: int, rewritten: int | None = None) -> str:
        """Why upstream is suspect: what it says of accounts.

        Of the `lowered` ones so many count only since too many of their rows would be `rewritten`
        (None: it is not known how many).
        """
        among = f"{lowered} of the {counted(compared, 'account')} compared so far"
        lower = "lower figures there, empty ones or none at all"
        share = f"more than {self.row_share:.0%} of"
        match rewritten:
            case None:
                its = choose(lowered, "its", "their")
                what = (
                    f"{among} {choose(lowered, 'has', 'have')} {lower}, or would have {share} {its}"
                    " rows rewritten"
                )
            case 0:
                what = f"{among} {choose(lowered, 'has', 'have')} {lower}"
            case _ if rewritten >= lowered:
                what = (
                    f"{among} would have {share} {choose(lowered, 'its', 'their')} rows rewritten,"
                    " while upstream lowers none of their figures: it may be the warehouse that"
                    " was damaged"
                )
            case _:
                fewer = lowered - rewritten
                what = (
                    f"of the {counted(compared, 'account')} compared so far {fewer}"
                    f" {choose(fewer, 'has', 'have')} {lower}, and {rewritten} would have {share}"
                    f" {choose(rewritten, 'its', 'their')} rows rewritten"
                )
        return _suspicion(
            f"{what}; allowed are {self.account_share:.0%}, or fewer than {self.accounts}, and"
            " accounts that were written before count as well"
        )

    def suspicion_of_keys(self, rekeyed: int, compared: int) -> str:
        """Why upstream is suspect: the natural keys that it has of accounts."""
        return _suspicion(
            f"{rekeyed} of the {counted(compared, 'account')} compared"
            f" {choose(rekeyed, 'has', 'have')} another login, platform or broker there than here,"
            f" and all {choose(rekeyed, 'its', 'their')} rows would be rewritten; allowed are"
            f" {self.account_share:.0%}, or fewer than {self.accounts}"
        )

    def suspicion_of_rows(self, lost: int, compared: int) -> str:
        """Why upstream is suspect: what it says of rows."""
        return _suspicion(
            f"healing would remove, lower or blank {lost} of the {counted(compared, 'row')}"
            f" compared so far; allowed are {self.run_row_share:.0%}, or fewer than {self.run_rows}"
        )


def _suspicion(why: str) -> str:
    return (
        f"Upstream is suspect: {why}. Accounts that would lose something were held and not written."
        " Compare them with upstream: confirming the run writes what it held, a new run compares"
        " again."
    )


def undoing(run_id: object) -> str:
    """The sentence that tells how what a run removed, moved or overwrote is brought back, and that
    rows which it inserted stay.
    """
    return (
        f" `trade-recon removed restore --all-of-run {run_id}` brings back what the run removed,"
        " moved or overwrote; rows that it inserted stay."
    )


@dataclass(frozen=True, slots=True)
class Loss:
    """What a run takes from an account: rows removed, lowered or blanked, and whether upstream
    lowers or blanks its figures.

    One that `rewrites` counts as lowered, too, but only since too many of its rows would be
    rewritten.
    """

    rows: int = 0
    lowers: bool = False
    rewrites: bool = False

    def __add__(self, other: "Loss") -> "Loss":
        """Both together."""
        lowers = self.lowers or other.lowers
        rewrites = all(each.rewrites for each in (self, other) if each.lowers)
        return Loss(self.rows + other.rows, lowers, lowers and rewrites)


@dataclass(frozen=True, slots=True)
class RunCounts:
    """What is recorded of a run: accounts and rows compared, and what other processes count:
    lowered accounts, and lost rows.

    Of the lowered ones those are `others_rewritten` that count only since too many of their rows
    would be rewritten. With `stands` an earlier run was stopped since upstream was suspect, nobody
    confirmed it, and no audit begun since found upstream well.
    """

    accounts: int = 0
    rows: int = 0
    others_lowered: int = 0
    others_lost: int = 0
    stands: bool = False
    others_rewritten: int = 0


_NO_LOSS = Loss()


@dataclass(slots=True)
class RunGuard:
    """The judgement of upstream in one run, shared by all batches of a process.

    `recorded` is what the database knew when it was last asked, `total` the number of accounts that
    an audit's scan compared (None: only what batches read is compared), `undo` the sentence that
    says how to undo what the run wrote. Once `reason` is set the run stops after its batches, and
    no account that loses a row, or whose figures are lower upstream, is written.
    """

    limits: HoldLimits
    total: int | None = None
    undo: str = ""
    recorded: RunCounts = field(default_factory=RunCounts)
    losses: dict[str, Loss] = field(default_factory=dict)
    compared: dict[str, dict[Hashable, int]] = field(default_factory=dict)
    reason: str | None = None

    def note_compared(self, slices: Hashable, rows: Mapping[str, int]) -> None:
        """So many stored rows of accounts, in the slices named, meet a complete answer of
        upstream.
        """
        for account_id, number in rows.items():
            self.compared.setdefault(account_id, {})[slices] = number

    def forget_compared(self, account_ids: Iterable[str]) -> tuple[int, int]:
        """Accounts wait in their run again; how many of them were compared, and how many rows."""
        left = [
            self.compared.pop(account_id)
            for account_id in account_ids
            if account_id in self.compared
        ]
        return len(left), sum(sum(slices.values()) for slices in left)

    def record_compared(self, account_ids: Iterable[str]) -> int:
        """Accounts are recorded; how many of their rows were compared."""
        accounts, rows = self.forget_compared(account_ids)
        self.recorded = replace(
            self.recorded,
            accounts=self.recorded.accounts + accounts,
            rows=self.recorded.rows + rows,
        )
        return rows

    def judge(self, news: Mapping[str, Loss]) -> list[str]:
        """The accounts of `news` that may not be written, since upstream is suspect with these
        losses on top, or was before.
        """
        after = {
            **self.losses,
            **{
                account_id: self.losses.get(account_id, _NO_LOSS) + loss
                for account_id, loss in news.items()
            },
        }
        self._suspect(after)
        if self.reason is not None:
            return [account_id for account_id, loss in news.items() if loss.lowers or loss.rows]
        # An earlier run had to stop: until upstream is found well, the limits leave no room for
        # losses one by one.
        return [
            account_id for account_id, loss in news.items() if self.recorded.stands and loss.lowers
        ]

    def add(self, news: Mapping[str, Loss]) -> None:
        """Count losses that are being written."""
        for account_id, loss in news.items():
            self.losses[account_id] = self.losses.get(account_id, _NO_LOSS) + loss

    def hold(self, news: Mapping[str, Loss]) -> None:
        """Count accounts that are held and were not held before."""
        self.add(news)
        self._suspect(self.losses)

    def take_back(self, news: Mapping[str, Loss]) -> None:
        """Losses that were counted and not written after all."""
        for account_id, loss in news.items():
            left = self.losses[account_id].rows - loss.rows
            # Upstream lowers the account all the same: the next try will say so again.
            self.losses[account_id] = replace(self.losses[account_id], rows=left)

    def _suspect(self, losses: Mapping[str, Loss]) -> None:
        if self.reason is not None:
            return
        accounts = self.recorded.accounts + len(self.compared) if self.total is None else self.total
        lowered = self.recorded.others_lowered + sum(loss.lowers for loss in losses.values())
        if self.limits.suspects(lowered, accounts):
            rewritten = self.recorded.others_rewritten + sum(
                loss.lowers and loss.rewrites for loss in losses.values()
            )
            self.reason = self.limits.suspicion(lowered, accounts, rewritten) + self.undo
            return
        # An audit's scan compared a row of alltime of each account.
        rows = (
            self.recorded.rows
            + sum(sum(slices.values()) for slices in self.compared.values())
            + (self.total or 0)
        )
        lost = self.recorded.others_lost + sum(loss.rows for loss in losses.values())
        if self.limits.suspects_rows(lost, rows):
            self.reason = self.limits.suspicion_of_rows(lost, rows) + self.undo


@dataclass(frozen=True, slots=True)
class MovingTrades:
    """What the tables below alltime count of one account on dates that still move."""

    daily: int = 0
    hourly: int = 0
    closed: int = 0

    @property
    def most(self) -> int:
        """The count of the table that counts most."""
        return max(self.daily, self.hourly, self.closed)


NOTHING_MOVES = MovingTrades()


def is_lowered(
    before: Totals, after: int, moving: MovingTrades, told: int, *, is_bounded: bool = False
) -> bool:
    """Whether upstream's alltime counts fewer settled trades than the warehouse, if it says `after`
    where more were stored.

    `before` is what the tables counted when the run began, `moving` what they count on dates that
    still move, and `told` what upstream counts there. Both are taken off, so that neither trades of
    today nor a replica that lags hides or feigns a loss. Where alltime alone counts more than
    upstream, the warehouse was damaged: of two other tables or more, one that counts more is no
    witness. Where the history `is_bounded`, all are counts inside it, and of an account without
    rows there the other tables count 0.
    """
    finer = (
        (before.has_daily, before.daily - moving.daily),
        (before.has_hourly, before.hourly - moving.hourly),
        (before.has_closed, before.closed - moving.closed),
    )
    settled = sorted((count for has_rows, count in finer if has_rows), reverse=True) or [
        0 if is_bounded else before.alltime - moving.most
    ]
    return after - told < settled[min(1, len(settled) - 1)]


def confirming(run_id: object) -> str:
    """How what a run holds is let through."""
    return f"`trade-recon confirm {run_id}` or POST /runs/{run_id}/confirm"


@dataclass(frozen=True, slots=True)
class Waiting:
    """The accounts that a run leaves held, how many of them were not held before, and since which
    run others are (None: unknown).

    `status` may be one that only a later version knows. A run that `was_confirmed` may have held
    the others itself, until then. `still` is how many are held to this moment (None: all), since
    later runs may have recorded some.
    """

    run_id: object
    status: str
    accounts: int
    newly: int = 0
    since: object | None = None
    was_confirmed: bool = False
    still: int | None = None

    @property
    def sentence(self) -> str:
        """How many accounts wait for confirmation, since when, and what to do; empty where none
        waits and nothing was stopped.
        """
        is_open = self.status in (RunStatus.NEEDS_CONFIRMATION, RunStatus.COMPLETED_WITH_ISSUES)
        if not self.accounts:
            return (
                f"To let the run go on: {confirming(self.run_id)}."
                if self.status == RunStatus.NEEDS_CONFIRMATION
                else ""
            )
        if self.still == 0:
            held = counted(self.accounts, "account")
            return (
                f"It held {held}, none of which is held any more: later runs recorded them, or"
                " somebody accepted them."
            )
        earlier = self.accounts - self.newly
        since = f", the first since run {self.since}" if self.since is not None else ""
        own = (
            " by earlier runs, or by this run until it was confirmed" if self.was_confirmed else ""
        )
        before = f" and {earlier} held before{own}{since}" if earlier else ""
        call = (
            f" To write what was shown of them: {confirming(self.run_id)}."
            if is_open
            else " A new run compares them again."
        )
        if self.still is not None and self.still < self.accounts:
            return (
                f"It held {counted(self.accounts, 'account')}, of which {self.still} still"
                f" {choose(self.still, 'waits', 'wait')} for confirmation; later runs recorded the"
                " others, or somebody accepted them. GET /accounts/ID tells why each is"
                f" held.{call}"
            )
        return (
            f"{counted(self.accounts, 'account')} {choose(self.accounts, 'waits', 'wait')} for"
            f" confirmation: {self.newly} newly held by this run{before}. GET /accounts/ID tells"
            f" why each is held.{call}"
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """What upstream sent of an account in one fetch: rows, their trades (None: no count), and `on`
    which dates (empty: on all).
    """

    rows: int = 0
    trades: int | None = 0
    on: str = ""

    @property
    def told(self) -> str:
        """It as the object of a sentence."""
        trades = (
            "rows without a count of trades"
            if self.trades is None
            else counted(self.trades, "trade")
        )
        return f"{trades} in {counted(self.rows, 'row')}{self.on}"


@dataclass(frozen=True, slots=True)
class HoldFigures:
    """What a write to one table would do to an account.

    The table counted `stored` trades when the run began, and would count `left` after the write,
    which removes, moves, lowers or blanks `lost` rows; with `blanks` figures become empty. `sent`
    is what upstream has.
    """

    table: str
    stored: int
    left: int
    lost: int
    blanks: bool
    sent: Sent

    @property
    def shown(self) -> Shown:
        """What confirming lets through."""
        return Shown(self.left, self.blanks, self.stored)

    @property
    def told(self) -> str:
        """What is stored, what upstream has, and what the write would leave."""
        blanks = ", with empty figures" if self.blanks else ""
        loses = (
            f"remove, move, lower or blank {counted(self.lost, 'row')} and " if self.lost else ""
        )
        return (
            f"In {self.table}, {counted(self.stored, 'trade')} {choose(self.stored, 'was', 'were')}"
            f" stored when the run began, and upstream has {self.sent.told}{blanks}. Writing that"
            f" would {loses}leave {counted(self.left, 'trade')} there."
        )


def _held(what: str, figures: HoldFigures, run_id: object) -> Hold:
    """A hold with its counts, its run and the call that lets it through."""
    return Hold(
        Outcome.NEEDS_CONFIRMATION,
        f"{what} {figures.told} Run {run_id} did not write that. Compare with upstream; to write"
        f" it: {confirming(run_id)}.",
        shown=figures.shown,
    )


def rewriting(
    rewritten: int, rows: int, limits: HoldLimits, figures: HoldFigures, run_id: object
) -> Hold:
    """The hold of an account of whose `rows` too many would change."""
    what = (
        f"Healing {figures.table} would bring the rewritten or removed rows to {rewritten} of the"
        f" account's {rows}; allowed without a question are {limits.row_share:.0%}, or fewer than"
        f" {limits.rows}."
    )
    return _held(what, figures, run_id)


def lowering(figures: HoldFigures, run_id: object) -> Hold:
    """The hold of an account that upstream lowers or blanks while upstream as a whole is suspect,
    or that was held for that before.
    """
    if figures.left < figures.stored:
        what = "Upstream is suspect, and would lower the number of the account's trades."
    elif figures.blanks:
        what = "Upstream is suspect, and has empty figures where figures of the account are stored."
    else:
        what = "Upstream is suspect, and would change the account's rows."
    return _held(what, figures, run_id)


def exceeding(figures: HoldFigures, confirmed: Shown, run_id: object) -> Hold:
    """The hold of an account that lost more upstream than was shown when somebody confirmed it."""
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
    """The hold of an account for which upstream, completely read, suddenly has nothing at all; None
    for others.

    One that somebody confirmed, or that was known to be absent before this guard existed, is not
    held again.
    """
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
