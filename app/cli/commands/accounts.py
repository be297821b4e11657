"""`trade-recon accounts`: accounts by their state and issues, and one as it stands."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.mistakes import SuggestingGroup
from app.cli.runtime import ExitCode, perform
from app.domain.issues.codes import IssueCode
from app.domain.states import Outcome
from app.domain.wording.counts import counted
from app.errors import InvalidRequest

if TYPE_CHECKING:
    from rich.console import Console

    from app.store.report.account_reader import AccountReport

_ATTEMPTS_SHOWN = 5
_STATUSES = {
    Outcome.NEEDS_CONFIRMATION.value: "is held and needs confirmation",
    "needs_reconciliation": "needs reconciliation",
    Outcome.FAILED.value: "failed and backs off",
    Outcome.PARTIAL.value: "was healed in part",
}
"""How an account stands, where its status is no adjective."""


class ListFormat(StrEnum):
    """How results are written."""

    TABLE = "table"
    JSON = "json"


class AccountStatus(StrEnum):
    """What the last run made of an account, as the report counts it."""

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

Format = Annotated[ListFormat, typer.Option("--format", help="For people or for programs.")]


@dataclass(frozen=True, slots=True)
class _View:
    """Which accounts are listed: of these states and with this issue (None: any), behind `after`,
    at most `limit`.
    """

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
        bool, typer.Option("--held", help="Only accounts that wait for somebody who confirms them.")
    ] = False,
    issue: Annotated[
        IssueCode | None, typer.Option(help="Only accounts with this open issue.")
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="ID", help="Only accounts behind this one.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    format_: Annotated[
        ListFormat, typer.Option("--format", help="For people or for programs.")
    ] = ListFormat.TABLE,
) -> None:
    """List accounts in the order of their ids."""
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
    """Show an account: status, totals, open issues, the last attempts, and why it is held."""
    perform(lambda: _shown(account, format_))


async def _listed(view: _View) -> ExitCode:
    from app.cli.output import results_console
    from app.composition import open_readings, open_store
    from app.settings import load_settings

    settings = load_settings()
    async with open_store(settings, only_reads=True) as store:
        rows = await open_readings(settings, store).accounts(
            view.statuses, view.issue, view.after, view.limit + 1
        )
    listed = [dict(row) for row in rows[: view.limit]]
    following = listed[-1]["account_id"] if len(rows) > view.limit else None
    if view.format is ListFormat.JSON:
        import msgspec

        body = msgspec.json.encode({"accounts": listed, "next_after": following})
        sys.stdout.write(msgspec.json.format(body, indent=2).decode() + "\n")
    else:
        _show_list(results_console(), listed, following)
    return ExitCode.SUCCESS


async def _shown(account_id: str, format_: ListFormat) -> ExitCode:
    from app.cli.output import results_console
    from app.composition import open_readings, open_store
    from app.settings import load_settings
    from app.web.views import shown_account

    if "\0" in account_id:
        raise InvalidRequest("An account id holds no NUL character.")
    settings = load_settings()
    async with open_store(settings, only_reads=True) as store:
        found = await open_readings(settings, store).account(account_id)
    if format_ is ListFormat.JSON:
        # In the model of the HTTP route, so that both faces answer alike.
        sys.stdout.write(shown_account(found).model_dump_json(indent=2) + "\n")
    else:
        _show(results_console(), found)
    return ExitCode.SUCCESS


def _show_list(
    console: "Console", rows: Sequence[Mapping[str, Any]], following: str | None
) -> None:
    from rich.markup import escape

    from app.cli.output import plain_table

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
        checked = "-" if row["last_checked"] is None else f"{row['last_checked']:%Y-%m-%d %H:%M}"
        totals = (
            row[f"num_trades_{name}"] for name in ("alltime", "daily", "hourly", "raw_closed")
        )
        issues = ", ".join(row["issues"]) or "-"
        table.add_row(
            escape(row["account_id"]),
            escape(str(row["status"])),
            *(str(total) for total in totals),
            checked,
            escape(issues),
        )
    console.print(table)
    if following is not None:
        console.print(f"There are more: --after {following}", markup=False, soft_wrap=True)


def _show(console: "Console", found: "AccountReport") -> None:
    from rich.markup import escape

    from app.cli.output import plain_table, severity_name

    state = found.state
    issues: list[Mapping[str, Any]] = [each for each in found.issues if isinstance(each, dict)]
    status = str(state["status"])
    told = _STATUSES.get(status) or f"is {status.replace('_', ' ')}"
    console.print(
        f"{state['account_id']} {told}, with {counted(len(issues), 'open issue')}.",
        markup=False,
        soft_wrap=True,
    )
    console.print(found.rests_on, markup=False, soft_wrap=True)
    table = plain_table("Trades", "#alltime", "#daily", "#hourly", "#closed")
    table.add_row(
        *(str(state[f"num_trades_{name}"]) for name in ("alltime", "daily", "hourly", "raw_closed"))
    )
    console.print(table)
    accepted = {row["issue"]: row for row in found.accepted}
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
                f"  accepted until {row['until']}: {row['reason']}", markup=False, soft_wrap=True
            )
    if not found.attempts:
        return
    attempts = plain_table("Last attempts", "ended (UTC)", "kind", "outcome", "run", "detail")
    for attempt in found.attempts[:_ATTEMPTS_SHOWN]:
        cells = (
            f"{attempt['finished_at']:%Y-%m-%d %H:%M:%S}",
            attempt["kind"],
            attempt["outcome"],
            attempt["run_id"],
            attempt["detail"],
        )
        attempts.add_row(*("-" if cell is None else escape(str(cell)) for cell in cells))
    console.print(attempts)
