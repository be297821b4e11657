"""The command `trade-recon`: results on stdout, logs and progress on stderr.

Commands import heavy modules in their functions, so that help and mistakes are answered at once.
"""

from collections.abc import Callable
from typing import Annotated

import typer

from app.cli.commands.accept import accept, unaccept
from app.cli.commands.accounts import accounts
from app.cli.commands.changes import changes
from app.cli.commands.demo.command import demo, sandbox
from app.cli.commands.doctor import doctor
from app.cli.commands.inspect import inspect
from app.cli.commands.legacy.command import legacy
from app.cli.commands.maintain import fix_null_ids, maintain
from app.cli.commands.reconcile import reconcile
from app.cli.commands.removed.listing import removed
from app.cli.commands.removed.restore import release, restore
from app.cli.commands.report import report
from app.cli.commands.runs import confirm, runs
from app.cli.commands.setup import migrate, serve, uninstall
from app.cli.early_end import outlive_readers
from app.cli.mistakes import SuggestingGroup
from app.version import version

_HELP = """Keeps a trading warehouse equal to its upstream risk-analytics API.

Settings come from the environment and from .env; without DATABASE_URL an embedded PostgreSQL is \
used, once it was made (--embedded).

Exit codes: 0 success (a run did what can be done); 1 action is needed (a run left what can be \
healed, is new or held, or what \
--fail-on names instead; it needs confirmation or is paused; no account is known; inspect or \
doctor found something; rows that differ \
without a reason in the demo); \
2 wrong use or settings; 3 failure (a run failed, an order does not fit the run's state, \
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


def main() -> None:
    """The command line; `app.__main__` handles Ctrl-C before."""
    outlive_readers()
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
    """Options of all commands."""


_COMMANDS: tuple[Callable[..., None], ...] = (
    serve,
    migrate,
    uninstall,
    maintain,
    fix_null_ids,
    reconcile,
    inspect,
    confirm,
    accept,
    unaccept,
    report,
    doctor,
    legacy,
    changes,
    sandbox,
    demo,
)
"""As in `--help`; groups follow."""
for command in _COMMANDS:
    app.command()(command)
removed.command()(restore)
removed.command()(release)
for name, group in (("runs", runs), ("accounts", accounts), ("removed", removed)):
    app.add_typer(group, name=name)


if __name__ == "__main__":
    main()
