"""`trade-recon sandbox` and `demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import Host, Port
from app.cli.runtime import ExitCode, finish, perform
from app.clock import now
from app.domain.wording.counts import counted

if TYPE_CHECKING:
    from app.sandbox.server.process import WorldArguments

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


def sandbox(
    accounts: Accounts = 300,
    seed: Seed = 0,
    trades: Trades = None,
    host: Host = "127.0.0.1",
    port: Port = 8100,
    api_key: Annotated[str, typer.Option(help="The key that it asks for.")] = "sandbox",
) -> None:
    """Serve a sandbox of the upstream API.

    Its world is made up, or made of real trades.
    """

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


def demo(
    trades: Trades = None,
    accounts: Accounts = 300,
    seed: Seed = 0,
    *,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show every table: damage, issues, rows, accounts.")
    ] = False,
) -> None:
    """Damage, repair and compare a warehouse of its own."""

    async def work() -> ExitCode:
        from app.cli.commands.demo import play
        from app.cli.output.tables import results_console

        world = _world_arguments(trades, accounts, seed)
        is_equal = await play.run(world, results_console(), now, is_verbose=verbose)
        return ExitCode.SUCCESS if is_equal else ExitCode.ISSUES_LEFT

    # The story is told on stdout, and logs in between would hide it.
    perform(work, quiet=True)


def _world_arguments(trades: Path | None, accounts: int, seed: int) -> "WorldArguments":
    from app.sandbox.server.process import WorldArguments

    return WorldArguments(
        today=now().date(),
        trades_file=str(trades) if trades else None,
        accounts=accounts,
        seed=seed,
    )
