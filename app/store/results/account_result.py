"""How an account leaves a batch, and the terms of recording it."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.domain.accounts.hold import Shown
from app.domain.accounts.progress import Effort
from app.domain.issues.codes import Issue, IssueCode
from app.domain.states import Outcome
from app.domain.verdict.closing import Closing
from app.store.claims.claim import FirstPass


@dataclass(frozen=True, slots=True)
class Explained:
    """How often in a row upstream confirmed what is explained, and when (aware) to ask again."""

    times: int
    ask_again_at: dt.datetime


@dataclass(frozen=True, slots=True)
class AccountResult:
    """How one account leaves a batch.

    `failing`: this costs an attempt; the next one waits by the terms, or until `held_until` without
    a failure. `left` None: it could not be read, and open issues stay. `postponed`: it returns to
    the run behind all others; `untried`: it waits for the next run, having failed only with others.
    `before` is the work of earlier passes, `found` and `effort` that of this batch alone.

    `signature` is what detection saw of an explained account, `closings` how issues are closed that
    are not `left`, `shown` what a confirmation lets through, `newly_held` whether that is new,
    `compared` the figures of a row comparison by table, `seen` a digest of how the tables disagree
    at the end.
    """

    account_id: str
    outcome: Outcome
    found: tuple[Issue, ...]
    left: tuple[Issue, ...] | None
    effort: Effort
    failing: bool
    signature: str
    detail: str | None
    postponed: bool = False
    untried: bool = False
    before: FirstPass = field(default_factory=FirstPass)
    held_until: dt.datetime | None = None
    closings: Mapping[IssueCode, Closing] = field(default_factory=dict)
    explained: Explained | None = None
    shown: Shown | None = None
    newly_held: bool = False
    compared: Mapping[str, Mapping[str, int]] | None = None
    seen: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether rows rewritten so far no longer count against the account.

        Not if its issues are only explained and this run rewrote rows: it might lose rows night by
        night.
        """
        return self.outcome in (Outcome.UNCHANGED, Outcome.HEALED) or (
            self.outcome is Outcome.EXPLAINED and not self.whole_effort.rewritten
        )

    @property
    def codes_found(self) -> list[str]:
        """Codes of all issues that the account came with, or that came up since."""
        now = [issue.code for issue in self.found]
        return [*now, *sorted(self.before.found - set(now))]

    @property
    def whole_effort(self) -> Effort:
        """What the whole run did for the account."""
        return self.effort + self.before.effort

    @property
    def is_quiet(self) -> bool:
        """Whether nothing was found or done, which is recorded at little cost."""
        return (
            self.outcome is Outcome.UNCHANGED
            and self.left == ()
            and not (self.found or self.failing or self.postponed or self.detail or self.held_until)
            and not self.before.found
            and not self.effort
            and not self.before.effort
            and self.compared is None
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms of recording: a worker silent for `lease_seconds` records nothing.

    `max_attempts` failures in a row exhaust an account, `next_attempt` gives its next time by their
    number. Postponed accounts wait `postpone_seconds`, in runs of named accounts
    `postpone_named_seconds`.

    Times are reckoned from `now`, this process's clock, and ended by the database's; None: as they
    are. What is accepted until `today`, the business date, ends.
    """

    max_attempts: int
    next_attempt: Callable[[int], dt.datetime]
    postpone_seconds: float
    postpone_named_seconds: float
    lease_seconds: float
    now: dt.datetime | None = None
    today: dt.date | None = None
