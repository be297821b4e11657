"""`trade-recon accept` and `unaccept`."""

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import ListFormat, Reason, date_like
from app.cli.reading import answer, open_record
from app.cli.runtime import ExitCode, perform
from app.domain.issues.codes import IssueCode
from app.domain.runs.orders import bounded_reason
from app.domain.wording.counts import choose, counted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rich.console import Console

    from app.engine.acceptances import Accepting
    from app.engine.report.models.accounts import AcceptedIssue, AcceptedIssues


Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account.")]
Code = Annotated[
    IssueCode,
    typer.Argument(metavar="CODE", help="The issue, as `accounts show ACCOUNT` names it."),
]


def accept(
    account: Annotated[str | None, typer.Argument(metavar="ACCOUNT", help="The account.")] = None,
    code: Annotated[
        IssueCode | None,
        typer.Argument(metavar="CODE", help="The issue, as `accounts show ACCOUNT` names it."),
    ] = None,
    *,
    reason: Reason = None,
    until: Annotated[
        dt.date | None,
        typer.Option(
            parser=date_like("2027-03-01"),
            metavar="DATE",
            help="The first date on which it counts again, within 366 days. [default: in 90 days]",
        ),
    ] = None,
    list_: Annotated[
        bool,
        typer.Option("--list", help="List accepted issues, first to end first; change nothing."),
    ] = False,
    format_: Annotated[
        ListFormat, typer.Option("--format", help="Of --list: for people or for programs.")
    ] = ListFormat.TABLE,
) -> None:
    """Accept an open issue of an account for a time.

    It stays shown, and holds nothing back until its figures change, its date comes, or `trade-recon
    unaccept` ends it.
    """
    if list_:
        if account is not None or reason is not None or until is not None:
            raise typer.BadParameter(
                "--list goes with nothing but --format: it lists what is accepted of all accounts."
            )
        perform(lambda: _listed(format_))
        return
    if account is None or code is None:
        raise typer.BadParameter(
            "Name the account and the issue: trade-recon accept ACCOUNT CODE --reason TEXT; or give"
            " --list."
        )
    if reason is None:
        raise typer.BadParameter("Give --reason TEXT: it is shown beside the issue.")
    perform(lambda: _accepted(account, code, reason, until))


def unaccept(
    account: Account,
    code: Code,
    *,
    reason: Reason = None,
) -> None:
    """Let an accepted issue count again."""
    perform(lambda: _withdrawn(account, code, bounded_reason(reason)))


async def _accepted(
    account_id: str, code: IssueCode, reason: str, until: dt.date | None
) -> ExitCode:
    accepted: list[AcceptedIssue] = []

    async def work(accepting: "Accepting") -> None:
        accepted.append(await accepting.accept(account_id, code, reason, until))

    console = await _ordered(work)
    told = (
        f"Accepted until {accepted[0].until}: {code.value} of {account_id}. It counts again then,"
        " or once its figures change."
    )
    console.print(told, markup=False, soft_wrap=True)
    return ExitCode.SUCCESS


async def _withdrawn(account_id: str, code: IssueCode, reason: str | None) -> ExitCode:
    changed: list[bool] = []

    async def work(accepting: "Accepting") -> None:
        changed.append(await accepting.withdraw(account_id, code, reason))

    console = await _ordered(work)
    told = "counts again." if changed == [True] else "is not accepted: nothing was changed."
    console.print(f"{code.value} of {account_id} {told}", markup=False, soft_wrap=True)
    return ExitCode.SUCCESS


async def _ordered(work: "Callable[[Accepting], Awaitable[None]]") -> "Console":
    from app.cli.output.tables import results_console
    from app.composition import open_readings, open_store
    from app.engine.acceptances import Accepting
    from app.settings.load import load_settings

    settings = load_settings()
    async with open_store(settings) as store:
        await work(Accepting(store, open_readings(settings, store).today()))
    return results_console()


async def _listed(format_: ListFormat) -> ExitCode:
    async with open_record() as readings:
        found = await readings.accepted_issues()
    answer(found, format_, _show_list)
    return ExitCode.SUCCESS


def _show_list(console: "Console", found: "AcceptedIssues") -> None:
    from rich.markup import escape

    from app.cli.output.tables import id_cell, plain_table

    rows, more = found.accepted, found.more
    if not rows:
        console.print("Nothing is accepted.")
        return
    shown = f", {len(rows)} of them shown" if more else ""
    table = plain_table(
        f"{counted(len(rows) + more, 'accepted issue')}{shown}, the first to end first",
        "account",
        "issue",
        "until",
        "accepted",
        "reason",
    )
    for row in rows:
        cells = (
            row.issue,
            row.until,
            f"{row.accepted_at:%Y-%m-%d}",
            row.reason,
        )
        table.add_row(id_cell(row.account_id), *(escape(str(cell)) for cell in cells))
    console.print(table)
    if more:
        console.print(
            f"{counted(more, 'more accepted issue')} {choose(more, 'is', 'are')} not shown."
        )
