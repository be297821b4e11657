"""Known reasons of accounts to differ in the end."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from app.domain.issues.codes import IssueCode
from app.sandbox.damage.damage import Damage
from app.sandbox.witness.comparison import DifferenceKind
from app.sandbox.world.world import World


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason to keep issues with `codes`; `keeps_rows`: and rows that upstream lacks."""

    reason: str
    codes: frozenset[IssueCode]
    keeps_rows: bool

    def explains(
        self, codes: Collection[IssueCode], differences: Collection[DifferenceKind]
    ) -> bool:
        """Whether it explains these issues and rows."""
        allowed = {DifferenceKind.SURPLUS} if self.keeps_rows else set[DifferenceKind]()
        return bool(codes) and self.codes.issuperset(codes) and allowed.issuperset(differences)


def causes(world: World, done: Sequence[Damage], forgotten: Sequence[str]) -> dict[str, Cause]:
    """Accounts with a reason before the run."""
    told = frozenset(
        {IssueCode.UPSTREAM_INCONSISTENT, IssueCode.UNSETTLED, IssueCode.AMBIGUOUS_IDENTITY}
    )
    known = {
        account_id: Cause(f"upstream: {contradiction.value}", told, keeps_rows=False)
        for account_id, contradiction in world.contradictions.items()
    }
    absent = Cause(
        "upstream has forgotten it: kept", frozenset({IssueCode.ABSENT_UPSTREAM}), keeps_rows=True
    )
    known |= dict.fromkeys(forgotten, absent)
    shared = Cause(
        "two accounts with one natural key: not guessed",
        frozenset({IssueCode.AMBIGUOUS_IDENTITY, IssueCode.ABSENT_UPSTREAM}),
        keeps_rows=True,
    )
    for each in done:
        if not each.is_healable:
            known |= dict.fromkeys(each.account_ids, shared)
    return known
