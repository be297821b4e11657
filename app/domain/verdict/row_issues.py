"""Issues that only a row comparison finds and closes."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from app.domain.accounts.comparison import Difference, Differs
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import TABLES
from app.domain.issues.codes import (
    BY_ROWS,
    COUNT_CODES,
    SAMPLE,
    SHOW_ROWS,
    Issue,
    IssueCode,
    Severity,
    plain_dates_evidence,
)
from app.domain.planning.descent import uncompared
from app.domain.wording.counts import choose, counted

if TYPE_CHECKING:
    import datetime as dt

_OVERWRITE = "overwrite_rows"
_LOOKED_AT = frozenset({*COUNT_CODES, IssueCode.UPSTREAM_DRIFT})


def compares_rows(view: AccountView) -> bool:
    """Whether an open issue needs one."""
    return any(_is_by_rows(entry) for entry in view.open_issues)


def difference_issues(
    differences: Sequence[Difference], seen: Collection[IssueCode]
) -> tuple[Issue, ...]:
    """Differing values, and counts not `seen`."""
    values = [each for each in differences if not each.counts]
    counts = [each for each in differences if each.counts] if _LOOKED_AT.isdisjoint(seen) else []
    issues = []
    if values:
        issues.append(_value_drift(values))
    if counts:
        rows = sum(each.rows for each in counts)
        text = (
            f"The tables agree with each other, and {_listed(counts)}"
            f" {choose(rows, 'differs', 'differ')} from what upstream sends."
        )
        issues.append(
            Issue(
                IssueCode.UPSTREAM_DRIFT,
                Severity.HIGH,
                text,
                _tables(counts),
                "refetch_all_data",
                _evidence(counts),
            )
        )
    return tuple(issues)


def found_by_rows(progress: Progress, seen: Collection[IssueCode]) -> tuple[Issue, ...]:
    """Issues of compared rows: unsent ones once removed, unsettled counts never."""
    left = {
        (each.endpoint, each.day) for each in _unequal(progress) if each.differs is Differs.UNSENT
    }
    differing = [
        each
        for each in progress.differing
        if each.differs is not Differs.UNSENT or (each.endpoint, each.day) not in left
    ]
    return difference_issues(
        [each for each in differing if not (each.counts and each.day in progress.moving)], seen
    )


def left_by_rows(
    view: AccountView, progress: Progress, seen: Collection[IssueCode]
) -> tuple[Issue, ...]:
    """Rows that still differ, or were not compared."""
    if not progress.by_rows:
        return ()
    # What upstream does not send is judged by the rules of removal.
    issues = difference_issues(
        [each for each in _unequal(progress) if each.differs is not Differs.UNSENT], seen
    )
    if uncompared(view, progress) is None:
        return issues
    codes = {issue.code for issue in issues}
    carried = [
        Issue.from_json(entry)
        for entry in view.open_issues
        if _is_by_rows(entry) and entry["type"] not in codes
    ]
    return (*issues, *carried)


def _unequal(progress: Progress) -> Iterable[Difference]:
    return (each for differences in progress.unequal.values() for each in differences)


def _is_by_rows(entry: Mapping[str, object]) -> bool:
    metadata = entry.get("metadata")
    return isinstance(metadata, Mapping) and metadata.get(BY_ROWS) is True


def _value_drift(differences: Sequence[Difference]) -> Issue:
    rows = sum(each.rows for each in differences)
    text = (
        f"{_listed(differences)} {choose(rows, 'differs', 'differ')} from what upstream sends,"
        " which no count of trades shows."
    )
    strategy = _OVERWRITE
    if all(each.refused for each in differences):
        text += " The table does not take upstream's values: they are set aside."
        strategy = SHOW_ROWS
    return Issue(
        IssueCode.VALUE_DRIFT,
        Severity.HIGH,
        text,
        _tables(differences),
        strategy,
        _evidence(differences),
    )


def _tables(differences: Iterable[Difference]) -> tuple[str, ...]:
    found = {each.endpoint for each in differences}
    return tuple(table.name for endpoint, table in TABLES.items() if endpoint in found)


def _listed(differences: Sequence[Difference]) -> str:
    rows: Counter[str] = Counter()
    for each in differences:
        rows[TABLES[each.endpoint].name] += each.rows
    return " and ".join(
        f"{counted(rows[table], 'row')} of {table}" for table in _tables(differences)
    )


def _evidence(differences: Sequence[Difference]) -> Mapping[str, object]:
    by_table: defaultdict[str, Counter[str]] = defaultdict(Counter)
    columns: defaultdict[str, Counter[str]] = defaultdict(Counter)
    days: set[dt.date] = set()
    for each in differences:
        table = TABLES[each.endpoint].name
        by_table[table][each.differs.value] += each.rows
        columns[table].update(dict.fromkeys(each.columns, each.rows))
        if each.day is not None:
            days.add(each.day)
    shown = [
        {
            "table": TABLES[each.endpoint].name,
            "date": None if each.day is None else each.day.isoformat(),
            "differs": each.differs.value,
            **sample,
        }
        for each in differences
        for sample in each.samples
    ]
    return {
        **plain_dates_evidence(sorted(days)),
        "total_mismatches": sum(each.rows for each in differences),
        "metadata": {
            BY_ROWS: True,
            "rows": {table: dict(kinds) for table, kinds in sorted(by_table.items())},
            "columns": {
                table: dict(sorted(names.items()))
                for table, names in sorted(columns.items())
                if names
            },
            "differences": shown[:SAMPLE],
        },
    }
