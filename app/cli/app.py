"""The command `trade-recon`.

Results go to stdout, logs and progress to stderr; an error of ours is one sentence and an exit
code.

What takes long to import (the engine, the web framework, the drivers) is imported by the commands
that need it, in their functions: help, `--version` and mistakes on the command line are answered at
once.
"""

import datetime as dt
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.commands.accept import accept, unaccept
from app.cli.commands.accounts import accounts
from app.cli.commands.changes import changes
from app.cli.commands.inspect import ListFormat, inspect, inspected
from app.cli.commands.removed import removed
from app.cli.commands.runs import confirm, runs
from app.cli.fail_on import FailAbove, FailOnIssues, FailOnWords, chosen
from app.cli.mistakes import SuggestingGroup
from app.cli.runtime import ExitCode, exit_code_of, finish, perform
from app.clock import now
from app.domain.runs.fail_on import FailOn
from app.domain.runs.orders import bounded_reason
from app.domain.states import Depth, RunKind
from app.domain.wording.counts import counted
from app.errors import InvalidRequest
from app.version import version

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from app.domain.runs.request import RunRequest
    from app.engine.preparation.maintenance import MaintenanceResult
    from app.engine.repositories import Repositories
    from app.sandbox.server.process import WorldArguments
    from app.settings import Settings


class ReportFormat(StrEnum):
    """How the report is written."""

    TABLE = "table"
    JSON = "json"


_HELP = """Keeps a trading warehouse equal to its upstream risk-analytics API.

Settings come from the environment and from .env; without DATABASE_URL an embedded PostgreSQL is \
used, once it was made (--embedded).

Exit codes: 0 success (a run did what can be done); 1 somebody must look (a run left what can be \
healed, is new or needs a word, or what \
--fail-on names instead; it needs confirmation or is paused; no account is known; inspect or \
doctor found something; rows that differ \
without a reason in the demo); \
2 wrong use or settings; 3 failure (a run failed, an order cannot be followed as the run stands, \
database or upstream unavailable); 130 interrupted; 143 terminated. \
Only `serve` ends with 0 when it is told to stop."""

app = typer.Typer(
    cls=SuggestingGroup,
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[
    int,
    typer.Option(
        min=0, max=65_535, help="The port to listen on; 0: any free one, named in the log."
    ),
]
Embedded = Annotated[
    bool,
    typer.Option(
        "--embedded",
        help=(
            "Without DATABASE_URL: make a PostgreSQL of its own in RECON_DATA_DIR, unless it is"
            " there."
        ),
    ),
]
Trades = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="A CSV file of closed trades; without it a world is made up."
    ),
]
Accounts = Annotated[
    int, typer.Option(min=1, max=100_000, help="How many accounts the made-up world has.")
]
Seed = Annotated[int, typer.Option(help="The same seed makes up the same world.")]


def _moment(value: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is no time such as 2026-11-28T01:00-05:00") from None
    if moment.tzinfo is None:
        raise typer.BadParameter(
            f"{value!r} does not say its zone: add Z for UTC, or an offset such as -05:00"
        )
    return moment


Reason = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Why; it stays in the record, at most 500 characters."),
]


def main() -> None:
    """The command line; `app.__main__` provides for Ctrl-C before it."""
    app()


def _show_version(is_wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if is_wanted:
        typer.echo(f"trade-recon {version()}")
        raise typer.Exit


@app.callback()
def common(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """What holds for all commands."""


@app.command()
def serve(host: Host = "127.0.0.1", port: Port = 8000, *, embedded: Embedded = False) -> None:
    """Serve HTTP on a loopback address and work on runs, until it is told to stop."""
    perform(lambda: _served(host, port, embedded=embedded))


@app.command()
def migrate(
    *,
    print_: Annotated[
        bool,
        typer.Option(
            "--print",
            help=(
                "Change nothing; write SQL that the tables' owner may run: a role with least"
                " rights, indexes."
            ),
        ),
    ] = False,
    role: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --print: the role that trade-recon is to connect as. [default: trade_recon]",
        ),
    ] = None,
    embedded: Embedded = False,
) -> None:
    """Bring the database to the newest schema; safe to repeat."""

    async def work() -> ExitCode:
        from app.adoption import migrate_warehouse, print_advice, warehouse_notes
        from app.cli.output import results_console
        from app.settings import load_settings

        if print_:
            sys.stdout.write(
                await print_advice(load_settings(), "trade_recon" if role is None else role)
            )
            return ExitCode.SUCCESS
        if role is not None:
            raise InvalidRequest(
                "--role is for what --print writes: give --print as well. Nothing was done."
            )
        settings = _settings(embedded=embedded)
        console = results_console()
        applied = await migrate_warehouse(
            settings, lambda said: console.print(said, markup=False, soft_wrap=True)
        )
        for name in applied:
            console.print(f"applied {name}")
        for note in await warehouse_notes(settings):
            console.print(f"note: {note}", markup=False, soft_wrap=True)
        console.print("The schema is up to date.")
        return ExitCode.SUCCESS

    perform(work)


@app.command()
def uninstall(
    *,
    print_: Annotated[
        bool,
        typer.Option("--print", help="Write the SQL; it is the only thing that this command does."),
    ] = False,
    role: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="The role of `migrate --print`, whose rights are taken back."
        ),
    ] = "trade_recon",
) -> None:
    """Write the SQL that takes trade-recon away, and gives back what stood there before; it is
    never executed here.
    """

    async def work() -> ExitCode:
        from app.adoption import print_uninstall
        from app.settings import load_settings

        if not print_:
            raise InvalidRequest(
                "uninstall only writes SQL, for the owner to read and run: give --print. Nothing"
                " was done."
            )
        sys.stdout.write(await print_uninstall(load_settings(), role))
        return ExitCode.SUCCESS

    perform(work)


@app.command()
def maintain(*, reason: Reason = None) -> None:
    """Mend account ids, refresh the account list and all totals; upstream is not asked."""
    from app.engine.preparation.maintenance import maintain as maintain_warehouse

    perform(lambda: _maintained(maintain_warehouse, bounded_reason(reason), records=True))


@app.command("fix-null-ids")
def fix_null_ids() -> None:
    """Mend missing and wrong account ids only; upstream is not asked."""
    from app.engine.preparation.maintenance import fix_ids

    perform(lambda: _maintained(fix_ids))


@app.command()
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
        int | None, typer.Option(min=1, help="At most so many accounts.")
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
            parser=_moment,
            metavar="TIME",
            help=(
                "End at this time, such as 2026-11-28T01:00-05:00, whatever is left: the next run"
                " goes on."
            ),
        ),
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(min=0.1, max=525_600, help="End after so many minutes, whatever is left."),
    ] = None,
    fail_on: FailOnWords = None,
    fail_above: FailAbove = None,
    fail_on_issues: FailOnIssues = False,
    reason: Reason = None,
) -> None:
    """Run once over the accounts that need it, and tell what came of it."""
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
        tuple(account) if account else None,
        stop_at=min((end for end in ends if end is not None), default=None),
        changed_only=changed_only,
        depth=depth,
    )
    if kind is RunKind.INSPECT:
        perform(lambda: inspected(request, 20, ListFormat.TABLE, bounded_reason(reason)))
    failing = chosen(fail_on, fail_above, issues=fail_on_issues)
    perform(lambda: _reconciled(request, bounded_reason(reason), failing))


app.command()(inspect)
app.command()(confirm)
app.command()(accept)
app.command()(unaccept)


@app.command()
def report(
    format_: Annotated[
        ReportFormat, typer.Option("--format", help="For people or for programs.")
    ] = ReportFormat.TABLE,
) -> None:
    """Tell how the warehouse stands."""
    perform(lambda: _reported(format_))


@app.command()
def doctor() -> None:
    """Tell what works and what does not, of the database and of the API; nothing is changed.

    Ends with 1 if something is wrong.

    A page of each endpoint of the API is read, within the quota.
    """
    from app.cli.commands.doctor import examined

    perform(examined)


@app.command()
def legacy(
    *,
    fix_null_ids: Annotated[
        bool, typer.Option("--fix-null-ids", help="Mend missing and wrong account ids.")
    ] = False,
    reconcile: Annotated[
        bool,
        typer.Option(
            "--reconcile", help="Run over the mismatched accounts that did not fail before."
        ),
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="With --reconcile: those that failed before, too."),
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Tell how the warehouse stands.")
    ] = False,
    max_accounts: Annotated[
        int | None, typer.Option(min=1, help="With --reconcile: at most so many accounts.")
    ] = None,
) -> None:
    """The first system's command: its flags, done in the order of a night, with its results as
    JSON.
    """
    from app.cli.commands.legacy import perform_steps

    perform(
        lambda: perform_steps(
            fix_null_ids=fix_null_ids,
            reconcile=reconcile,
            retry=retry_failed,
            report=report,
            most=max_accounts,
        )
    )


app.add_typer(runs, name="runs")
app.add_typer(accounts, name="accounts")
app.add_typer(removed, name="removed")
app.command()(changes)


@app.command()
def sandbox(
    accounts: Accounts = 300,
    seed: Seed = 0,
    trades: Trades = None,
    host: Host = "127.0.0.1",
    port: Port = 8100,
    api_key: Annotated[str, typer.Option(help="The key that it asks for.")] = "sandbox",
) -> None:
    """Serve an upstream of our own, to try trade-recon on: a made-up world, or real trades."""

    def work() -> ExitCode:
        from rich.console import Console

        from app.sandbox.server.serving import serve as serve_sandbox

        world = _world_arguments(trades, accounts, seed).world()
        Console(stderr=True).print(
            f"The sandbox serves {counted(len(world.account_ids), 'account')} on"
            f" http://{host}:{port}/ until Ctrl-C."
        )
        serve_sandbox(world, host, port, api_key=api_key)
        return ExitCode.SUCCESS

    finish(work)


@app.command()
def demo(
    trades: Trades = None,
    accounts: Accounts = 300,
    seed: Seed = 0,
    *,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show every table: damage, issues, rows, accounts.")
    ] = False,
) -> None:
    """Damage a warehouse of its own in every way, heal it, and compare every row with upstream."""

    async def work() -> ExitCode:
        from app.cli.commands import demo as demonstration
        from app.cli.output import results_console

        world = _world_arguments(trades, accounts, seed)
        is_equal = await demonstration.run(world, results_console(), now, is_verbose=verbose)
        return ExitCode.SUCCESS if is_equal else ExitCode.ISSUES_LEFT

    # The story is told on stdout, and logs in between would hide it.
    perform(work, quiet=True)


def _settings(*, embedded: bool) -> "Settings":
    from app.settings import load_settings

    settings = load_settings()
    return settings.model_copy(update={"recon_embedded": True}) if embedded else settings


async def _served(host: str, port: int, *, embedded: bool) -> ExitCode:
    from app.main import serve as serve_http

    await serve_http(_settings(embedded=embedded), host, port)
    return ExitCode.SUCCESS


async def _maintained(
    work: "Callable[[Repositories, dt.date], Awaitable[MaintenanceResult]]",
    reason: str | None = None,
    *,
    records: bool = False,
) -> ExitCode:
    from rich.console import Console

    from app.cli.output import natural_key, plain_table, results_console
    from app.composition import compared_store, engine_config, open_readings, open_store
    from app.engine.preparation.inspection import record_disagreements
    from app.settings import load_settings

    settings = load_settings()
    async with open_store(settings) as store:
        with Console(stderr=True).status("Maintaining the warehouse ..."):
            compared = await compared_store(settings, store)
            result = await work(compared, open_readings(settings, store).today())
            if records:
                await record_disagreements(compared, engine_config(settings), now())
        await store.orders.note("maintenance", None, reason)
    figures = {
        name.replace("_", " "): value
        for name, value in result.as_json().items()
        if value and not isinstance(value, list | str)
    }
    seconds, _ = figures.pop("seconds", 0), figures.pop("accounts known", 0)
    console = results_console()
    nothing = (
        " and found nothing to do: closed trades updated, accounts added and all other figures"
        " are 0"
    )
    console.print(f"Maintenance took {seconds:.1f} s{'' if figures else nothing}.", soft_wrap=True)
    table = plain_table("", "", "#")
    for name, value in figures.items():
        table.add_row(name, str(value))
    if figures:
        console.print(table)
    for key in result.unmatched:
        console.print(
            f"Fits no account or several: {natural_key(key)}", markup=False, soft_wrap=True
        )
    if result.message is not None:
        console.print(result.message, markup=False, soft_wrap=True)
        return ExitCode.ISSUES_LEFT
    return ExitCode.SUCCESS


async def _reconciled(request: "RunRequest", reason: str | None, fail_on: FailOn) -> ExitCode:
    from app.cli.output import (
        finish_left_runs,
        results_console,
        serve_run,
        show_failure,
        show_run,
        start_or_join,
    )
    from app.composition import open_service
    from app.settings import load_settings

    async with open_service(load_settings()) as service:
        run_id, is_ours = await start_or_join(service, request, reason)
        state = await serve_run(service, run_id, is_ours=is_ours)
        show_run(results_console(), state)
        show_failure(results_console(), state, fail_on)
        await finish_left_runs(service)
    return exit_code_of(state, fail_on)


async def _reported(format_: ReportFormat) -> ExitCode:
    from app.cli.output import results_console, show_report
    from app.composition import open_readings, open_store
    from app.settings import load_settings
    from app.web.schemas.report import Report

    settings = load_settings()
    async with open_store(settings, only_reads=True) as store:
        found: Mapping[str, Any] = await open_readings(settings, store).report()
    if format_ is ReportFormat.JSON:
        # In the model of the HTTP route, so that both faces answer alike.
        sys.stdout.write(Report.model_validate(found).model_dump_json(indent=2) + "\n")
    else:
        show_report(results_console(), found)
    return ExitCode.SUCCESS if found["overall"]["total_accounts"] else ExitCode.ISSUES_LEFT


def _world_arguments(trades: Path | None, accounts: int, seed: int) -> "WorldArguments":
    from app.sandbox.server.process import WorldArguments

    return WorldArguments(
        today=now().date(),
        trades_file=str(trades) if trades else None,
        accounts=accounts,
        seed=seed,
    )


if __name__ == "__main__":
    main()
