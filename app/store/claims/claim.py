"""Accounts that one worker holds for a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from app.domain.accounts.hold import Shown
from app.domain.accounts.progress import Effort
from app.domain.ids import AccountId, ClaimId, RunId
from app.domain.issues.codes import IssueCode
from app.store.database.transaction import Record

_CODES = frozenset(code.value for code in IssueCode)


@dataclass(frozen=True, slots=True)
class FirstPass:
    """Results before a postponement or interruption."""

    found: frozenset[IssueCode] = frozenset()
    effort: Effort = field(default_factory=Effort)

    def __add__(self, other: "FirstPass") -> "FirstPass":
        """The sum."""
        return FirstPass(self.found | other.found, self.effort + other.effort)


@dataclass(frozen=True, slots=True)
class Uncounted:
    """Work of an interrupted batch.

    The run counts it unless its recording succeeded.
    """

    efforts: Sequence[Effort]
    requests: int
    is_recording: bool


@dataclass(slots=True)
class BrokenOff:
    """Interrupted batches of a claim."""

    passes: dict[AccountId, FirstPass] = field(default_factory=dict)
    uncounted: list[Uncounted] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Claim:
    """Accounts of a run that are ours while our heartbeat lasts; every write checks `claim_id`.

    `postponed` came back after an incomplete fetch, `confirmed` has what was confirmed of held
    ones. All parts of a claim share `broken_off`. `by_rows`: every row is compared.
    """

    claim_id: ClaimId
    run_id: RunId
    account_ids: tuple[AccountId, ...]
    postponed: Mapping[AccountId, FirstPass] = field(default_factory=dict)
    confirmed: Mapping[str, Shown] = field(default_factory=dict)
    broken_off: BrokenOff = field(default_factory=BrokenOff)
    by_rows: bool = False

    def first_pass(self, account_id: AccountId) -> FirstPass | None:
        """What an earlier pass found and did; None on the first pass."""
        return self.broken_off.passes.get(account_id) or self.postponed.get(account_id)

    def note_broken_off(self, passes: Mapping[AccountId, FirstPass]) -> None:
        """Add interrupted results."""
        for account_id, done in passes.items():
            self.broken_off.passes[account_id] = (self.first_pass(account_id) or FirstPass()) + done


def noted(begun: tuple[AccountId, FirstPass]) -> dict[str, object]:
    """A first pass as JSON."""
    account_id, done = begun
    return {
        "account_id": account_id,
        "found": sorted(done.found),
        **msgspec.to_builtins(done.effort),
    }


def with_written(noted: FirstPass, row: Record) -> FirstPass:
    """Raise row counts to those that copies prove."""
    written: dict[str, int] = {
        what: max(getattr(noted.effort, what), row[what])
        for what in ("inserted", "updated", "moved", "removed")
    }
    effort = replace(noted.effort, **written)
    return FirstPass(
        noted.found | frozenset(IssueCode(code) for code in row["issues_open"] if code in _CODES),
        effort,
    )


def first_pass_of(row: Record) -> FirstPass:
    """A first pass from recon_attempts."""
    written: dict[str, int] = {
        what: row[f"rows_{what}"]
        for what in ("inserted", "updated", "moved", "removed", "set_aside")
    }
    effort = Effort(
        requests=row["requests"],
        values_nulled=row["values_nulled"],
        seconds=row["own_seconds"] or 0.0,
        **written,
    )
    effort.own_requests = row["own_requests"] or 0.0
    return FirstPass(frozenset(map(IssueCode, row["issues_found"])), effort)
