"""Each kind of damage does something and shows as an issue; each issue has a damage, or a reason
why none.
"""

from collections.abc import Mapping

from app.domain.issues.codes import IssueCode
from app.sandbox.damage.damage import CODES
from app.sandbox.damage.kinds import DamageKind, MoneyKind
from app.sandbox.damage.wreckers import WRECKERS

_WITHOUT_DAMAGE: Mapping[IssueCode, str] = {
    IssueCode.ABSENT_UPSTREAM: "upstream forgets: World.forget",
    IssueCode.UPSTREAM_INCONSISTENT: "upstream contradicts itself: Contradiction",
    IssueCode.UNSETTLED: "upstream lags behind on today: Contradiction.LAGGING_TODAY",
    IssueCode.KEY_TOO_NARROW: "the table's own key is at fault, not its rows",
    IssueCode.IMPOSSIBLE_DATE: "stays until the owner corrects it, so that nothing would end equal",
    IssueCode.SUSPICIOUSLY_FEW_HOURS: "for information: nothing is wrong",
    IssueCode.HISTORY_UNREAD: "a read fails: Faults",
    IssueCode.PINNED_BY_RESTORE: "follows from a restore",
    IssueCode.VALUE_DRIFT: "DRIFT_MONEY, which a comparison of rows shows as this",
}


def test_each_issue_code_has_a_damage_or_a_reason_why_none() -> None:
    damaged = set(CODES.values())
    assert damaged | set(_WITHOUT_DAMAGE) == set(IssueCode)
    assert damaged.isdisjoint(_WITHOUT_DAMAGE)


def test_each_kind_does_something_and_shows_as_an_issue() -> None:
    assert set(WRECKERS) == set(DamageKind)
    assert set(CODES) == {*DamageKind, *MoneyKind}
