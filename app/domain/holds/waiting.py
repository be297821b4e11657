"""Sentences of a run that holds accounts."""

from dataclasses import dataclass

from app.domain.states import RunStatus
from app.domain.wording.counts import choose, counted


def confirming(run_id: object) -> str:
    """How to confirm a run."""
    return f"`trade-recon confirm {run_id}` or POST /runs/{run_id}/confirm"


@dataclass(frozen=True, slots=True)
class Waiting:
    """The accounts that a run leaves held, those `newly` so, and `since` which run others are.

    A run that `was_confirmed` may have held the others itself. `still` are held now (None: all).
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
        """Accounts that wait, and what to do."""
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
                " they were accepted."
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
                " others, or they were accepted. GET /accounts/ID tells why each is"
                f" held.{call}"
            )
        return (
            f"{counted(self.accounts, 'account')} {choose(self.accounts, 'waits', 'wait')} for"
            f" confirmation: {self.newly} newly held by this run{before}. GET /accounts/ID tells"
            f" why each is held.{call}"
        )
