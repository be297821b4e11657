"""How an account left a batch, and on which terms that is recorded."""

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
    """How many times in a row upstream was asked in vain about what is explained, and when (aware)
    it is asked again.
    """

    times: int
    ask_again_at: dt.datetime


@dataclass(frozen=True, slots=True)
class AccountResult:
    """How one account left a batch: `failing` if this costs it an attempt, `signature` what
    detection saw at the end if it is explained.

    Its next failure says when it may be tried again; one that is held back without a failure is
    `held_until`. With `left` None it could not even be looked at, and its open issues stay as they
    are.

    With `postponed` nothing is settled yet: the account goes back into the run, to be claimed once
    more behind all others; with `untried` not by this run: it only failed together with others, and
    waits for the next one. When it was, `before` is what the run had found and done by then;
    `found` and `effort` are of this batch alone. `closings` tell as what issues are closed that are
    not left, `shown` what confirming lets through of one that needs confirmation; it is
    `newly_held` if it did not need that before the run. `compared` are the figures of a comparison
    of its rows, by table (None: only counts were compared). `seen` is a digest of how its tables
    disagree at the end (None: nothing is left).
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
        """Whether the account is as good as it can be: what was rewritten of it until now no longer
        counts against it.

        One whose issues are only explained is not whole if this run rewrote something: it might go
        on losing rows night by night.
        """
        return self.outcome in (Outcome.UNCHANGED, Outcome.HEALED) or (
            self.outcome is Outcome.EXPLAINED and not self.whole_effort.rewritten
        )

    @property
    def codes_found(self) -> list[str]:
        """The codes of all issues with which the account came into the run, and of those that came
        up since.
        """
        now = [issue.code for issue in self.found]
        return [*now, *sorted(self.before.found - set(now))]

    @property
    def whole_effort(self) -> Effort:
        """What the whole run did for the account."""
        return self.effort + self.before.effort

    @property
    def is_quiet(self) -> bool:
        """Whether there was nothing to heal, and nothing at all was done: only that is to be noted,
        at little cost for many.
        """
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
    """On which terms results are recorded, and what becomes of accounts that fail.

    A worker that said nothing for `lease_seconds` records nothing.

    `max_attempts` failures in a row exhaust one, `next_attempt` tells from their number when it may
    be tried again. A postponed one may be claimed again after `postpone_seconds`; in a run of named
    accounts, for which people wait, after `postpone_named_seconds`.

    Times are reckoned from `now`, this process's clock. The database adds the wait to its own
    clock, by which it ends; None: as they are. What is accepted until `today`, the business date,
    is so no more.
    """

    max_attempts: int
    next_attempt: Callable[[int], dt.datetime]
    postpone_seconds: float
    postpone_named_seconds: float
    lease_seconds: float
    now: dt.datetime | None = None
    today: dt.date | None = None
