"""docs/reference/issues.md: each issue code with what it means, how severe it is and what heals it;
its groups are those of the code.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.issues.codes import IDENTITY_CODES, LASTING, NOT_OURS_TO_HEAL, IssueCode, Severity
from tools.reference.markdown import code, page, prose, table

_HEAD = """\
An issue is one kind of disagreement of one account. Issues stand in `trade_recon.issues` and, with
their evidence, in `GET /accounts/{id}`. `app/domain/issues/detection.py` finds those that the
warehouse tells; `app/domain/verdict/explanation.py` those that only upstream tells.

An issue is closed where detection, run again after the write, does not find it; the history keeps
it as `healed`, `relabelled` or `gone` ([verdicts](../explanation/verdicts.md))."""
_SEVERITIES = """\
Severities: 1 critical, 2 high, 3 medium, 5 for information. A total that differs by more than a
tenth is high, by less medium."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a code means and what heals it, in words, and the severities with which it is
    recorded.
    """

    meaning: str
    healing: str
    severities: tuple[Severity, ...]


_SHOWN_ALONE = frozenset({IssueCode.SUSPICIOUSLY_FEW_HOURS})
"""No run takes an account for them."""
_HIGH, _MEDIUM, _INFO = (Severity.HIGH,), (Severity.MEDIUM,), (Severity.INFO,)

EXPLANATIONS: Mapping[IssueCode, Explanation] = {
    IssueCode.NULL_ACCOUNT_ID_CLOSED_TRADES: Explanation(
        "Closed trades have no account id, and their natural key is this account's.",
        "The id is set by a join on the natural key.",
        _HIGH,
    ),
    IssueCode.NULL_ACCOUNT_ID_OPEN_TRADES: Explanation(
        "Open trades have no account id, and their natural key is this account's.",
        "The id is set by a join on the natural key.",
        _HIGH,
    ),
    IssueCode.MISSING_METRICS_TABLES: Explanation(
        "The account is in some metrics tables and not in others.",
        "The missing rows are fetched.",
        _HIGH,
    ),
    IssueCode.MISSING_TRADE_RECORDS: Explanation(
        "Alltime counts trades, and none is stored.",
        "All closed trades are fetched.",
        (Severity.CRITICAL,),
    ),
    IssueCode.TRADE_COUNT_MISMATCH: Explanation(
        "The totals of alltime, daily, hourly rows and closed trades differ.",
        "The dates that differ are fetched.",
        (*_HIGH, *_MEDIUM),
    ),
    IssueCode.DAILY_WITHOUT_HOURLY: Explanation(
        "On a date daily has trades, and there is no hourly row.",
        "Hourly rows are fetched for those dates.",
        _HIGH,
    ),
    IssueCode.HOURLY_WITHOUT_DAILY: Explanation(
        "On a date hourly has trades, and there is no daily row.",
        "Daily rows are fetched for those dates.",
        _HIGH,
    ),
    IssueCode.HOURLY_DAILY_MISMATCH: Explanation(
        "On a date hourly rows do not add up to daily.", "Those dates are fetched.", _MEDIUM
    ),
    IssueCode.TRADES_DAILY_MISMATCH: Explanation(
        "On a date closed trades do not add up to daily.", "Those dates are fetched.", _MEDIUM
    ),
    IssueCode.FOREIGN_ACCOUNT_ID: Explanation(
        "An account id is a placeholder, or was not the natural key's on that date.",
        "The rows are reassigned if exactly one account fits; metrics rows once upstream, asked"
        " again, confirms it.",
        _HIGH,
    ),
    IssueCode.AMBIGUOUS_IDENTITY: Explanation(
        "A natural key fits several accounts.", "Shown with the candidates, never guessed.", _HIGH
    ),
    IssueCode.UPSTREAM_DRIFT: Explanation(
        "The warehouse agrees with itself and not with upstream (found by an audit, or where rows"
        " are read whole).",
        "What differs is fetched.",
        _HIGH,
    ),
    IssueCode.VALUE_DRIFT: Explanation(
        "Rows that were read whole hold other values than upstream sends, or are missing, and no"
        " count shows it.",
        "Overwritten or inserted, with copies, under the guards; the history keeps columns, dates,"
        " old and new values. Only another comparison of rows closes it.",
        _HIGH,
    ),
    IssueCode.MONEY_MISMATCH: Explanation(
        "Counts agree, and sums of net profit or lots differ between tables, for a relation that"
        " 95 % of the accounts keep, or kept once and half still do.",
        "The dates that differ are fetched, first of the table that contradicts the others; where"
        " only alltime differs, that. What upstream sends alike becomes `upstream_inconsistent`.",
        _HIGH,
    ),
    IssueCode.ABSENT_UPSTREAM: Explanation(
        "Upstream does not send stored rows, although they were asked for twice in different"
        " shapes.",
        "Kept and shown; asked for again after 1, 2, 4 days and so on.",
        _MEDIUM,
    ),
    IssueCode.UPSTREAM_INCONSISTENT: Explanation(
        "Upstream, read again in two shapes, contradicts itself.",
        "Shown with its figures; asked for again as above.",
        _INFO,
    ),
    IssueCode.KEY_TOO_NARROW: Explanation(
        "A table's own key cannot hold two rows of upstream.",
        "Nothing is overwritten, and both are shown; the table's owner decides.",
        _HIGH,
    ),
    IssueCode.IMPOSSIBLE_DATE: Explanation(
        "Stored rows have a date that no calendar holds (infinity, before year 1, after year 9999,"
        " none).",
        "Named, kept, left out of every count.",
        _MEDIUM,
    ),
    IssueCode.PINNED_BY_RESTORE: Explanation(
        "Rows that `removed restore` brought back differ from upstream, or may.",
        "They stay as restored until `removed release`, or until upstream sends the same values.",
        _INFO,
    ),
    IssueCode.SUSPICIOUSLY_FEW_HOURS: Explanation(
        "More than ten trades of a date stand in a single hourly row.",
        "Shown for information; where hourly rows do not add up, that is an issue of its own.",
        _INFO,
    ),
    IssueCode.HISTORY_UNREAD: Explanation(
        "What upstream counts before `RECON_HISTORY_FROM` could not be read, so that alltime is not"
        " compared.",
        "The next run reads it again.",
        _MEDIUM,
    ),
    IssueCode.UNSETTLED: Explanation(
        "The difference lies in dates that upstream still changes.",
        "Nothing is removed or lowered there; the next run reads them again.",
        _INFO,
    ),
}
"""Each code in words; a test asks for all of them, and compares severities with those in the
code.
"""


def issues_page() -> str:
    """The page."""
    groups = (
        (
            "Healed by a run",
            [
                each
                for each in IssueCode
                if each not in NOT_OURS_TO_HEAL | IDENTITY_CODES | _SHOWN_ALONE
            ],
        ),
        (
            "Account ids, healed inside the warehouse",
            [each for each in IssueCode if each in IDENTITY_CODES - NOT_OURS_TO_HEAL],
        ),
        ("For information alone", [each for each in IssueCode if each in _SHOWN_ALONE]),
        ("Not the warehouse's to heal", [each for each in IssueCode if each in NOT_OURS_TO_HEAL]),
    )
    parts = [
        f"## {name}\n\n{table(('code', 'severity', 'meaning', 'what heals it'), map(_row, codes))}"
        for name, codes in groups
    ]
    lasting = ", ".join(code(each.value) for each in IssueCode if each in LASTING)
    asked = (
        "Full runs ask about these with growing pauses while the account stays as it is, audits"
        f" always: {lasting} and, where no unsettled date disagrees,"
        f" {code(IssueCode.UPSTREAM_INCONSISTENT.value)}."
    )
    return page("Issues", f"{_HEAD}\n\n{_SEVERITIES}", *parts, prose(asked))


def _row(each: IssueCode) -> list[str]:
    told = EXPLANATIONS[each]
    return [
        code(each.value),
        ", ".join(str(int(severity)) for severity in told.severities),
        told.meaning,
        told.healing,
    ]
