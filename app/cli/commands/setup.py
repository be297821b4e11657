"""`trade-recon serve`, `migrate` and `uninstall`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import Host, Port
from app.cli.runtime import ExitCode, perform
from app.errors import InvalidRequest

if TYPE_CHECKING:
    from app.settings.model import Settings

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


def serve(host: Host = "127.0.0.1", port: Port = 8000, *, embedded: Embedded = False) -> None:
    """Serve HTTP on a loopback address, and work on runs."""
    perform(lambda: _served(host, port, embedded=embedded))


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
    """Bring the database to the newest schema.

    Safe to repeat.
    """

    async def work() -> ExitCode:
        from app.adoption import print_advice
        from app.settings.load import load_settings

        if print_:
            sys.stdout.write(
                await print_advice(load_settings(), "trade_recon" if role is None else role)
            )
            return ExitCode.SUCCESS
        if role is not None:
            raise InvalidRequest(
                "--role is for what --print writes: give --print as well. Nothing was done."
            )
        return await _migrated(_settings(embedded=embedded))

    perform(work)


async def _migrated(settings: "Settings") -> ExitCode:
    from app.adoption import migrate_warehouse, warehouse_notes
    from app.cli.output.tables import results_console

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


def uninstall(
    *,
    print_: Annotated[
        bool,
        typer.Option("--print", help="Write the SQL, which is all that this command does."),
    ] = False,
    role: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="The role of `migrate --print`, whose rights are taken back."
        ),
    ] = "trade_recon",
) -> None:
    """Write the SQL that removes trade-recon.

    It restores the earlier state, and is never executed here.
    """

    async def work() -> ExitCode:
        from app.adoption import print_uninstall
        from app.settings.load import load_settings

        if not print_:
            raise InvalidRequest(
                "uninstall only writes SQL, for the owner to read and run: give --print. Nothing"
                " was done."
            )
        sys.stdout.write(await print_uninstall(load_settings(), role))
        return ExitCode.SUCCESS

    perform(work)


def _settings(*, embedded: bool) -> "Settings":
    from app.settings.load import load_settings

    settings = load_settings()
    return settings.model_copy(update={"recon_embedded": True}) if embedded else settings


async def _served(host: str, port: int, *, embedded: bool) -> ExitCode:
    from app.main import serve as serve_http

    await serve_http(_settings(embedded=embedded), host, port)
    return ExitCode.SUCCESS
