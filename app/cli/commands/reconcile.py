"""`trade-recon reconcile`."""

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.commands.inspect import inspected
from app.cli.fail_on import FailAbove, FailOnIssues, FailOnWords, chosen
from app.cli.options import ListFormat, Reason, moment
from app.cli.runtime import ExitCode, exit_code_of, perform
from app.clock import now
from app.domain.ids import AccountId
from app.domain.runs.fail_on import FailOn
from app.domain.runs.orders import bounded_reason
from app.domain.states import Depth, RunKind

if TYPE_CHECKING:
    from app.domain.runs.request import RunRequest


def reconcile(  # noqa: PLR0913 - each is an option of the command
    kind: Annotated[
        RunKind,
        typer.Option(
            help=(
                "full: mismatched accounts; retry: failed ones too; audit: all, against upstream;"
                " inspect: as `inspect`."
            )
        ),
    ] = RunKind.FULL,
    max_accounts: Annotated[
        int | None, typer.Option(min=1, help="At most this many accounts.")
    ] = None,
    account: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this account; may be given again.")
    ] = None,
    depth: Annotated[
        Depth | None,
        typer.Option(
            help=(
                "counts: compare counts; rows: every row and column. [default: rows with --account,"
                " else counts]"
            )
        ),
    ] = None,
    *,
    changed_only: Annotated[
        bool,
        typer.Option(
            "--changed-only",
            help="Only accounts of which a row was written since the last run over all.",
        ),
    ] = False,
    stop_at: Annotated[
        dt.datetime | None,
        typer.Option(
            parser=moment,
            metavar="TIME",
            help=(
                "End at this time, such as 2026-11-28T01:00-05:00, whatever is left: the next run"
                " goes on."
            ),
        ),
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(min=0.1, max=525_600, help="End after this many minutes, whatever is left."),
    ] = None,
    fail_on: FailOnWords = None,
    fail_above: FailAbove = None,
    fail_on_issues: FailOnIssues = False,
    reason: Reason = None,
) -> None:
    """Run once over the accounts that need it."""
    from app.domain.runs.request import RunRequest

    if kind is RunKind.INSPECT and (depth is not None or changed_only):
        raise typer.BadParameter(
            "--kind inspect goes without --depth and --changed-only: it asks nothing of upstream,"
            " and takes all"
        )
    ends = [stop_at, None if max_minutes is None else now() + dt.timedelta(minutes=max_minutes)]
    request = RunRequest(
        kind,
        max_accounts,
        tuple(map(AccountId, account)) if account else None,
        stop_at=min((end for end in ends if end is not None), default=None),
        changed_only=changed_only,
        depth=depth,
    )
    if kind is RunKind.INSPECT:
        perform(lambda: inspected(request, 20, ListFormat.TABLE, bounded_reason(reason)))
    failing = chosen(fail_on, fail_above, issues=fail_on_issues)
    perform(lambda: _reconciled(request, bounded_reason(reason), failing))


async def _reconciled(request: "RunRequest", reason: str | None, fail_on: FailOn) -> ExitCode:
    from app.cli.follow import finish_left_runs, serve_run, start_or_join
    from app.cli.output.runs import show_failure, show_run
    from app.cli.output.tables import results_console
    from app.composition import open_service
    from app.settings.load import load_settings

    async with open_service(load_settings()) as service:
        run_id, is_ours = await start_or_join(service, request, reason)
        state = await serve_run(service, run_id, is_ours=is_ours)
        show_run(results_console(), state)
        show_failure(results_console(), state, fail_on)
        await finish_left_runs(service)
    return exit_code_of(state, fail_on)
