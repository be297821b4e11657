"""The demonstration's output; `--verbose` shows all tables."""

import textwrap
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from rich.console import Console
from rich.table import Table

from app.cli.output.issues import issues_table
from app.cli.output.runs import run_seconds
from app.cli.output.tables import plain_table
from app.domain.contract.tables import TABLES, Endpoint
from app.domain.issues.codes import IssueCode
from app.domain.wording.counts import choose, counted
from app.engine.report.models.api import ApiUse
from app.engine.report.models.report import Report
from app.engine.report.models.runs import RunState
from app.sandbox.damage.damage import Damage
from app.sandbox.witness.comparison import Comparison, Difference, DifferenceKind

_DIFFERENCES_SHOWN = 10
_REASONS_SHOWN = 4
_EXAMPLE_WIDTH = 70
_INDENT = 12
_OUTCOMES = ("unchanged", "healed", "explained", "partial", "failed", "needs_confirmation")
_IDS = ("closed_trades_updated", "open_trades_updated", "metrics_rows_updated")
_FORGOTTEN = "upstream has forgotten the account"


@dataclass(frozen=True, slots=True)
class NamedAccount:
    """An account with a known reason."""

    account_id: str
    rows: int
    codes: Collection[IssueCode]
    reason: str


@dataclass(frozen=True, slots=True)
class Output:
    """The console, and how much is shown."""

    console: Console
    is_verbose: bool

    def opened(self, accounts: int, *, is_real: bool) -> None:
        """The scene."""
        origin = "from the trades given" if is_real else "made up"
        self._say(
            f"A trading firm with {counted(accounts, 'account')}, {origin}:"
            " a PostgreSQL warehouse, and upstream, the API that it copies.\n"
        )

    def filled(self, rows: Mapping[Endpoint, int], seconds: float) -> None:
        """The warehouse copied upstream."""
        total = f"{sum(rows.values()):,} rows"
        self._step("1. Fill", f"{total} are copied from upstream in {seconds:.1f} s.")
        if self.is_verbose:
            held = (f"{TABLES[endpoint].name} {count}" for endpoint, count in rows.items())
            self._step("", f"Rows by table: {', '.join(held)}.\n")

    def damaged(self, done: Sequence[Damage], forgotten: Sequence[str]) -> None:
        """Damage, and accounts that upstream forgot."""
        by_kind: dict[str, list[Damage]] = defaultdict(list)
        for each in done:
            by_kind[each.kind].append(each)
        ways = counted(len(by_kind) + bool(forgotten), "way")
        hit = len({each.account_ids[0] for each in done}.union(forgotten))
        verb = choose(hit, "is", "are")
        self._step("2. Damage", f"{counted(hit, 'account')} {verb} broken, in {ways}.")
        table = plain_table("Damage", "shows as", "#accounts", "for example", "what was done there")
        for damages in by_kind.values():
            first = damages[0]
            count = str(len(damages))
            table.add_row(first.code.value, count, first.account_ids[0], first.description)
        if forgotten:
            code = IssueCode.ABSENT_UPSTREAM.value
            table.add_row(code, str(len(forgotten)), forgotten[0], _FORGOTTEN)
        self._show(table)

    def inspected(self, report: Report) -> None:
        """Findings without asking upstream."""
        found = counted(report.overall.has_issues, "account")
        self._step("3. Inspect", f"Without asking upstream trade-recon finds {found} with issues.")
        title = "Before: what trade-recon sees without asking upstream"
        self._show(issues_table(title, report.issues_by_type))

    def repaired(self, state: RunState, api: ApiUse, rate: float) -> None:
        """The run's work."""
        accounts, rows = state.accounts, state.rows
        healed, requests = accounts.healed, counted(state.requests, "request")
        repaired = f"{counted(healed, 'account')} {choose(healed, 'is', 'are')} repaired"
        effort = f"with {requests} in {run_seconds(state)} s"
        self._step("4. Repair", f"{repaired} {effort}; {rate:.0f} a second are allowed.")
        assigned = sum(state.maintenance.get(name, 0) for name in _IDS)
        verb = choose(assigned, "gets its", "get their")
        rows_assigned = counted(assigned, "row")
        self._step("", f"{rows_assigned} {verb} account id from the warehouse alone.")
        written = (
            f"{rows.inserted} rows inserted, {rows.updated} overwritten,"
            f" {rows.moved} moved, {rows.removed} removed"
        )
        self._step("", f"{written}; what is replaced is kept.")
        counts = msgspec.structs.asdict(accounts)
        outcomes = (f"{counts[name]} {name.replace('_', ' ')}" for name in _OUTCOMES)
        asked = (
            f"{endpoint} {use.requests}" for endpoint, use in api.endpoints.items() if use.requests
        )
        throttled = sum(use.throttled for use in api.endpoints.values())
        table = plain_table(f"The audit run: {state.status}", "", "")
        table.add_row("accounts", f"{accounts.total}: {', '.join(outcomes)}")
        table.add_row("rows set aside", str(rows.set_aside))
        table.add_row("requests", f"{', '.join(asked)}; {throttled} of them above the quota")
        self._show(table)

    def compared(self, report: Report, comparison: Comparison) -> None:
        """The comparison, and issues left."""
        tables = comparison.tables.values()
        sent = sum(each.upstream_rows for each in tables)
        missing = sum(each.missing for each in tables)
        differing = sum(each.differing for each in tables)
        found = f"{missing} are missing, and {differing} differ"
        self._step("5. Compare", f"Of {sent:,} rows of upstream {found}.")
        if surplus := sum(each.surplus for each in tables):
            verb = choose(surplus, "is", "are")
            self._step("", f"{counted(surplus, 'row')} that upstream lacks {verb} kept, and named.")
        self._show(issues_table("After: the issues that are left", report.issues_by_type))
        heads = ("table", "#upstream", "#warehouse", "#missing", "#surplus", "#differing")
        table = plain_table("Every row compared", *heads)
        for each in tables:
            held = (each.upstream_rows, each.warehouse_rows)
            counts = (*held, each.missing, each.surplus, each.differing)
            table.add_row(each.table, *map(str, counts))
        self._show(table)

    def issues(
        self,
        done: Sequence[Damage],
        forgotten: Sequence[str],
        before: Report,
        after: Report,
    ) -> None:
        """Accounts by issue, unless `--verbose` shows them apart."""
        if self.is_verbose:
            return
        # The shortest description of each: the table keeps one line for an issue.
        by_length = sorted(done, key=lambda each: len(each.description), reverse=True)
        examples = {each.code.value: each.description for each in by_length}
        damaged = Counter(each.code.value for each in done)
        if forgotten:
            damaged[IssueCode.ABSENT_UPSTREAM.value] = len(forgotten)
            examples[IssueCode.ABSENT_UPSTREAM.value] = _FORGOTTEN
        found, left = _accounts(before), _accounts(after)
        title = "\nAccounts by issue: damaged, found by the inspection, left after the repair"
        heads = ("issue", "#damaged", "#found", "#left", "one of the damages")
        table = plain_table(title, *heads)
        for name in (code.value for code in IssueCode):
            counts = (damaged[name], found[name], left[name])
            if any(counts):
                example = examples.get(name, "none: upstream contradicts itself")
                shown = textwrap.shorten(example, _EXAMPLE_WIDTH, placeholder=" ...")
                table.add_row(name, *(str(count or "-") for count in counts), shown)
        self.console.print(table)

    def named(self, accounts: Sequence[NamedAccount]) -> None:
        """Accounts that keep something, with reasons."""
        if self.is_verbose and accounts:
            heads = ("account", "#rows kept", "issues left", "reason")
            table = plain_table("Accounts that are named", *heads)
            for each in accounts:
                codes = ", ".join(sorted(each.codes))
                table.add_row(each.account_id, str(each.rows), codes, each.reason)
            self._show(table)
        elif accounts:
            self._say(f"\n{counted(len(accounts), 'account')} left, not the warehouse's to repair:")
            self._reasons(accounts)

    def _reasons(self, accounts: Sequence[NamedAccount]) -> None:
        by_reason: dict[str, list[NamedAccount]] = defaultdict(list)
        for each in accounts:
            by_reason[each.reason].append(each)
        most = sorted(by_reason.items(), key=lambda each: len(each[1]), reverse=True)
        for reason, those in most[:_REASONS_SHOWN]:
            self._say(f"  {len(those)}, such as {those[0].account_id}: {reason}")
        if rest := sum(len(those) for _, those in most[_REASONS_SHOWN:]):
            self._say(f"  {rest} for other reasons: `--verbose` names them")

    def judged(
        self,
        state: RunState,
        unexplained: Sequence[str],
        nameless: Sequence[Difference],
        *,
        has_named: bool,
    ) -> None:
        """Whether the warehouse equals upstream."""
        rows = [
            f"{each.table}: {each.kind.value} row {each.key} of no account"
            for each in nameless[:_DIFFERENCES_SHOWN]
        ]
        self._say("")
        for line in (*unexplained, *rows):
            self._say(f"NOT EXPLAINED  {line}")
        if unexplained or nameless:
            number = f"{counted(len(unexplained), 'account')} and {counted(len(nameless), 'row')}"
            self._say(f"NOT EQUAL: {number} differ without a known reason.")
            return
        effort = f"after {run_seconds(state)} s and {counted(state.requests, 'request')}"
        rest = "but for the accounts named above." if has_named else "without exception."
        self._say(f"Equal: {effort} each row of the warehouse is as upstream has it, {rest}")

    def closed(self, seconds: float) -> None:
        """The time taken."""
        more = "" if self.is_verbose else " `--verbose` shows every table."
        self._say(f"The demonstration took {seconds:.1f} s.{more}")

    def _step(self, name: str, text: str) -> None:
        self._say(f"{name:{_INDENT}}{text}")

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def _show(self, table: Table) -> None:
        if self.is_verbose:
            self.console.print(table)
            self.console.print()


def unexplained(
    account_id: str, kinds: Collection[DifferenceKind], codes: Collection[IssueCode]
) -> str:
    """The line of an unexplained account."""
    left = ", ".join(sorted(codes)) or "none"
    return f"{account_id}: {counted(len(kinds), 'differing row')}, issues left: {left}"


def _accounts(report: Report) -> Counter[str]:
    figures: Counter[str] = Counter()
    for issue in report.issues_by_type:
        figures[issue.issue_type] += issue.account_count
    return figures
