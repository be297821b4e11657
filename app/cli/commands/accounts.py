"""`trade-recon accounts`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.mistakes import SuggestingGroup
from app.cli.options import Format, ListFormat
from app.cli.reading import answer, open_record
from app.cli.runtime import ExitCode, perform
from app.domain.issues.codes import IssueCode
from app.domain.states import Outcome
from app.domain.wording.counts import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from app.engine.report.models.accounts import AccountList, AccountState

_ATTEMPTS_SHOWN = 5
_STATUSES = {
    Outcome.NEEDS_CONFIRMATION.value: "is held and needs confirmation",
    "needs_reconciliation": "needs reconciliation",
    Outcome.FAILED.value: "failed and backs off",
    Outcome.PARTIAL.value: "was healed in part",
}


class AccountStatus(StrEnum):
    """An account's status in the report."""

    RECONCILED = "reconciled"
    NEEDS_RECONCILIATION = "needs_reconciliation"
    EXPLAINED = "explained"
    FAILED = "failed"
    EXHAUSTED = "exhausted"
    FLAPPING = "flapping"
    NEEDS_CONFIRMATION = "needs_confirmation"
    PENDING = "pending"


accounts = typer.Typer(
    cls=SuggestingGroup,
    rich_markup_mode=None,
    help="List accounts by state and issue, and show one.",
)


@dataclass(frozen=True, slots=True)
class _View:
    """Filters; None: any."""

    statuses: Sequence[str] | None = None
    issue: str | None = None
    after: str | None = None
    limit: int = 50
    format: ListFormat = ListFormat.TABLE


@accounts.callback(invoke_without_command=True)
def list_by_default(context: typer.Context) -> None:
    """List accounts by state and issue, and show one. Without a command: list."""
    if context.invoked_subcommand is None:
        perform(lambda: _listed(_View()))


@accounts.command("list")
def list_accounts(
    *,
    status: Annotated[
        list[AccountStatus] | None,
        typer.Option(
            metavar="STATUS",
            help="Only accounts of this state, as the report counts them; may be given again.",
        ),
    ] = None,
    held: Annotated[
        bool, typer.Option("--held", help="Only accounts that wait for confirmation.")
    ] = False,
    issue: Annotated[
        IssueCode | None, typer.Option(help="Only accounts with this open issue.")
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="ID", help="Only accounts after this one.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 50,
    format_: Format = ListFormat.TABLE,
) -> None:
    """List accounts by id."""
    statuses = [
        *(each.value for each in status or ()),
        *([Outcome.NEEDS_CONFIRMATION.value] if held else ()),
    ]
    perform(lambda: _listed(_View(statuses or None, issue, after, limit, format_)))


@accounts.command()
def show(
    account: Annotated[str, typer.Argument(metavar="ID", help="The account.")],
    format_: Format = ListFormat.TABLE,
) -> None:
    """Show an account with its issues and attempts.

    Also its totals, and why it is held.
    """
    perform(lambda: _shown(account, format_))


async def _listed(view: _View) -> ExitCode:
    async with open_record() as readings:
        found = await readings.accounts(view.statuses, view.issue, view.after, view.limit)
    answer(found, view.format, _show_list)
    return ExitCode.SUCCESS


async def _shown(account_id: str, format_: ListFormat) -> ExitCode:
    async with open_record() as readings:
        found = await readings.account(account_id)
    answer(found, format_, _show)
    return ExitCode.SUCCESS


def _show_list(console: "Console", found: "AccountList") -> None:
    from rich.markup import escape

    from app.cli.output.tables import id_cell, plain_table

    rows = found.accounts
    if not rows:
        console.print("There is no account that fits.")
        return
    columns = (
        "account",
        "status",
        "#alltime",
        "#daily",
        "#hourly",
        "#closed",
        "checked (UTC)",
        "issues",
    )
    table = plain_table(f"{counted(len(rows), 'account')}, by id", *columns)
    for row in rows:
        checked = "-" if row.last_checked is None else f"{row.last_checked:%Y-%m-%d %H:%M}"
        issues = ", ".join(row.issues) or "-"
        table.add_row(
            id_cell(row.account_id),
            escape(str(row.status)),
            *map(str, row.trades),
            checked,
            escape(issues),
        )
    console.print(table)
    if found.next_after is not None:
        console.print(f"There are more: --after {found.next_after}", markup=False, soft_wrap=True)


def _show(console: "Console", found: "AccountState") -> None:
    from app.cli.output.tables import plain_table

    issues: list[Mapping[str, Any]] = [each for each in found.issues if isinstance(each, dict)]
    status = str(found.status)
    told = _STATUSES.get(status) or f"is {status.replace('_', ' ')}"
    console.print(
        f"{found.account_id} {told}, with {counted(len(issues), 'open issue')}.",
        markup=False,
        soft_wrap=True,
    )
    console.print(found.rests_on, markup=False, soft_wrap=True)
    table = plain_table("Trades", "#alltime", "#daily", "#hourly", "#closed")
    table.add_row(*map(str, found.stats.trades))
    console.print(table)
    _show_issues(console, issues, found)
    if found.attempts:
        console.print(_attempts(found))


def _show_issues(
    console: "Console", issues: "Sequence[Mapping[str, Any]]", found: "AccountState"
) -> None:
    from app.cli.output.issues import severity_name

    accepted = {row.issue: row for row in found.accepted}
    for issue in issues:
        severity = issue.get("severity")
        named = severity_name(severity) if isinstance(severity, int) else "-"
        console.print(
            f"{issue.get('type', '-')} ({named}): {issue.get('description', '')}",
            markup=False,
            soft_wrap=True,
        )
        if (row := accepted.get(str(issue.get("type")))) is not None:
            console.print(
                f"  accepted until {row.until}: {row.reason}", markup=False, soft_wrap=True
            )


def _attempts(found: "AccountState") -> "Table":
    from rich.markup import escape

    from app.cli.output.tables import plain_table

    attempts = plain_table("Last attempts", "ended (UTC)", "kind", "outcome", "run", "detail")
    for attempt in found.attempts[:_ATTEMPTS_SHOWN]:
        cells = (
            f"{attempt.finished_at:%Y-%m-%d %H:%M:%S}",
            attempt.kind,
            attempt.outcome,
            attempt.run_id,
            attempt.detail,
        )
        attempts.add_row(*("-" if cell is None else escape(str(cell)) for cell in cells))
    return attempts
