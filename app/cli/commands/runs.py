"""`trade-recon runs`."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.fail_on import FailOnWords, chosen
from app.cli.mistakes import SuggestingGroup
from app.cli.options import Format, ListFormat, Reason
from app.cli.reading import answer, open_record
from app.cli.runtime import ExitCode, exit_code_of, perform
from app.domain.runs.leftovers import Left, Leftovers
from app.domain.runs.orders import bounded_reason
from app.domain.states import RunKind, RunStatus
from app.domain.wording.counts import choose, counted

if TYPE_CHECKING:
    from rich.console import Console

    from app.domain.runs.fail_on import FailOn
    from app.engine.report.models.runs import ListedRun, RunList, RunState
    from app.engine.report.views import Readings
    from app.engine.runs.orders import RunOrders

_HELD_SHOWN = 20


runs = typer.Typer(
    cls=SuggestingGroup,
    rich_markup_mode=None,
    help="List, show and steer runs, wherever they are served.",
)

RunId = Annotated[
    uuid.UUID, typer.Argument(metavar="RUN", help="The run, as `runs` and the report name it.")
]
Statuses = Annotated[
    list[RunStatus] | None,
    typer.Option("--status", help="Only runs of this state; may be given again."),
]
Kinds = Annotated[
    list[RunKind] | None, typer.Option("--kind", help="Only runs of this kind; may be given again.")
]
Limit = Annotated[int, typer.Option(min=1, max=1_000, help="At most this many, the newest.")]
Before = Annotated[
    uuid.UUID | None, typer.Option(metavar="RUN", help="Only runs that are older than this one.")
]


@runs.callback(invoke_without_command=True)
def list_by_default(context: typer.Context) -> None:
    """List, show and steer runs, wherever they are served.

    Without a command: list.
    """
    if context.invoked_subcommand is None:
        perform(lambda: _listed(None, None, None, 20, ListFormat.TABLE))


@runs.command("list")
def list_runs(
    status: Statuses = None,
    kind: Kinds = None,
    before: Before = None,
    limit: Limit = 20,
    format_: Format = ListFormat.TABLE,
) -> None:
    """List runs, newest first."""
    perform(lambda: _listed(status, kind, before, limit, format_))


@runs.command()
def show(run: RunId, format_: Format = ListFormat.TABLE) -> None:
    """Show a run, its waits and the accounts that it holds."""
    perform(lambda: _shown(run, format_))


@runs.command()
def pause(run: RunId, *, reason: Reason = None) -> None:
    """Pause a run at its next checkpoint.

    No more accounts of it are taken.
    """
    perform(lambda: _steered(run, lambda steering: steering.pause(run, bounded_reason(reason))))


@runs.command()
def resume(run: RunId, *, reason: Reason = None) -> None:
    """Resume a paused run where it was."""
    perform(lambda: _steered(run, lambda steering: steering.resume(run, bounded_reason(reason))))


@runs.command()
def cancel(run: RunId, *, reason: Reason = None) -> None:
    """End a run for good; what was repaired stays."""
    perform(lambda: _steered(run, lambda steering: steering.cancel(run, bounded_reason(reason))))


@runs.command()
def confirm(
    run: RunId,
    account: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Only this account, the others stay held; may be given again."
        ),
    ] = None,
    *,
    fail_on: FailOnWords = None,
    reason: Reason = None,
) -> None:
    """Let a run write what it held.

    With --account only some accounts. Each is compared again, and written as far as was shown: if
    upstream has lost more since, it is held again. Compare with upstream before you confirm.
    """
    failing = chosen(fail_on)
    perform(lambda: _confirmed(run, account, reason, failing))


async def _confirmed(
    run_id: uuid.UUID, account_ids: Sequence[str] | None, reason: str | None, fail_on: "FailOn"
) -> ExitCode:
    from app.cli.follow import serve_run
    from app.cli.output.runs import show_failure, show_run
    from app.cli.output.tables import results_console
    from app.composition import open_service
    from app.settings.load import load_settings

    async with open_service(load_settings()) as service:
        held = (await service.readings.run_state(run_id)).accounts.needs_confirmation
        await service.confirm(run_id, account_ids, bounded_reason(reason))
        left = (await service.readings.run_state(run_id)).accounts.needs_confirmation
        rest = (
            "all others are guarded as before"
            if account_ids is None
            else f"{counted(left, 'account')} {choose(left, 'stays', 'stay')} held"
        )
        console = results_console()
        console.print(
            f"Confirmed: {counted(held - left, 'account')} that run {run_id} held"
            f" {choose(held - left, 'is', 'are')} compared again and written as far as was shown;"
            f" {rest}.",
            markup=False,
            soft_wrap=True,
        )
        # Interrupted, the run goes on in other processes: it is not cancelled.
        state = await serve_run(service, run_id, is_ours=False)
    show_run(console, state)
    show_failure(console, state, fail_on)
    code = exit_code_of(state, fail_on)
    # Of those that were confirmed upstream may have lost more than was shown: they are held again.
    return (
        ExitCode.ISSUES_LEFT
        if code is ExitCode.SUCCESS and state.accounts.needs_confirmation > left
        else code
    )


async def _listed(
    statuses: Sequence[RunStatus] | None,
    kinds: Sequence[RunKind] | None,
    before: uuid.UUID | None,
    limit: int,
    format_: ListFormat,
) -> ExitCode:
    async with open_record() as readings:
        page = await readings.runs(statuses, kinds, before, limit)
    answer(page, format_, _show_list)
    return ExitCode.SUCCESS


async def _shown(run_id: uuid.UUID, format_: ListFormat) -> ExitCode:
    from app.cli.output.tables import results_console
    from app.cli.printed import print_json

    async with open_record() as readings:
        state = await readings.run_state(run_id)
        if format_ is ListFormat.JSON:
            print_json(state)
        else:
            await _show(results_console(), readings, state)
    return ExitCode.SUCCESS


async def _steered(run_id: uuid.UUID, steer: "Callable[[RunOrders], Awaitable[None]]") -> ExitCode:
    from app.cli.output.tables import results_console
    from app.composition import open_readings, open_store
    from app.engine.runs.orders import RunOrders
    from app.settings.load import load_settings

    settings = load_settings()
    async with open_store(settings) as store:
        readings = open_readings(settings, store)
        await steer(RunOrders(store, readings.today))
        state = await readings.run_state(run_id)
    console = results_console()
    console.print(
        f"The run {run_id} is {str(state.status).replace('_', ' ')}.",
        markup=False,
        soft_wrap=True,
    )
    _show_waits(console, state)
    return ExitCode.SUCCESS


def _show_list(console: "Console", page: "RunList") -> None:
    from app.cli.output.runs import run_seconds
    from app.cli.output.tables import plain_table

    if not page.runs:
        console.print("There is no run that fits.")
        return
    columns = (
        "run",
        "kind",
        "status",
        "made (UTC)",
        "#seconds",
        "#accounts",
        "#done",
        "#healed",
        "#failed",
        "#held",
        "#rows",
        "#requests",
    )
    table = plain_table(f"{counted(len(page.runs), 'run')}, newest first", *columns)
    for run in page.runs:
        table.add_row(
            str(run.run_id),
            str(run.kind),
            str(run.status).replace("_", " "),
            f"{run.created_at:%Y-%m-%d %H:%M:%S}",
            run_seconds(run),
            *(str(figure or "-") for figure in _figures(run)),
        )
    console.print(table)
    if page.next_before is not None:
        console.print(f"There are older ones: --before {page.next_before}", soft_wrap=True)


def _figures(run: "ListedRun") -> tuple[int, ...]:
    return (
        run.total,
        run.done,
        run.healed,
        run.failed,
        run.needs_confirmation,
        run.rows_written,
        run.requests,
    )


async def _show(console: "Console", readings: "Readings", state: "RunState") -> None:
    from app.cli.output.runs import show_run

    show_run(console, state)
    if not state.error:
        _show_waits(console, state)
    left = Leftovers.from_json(state.left)
    held = state.accounts.needs_confirmation if left is None else left.counts[Left.HELD]
    if not held:
        return
    console.print()
    console.print(f"{counted(held, 'account')} {choose(held, 'is', 'are')} held:")
    for account in await readings.held_accounts(state.run_id, _HELD_SHOWN):
        console.print(f"  {account.account_id}: {account.detail}", markup=False, soft_wrap=True)
    if held > _HELD_SHOWN:
        console.print(f"  and {held - _HELD_SHOWN} more: `trade-recon accounts list --held`")
    console.print(
        f"To let some through: `trade-recon runs confirm {state.run_id} --account ID`; all of"
        " them: without --account.",
        markup=False,
        soft_wrap=True,
    )


def _show_waits(console: "Console", state: "RunState") -> None:
    for wait in state.waiting_for:
        console.print(f"It waits: {wait.message}", markup=False, soft_wrap=True)
