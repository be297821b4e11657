"""What an answer rests on."""

import datetime as dt
from dataclasses import dataclass

from app.domain.wording.counts import choose, counted

_WHOLE = (
    "every row and column of alltime, daily, hourly rows and closed trades was compared with"
    " upstream"
)
_COUNTS = (
    "the trades that alltime, daily, hourly rows and closed trades count were compared with each"
    " other, in all and on each date"
)
_AUDIT, _INSPECT = "audit", "inspect"
_SLACK = dt.timedelta(minutes=1)
"""Earlier versions recorded in two transactions."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What an ended run compared: `named` accounts (None: all), of `known` ones (None: unknown),
    from the date `first` on (None: all).

    It looked closer at those `taken`; `unread` ones failed, were deleted or not reached.
    """

    kind: str
    by_rows: bool
    named: int | None
    changed_only: bool
    taken: int
    known: int | None
    requests: int
    began: dt.datetime | None
    is_prepared: bool
    first: dt.date | None = None
    compared: int | None = None
    left_out: int = 0
    unread: int = 0
    pinned: int = 0

    @property
    def sentence(self) -> str:
        """What the run rests on, if anything."""
        if self.began is None or not self.is_prepared:
            return (
                "Nothing was compared: the run ended before its accounts were known, after"
                f" {counted(self.requests, 'request')}."
            )
        if self.named is None and self.known == 0:
            return "Nothing was compared, since no account was known."
        if self._needs_upstream and self.compared == 0 and self.unread + self.left_out > 0:
            return (
                f"Nothing was compared with upstream: {self._not_compared}. Upstream was asked with"
                f" {counted(self.requests, 'request')}."
            )
        since = f", dates from {self.first} on" if self.first is not None else ""
        return (
            f"It rests on {self._who} as of {_minute(self.began)}{since}: {self._what}."
            f" {self._asked}"
        )

    @property
    def _needs_upstream(self) -> bool:
        return self.by_rows or self.kind == _AUDIT

    @property
    def _not_compared(self) -> str:
        unread = (
            f"{counted(self.unread, 'account')} failed or {choose(self.unread, 'was', 'were')} not"
            " reached"
            if self.unread
            else ""
        )
        left_out = (
            f"{counted(self.left_out, 'account')} {choose(self.left_out, 'was', 'were')} left out"
            if self.left_out
            else ""
        )
        return " and ".join(filter(None, (unread, left_out)))

    @property
    def _who(self) -> str:
        but = f" ({self._not_compared})" if self._needs_upstream and self._not_compared else ""
        if but and self.compared is not None:
            return f"{self.compared} of {self._of}{but}"
        return f"{self._of}{but}"

    @property
    def _of(self) -> str:
        if self.named is not None:
            return counted(self.named, "named account")
        if self.changed_only:
            return "the accounts with rows written since the last run over all of them"
        return "all accounts" if self.known is None else f"all {counted(self.known, 'account')}"

    @property
    def _what(self) -> str:
        if self.by_rows:
            are = choose(self.pinned, "is", "are")
            return (
                f"{_WHOLE}, but for {counted(self.pinned, 'row')} that {are} pinned by restore"
                if self.pinned
                else _WHOLE
            )
        if self.kind == _AUDIT:
            return f"{_COUNTS}, and the trades, net profit and lots of alltime with upstream"
        return _COUNTS

    @property
    def _asked(self) -> str:
        if self.kind == _INSPECT:
            return "Upstream was not asked."
        sent = counted(self.requests, "request")
        if self._needs_upstream or self.requests:
            return f"Upstream was asked with {sent}."
        known = (
            "disagreements were repaired from stored rows, or are known and not due to be asked"
            " about"
        )
        return f"Upstream was not asked: {known if self.taken else 'nothing disagreed'}."


@dataclass(frozen=True, slots=True)
class LastLook:
    """An account's last comparison and run."""

    checked: dt.datetime | None
    agrees: bool
    run_id: object | None = None
    kind: str = ""
    outcome: str | None = None
    ended: dt.datetime | None = None
    rows: int | None = None

    @property
    def sentence(self) -> str:
        """What the account's state rests on."""
        if self.checked is None and self.ended is None:
            return "It rests on nothing yet: no run has compared the account."
        if self.ended is None or (
            self.checked is not None and _aware(self.checked) - _aware(self.ended) > _SLACK
        ):
            found = (
                "agreed, and no run had to take it"
                if self.agrees
                else "disagreed, and no run has taken it since"
            )
            return (
                f"Its tables were last compared with each other at {_minute(self.checked)}: they"
                f" {found}."
            )
        how = "by counts" if self.rows is None else f"row by row ({counted(self.rows, 'row')})"
        came = (
            "without being tried alone"
            if self.outcome is None
            else f"and came out as {self.outcome.replace('_', ' ')}"
        )
        return (
            f"Last compared {how} by the {self.kind} run {self.run_id}, at {_minute(self.ended)},"
            f" {came}."
        )


def audited(ended: dt.datetime | None, run_id: object | None, left_out: int = 0) -> str:
    """The age of the last comparison with upstream."""
    if ended is None:
        return (
            "No audit has compared all accounts with upstream yet: that tables agree rests on what"
            " the warehouse itself counts."
        )
    but = f" but {left_out}, which it left out or which failed," if left_out else ""
    return (
        f"All accounts{but} were last compared with upstream by the audit {run_id}, which ended at"
        f" {_minute(ended)}."
    )


def _minute(moment: dt.datetime | None) -> str:
    return "-" if moment is None else f"{_aware(moment):%Y-%m-%d %H:%M} UTC"


def _aware(moment: dt.datetime) -> dt.datetime:
    """PostgreSQL's infinity has no zone."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
