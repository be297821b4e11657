"""`trade-recon inspect`: detection only."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import Format, ListFormat, Reason
from app.cli.runtime import ExitCode, perform
from app.domain.runs.orders import bounded_reason
from app.domain.states import RunKind, RunStatus
from app.domain.wording.counts import counted

if TYPE_CHECKING:
    from rich.console import Console

    from app.domain.runs.request import RunRequest
    from app.engine.report.models.inspection import Counted, Inspection

_DATES_SHOWN = 10
_UNREAD_SHOWN = 20


def inspect(
    account: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this account; may be given again.")
    ] = None,
    max_accounts: Annotated[
        int | None, typer.Option(min=1, help="At most this many accounts that disagree.")
    ] = None,
    *,
    limit: Annotated[int, typer.Option(min=0, help="List at most this many accounts.")] = 20,
    all_: Annotated[
        bool, typer.Option("--all", help="List all accounts that have issues.")
    ] = False,
    format_: Format = ListFormat.TABLE,
    reason: Reason = None,
) -> None:
    """Detect and record all issues, and repair nothing.

    Upstream is not asked, and need not be set.

    Exit codes: 0 no issue was found, except for accepted, informational and known ones that are not
    the warehouse's to heal; 1 issues were found, not all was inspected, or no account is known; 2
    wrong use or settings; 3 failure.
    """
    from app.domain.ids import AccountId
    from app.domain.runs.request import RunRequest

    request = RunRequest(
        RunKind.INSPECT, max_accounts, tuple(map(AccountId, account)) if account else None
    )
    perform(lambda: inspected(request, None if all_ else limit, format_, bounded_reason(reason)))


async def inspected(
    request: "RunRequest", limit: int | None, format_: ListFormat, reason: str | None
) -> ExitCode:
    """Inspect; `limit` None lists all accounts."""
    from app.cli.follow import finish_left_runs, serve_run
    from app.cli.output.tables import results_console
    from app.cli.printed import print_json
    from app.composition import open_local_service
    from app.engine.report.inspection import Listing, is_clean
    from app.settings.load import load_settings

    async with open_local_service(load_settings()) as service:
        run_id = await service.start_run(request, reason=reason)
        state = await serve_run(service, run_id)
        # Those of other kinds need upstream.
        await finish_left_runs(service, RunKind.INSPECT)
        found = await service.readings.inspection(
            run_id, Listing(state.accounts.total if limit is None else limit)
        )
    if format_ is ListFormat.JSON:
        print_json(found)
    else:
        show_inspection(results_console(), found)
    if found.status in (RunStatus.FAILED, RunStatus.CANCELLED):
        return ExitCode.FAILURE
    return ExitCode.SUCCESS if is_clean(found) else ExitCode.ISSUES_LEFT


def show_inspection(console: "Console", found: "Inspection") -> None:
    """Print an inspection."""
    from app.cli.output.issues import severity_name, short_meaning
    from app.cli.output.tables import plain_table

    console.print(found.message, markup=False, soft_wrap=True)
    # Where no account is known, that is also why the run ended as it did.
    if found.error and found.error != found.message:
        console.print(found.error, markup=False, soft_wrap=True)
    if found.by_issue:
        table = plain_table(
            "By issue", "issue", "severity", "#accounts", "#share", "meaning", "for example"
        )
        for each in found.by_issue:
            sample = next(iter(each.sample), "")
            table.add_row(
                each.issue,
                severity_name(each.severity),
                *_figures(each),
                short_meaning(each.issue),
                sample,
            )
        _print(console, table)
    if found.by_table:
        table = plain_table("By table", "table", "issue", "#accounts", "#share")
        for concerned in found.by_table:
            table.add_row(concerned.table, concerned.issue, *_figures(concerned))
        _print(console, table)
    if found.by_broker:
        table = plain_table("By broker", "broker", "#accounts", "#share")
        for broker in found.by_broker:
            table.add_row(broker.broker, *_figures(broker))
        _print(console, table)
    _show_dates(console, found)
    _show_accounts(console, found)


def _show_dates(console: "Console", found: "Inspection") -> None:
    from app.cli.output.tables import plain_table

    dates = sorted(found.by_date, key=lambda day: (day.accounts, day.date), reverse=True)
    if dates:
        table = plain_table(
            "By date, those of most accounts first", "date", "#accounts", "#share", "trades"
        )
        for day in dates[:_DATES_SHOWN]:
            told = [
                f"{each.table} {each.trades} {word} at {counted(each.accounts, 'account')}"
                for word, tables in (("short", day.short), ("too many", day.more))
                for each in tables
            ]
            table.add_row(str(day.date), *_figures(day), ", ".join(told))
        _print(console, table)
        if len(dates) > _DATES_SHOWN:
            console.print(f"and {counted(len(dates) - _DATES_SHOWN, 'more date')}: --format json")
    for lacking in found.lacking_dates:
        console.print(
            f"{lacking.date} seems to be missing in all tables at"
            f" {counted(lacking.accounts, 'account')} ({lacking.share:.0%}), whose alltime counts"
            " more than any other table.",
            soft_wrap=True,
        )


def _show_accounts(console: "Console", found: "Inspection") -> None:
    from app.cli.output.tables import id_cell, plain_table

    identity = found.identity
    if identity.unmatched or identity.ambiguous:
        console.print(
            f"Natural keys without an account: {identity.unmatched}, that fit several:"
            f" {identity.ambiguous}"
        )
    if found.not_inspected:
        console.print("Not inspected:")
        for each in found.not_inspected[:_UNREAD_SHOWN]:
            console.print(f"  {each.account_id}: {each.reason}", markup=False, soft_wrap=True)
    if found.listed:
        table = plain_table("Accounts", "account", "issues", "first seen (UTC)")
        for account in found.listed:
            seen = [issue.first_seen for issue in account.issues if issue.first_seen is not None]
            first = f"{min(seen):%Y-%m-%d %H:%M}" if seen else "-"
            table.add_row(
                id_cell(account.account_id),
                ", ".join(issue.issue for issue in account.issues),
                first,
            )
        _print(console, table)
    if found.next_after is not None:
        console.print(
            f"There are more: --all, or GET /inspections/{found.run_id}?after={found.next_after}",
            markup=False,
            soft_wrap=True,
        )


def _figures(each: "Counted") -> tuple[str, str]:
    return str(each.accounts), f"{each.share:.1%}"


def _print(console: "Console", table: Any) -> None:  # noqa: ANN401 - a table of rich
    console.print()
    console.print(table)
