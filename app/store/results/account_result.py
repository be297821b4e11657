"""One account's result in a batch, and terms of recording."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.domain.accounts.hold import Shown
from app.domain.accounts.progress import Effort
from app.domain.ids import AccountId
from app.domain.issues.codes import Issue, IssueCode
from app.domain.states import Outcome
from app.domain.verdict.closing import Closing
from app.store.claims.claim import FirstPass


@dataclass(frozen=True, slots=True)
class Explained:
    """How often in a row upstream was asked in vain, and when it is asked again (aware)."""

    times: int
    ask_again_at: dt.datetime


@dataclass(frozen=True, slots=True)
class AccountResult:
    """How one account leaves a batch.

    - `effort`, `found`: this batch's; `before`: earlier passes'.
    - `left`: open issues, None if unread.
    - `failing`: counts as an attempt; `held_until`: waits without failing.
    - `postponed`: to the run's end; `untried`: to the next run.
    - `signature`, `seen`: digests of disagreement, first and last.
    - `shown`: what confirming permits; `compared`: figures by table.
    """

    account_id: AccountId
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
        """Whether rewritten rows stop counting.

        Not if explained after a rewrite, which might lose rows nightly.
        """
        return self.outcome in (Outcome.UNCHANGED, Outcome.HEALED) or (
            self.outcome is Outcome.EXPLAINED and not self.whole_effort.rewritten
        )

    @property
    def codes_found(self) -> list[str]:
        """Issue codes found in any pass."""
        now = [issue.code for issue in self.found]
        return [*now, *sorted(self.before.found - set(now))]

    @property
    def whole_effort(self) -> Effort:
        """The run's whole effort."""
        return self.effort + self.before.effort

    @property
    def is_quiet(self) -> bool:
        """Whether nothing was found or done."""
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
    """Terms of recording: when accounts are tried again, and whose claims still hold.

    A worker silent for `lease_seconds` records nothing; `max_attempts` failures in a row exhaust an
    account. Waits begin at `now`, this process's clock (None: as they are); acceptances until
    `today`, the business date, end.
    """

    max_attempts: int
    next_attempt: Callable[[int], dt.datetime]
    postpone_seconds: float
    postpone_named_seconds: float
    lease_seconds: float
    now: dt.datetime | None = None
    today: dt.date | None = None
