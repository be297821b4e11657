"""The flags of `trade-recon legacy`."""

from typing import Annotated

import typer

from app.cli.runtime import perform


def legacy(
    *,
    fix_null_ids: Annotated[
        bool, typer.Option("--fix-null-ids", help="Repair missing and wrong account ids.")
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
        bool, typer.Option("--report", help="Show the reconciliation report.")
    ] = False,
    max_accounts: Annotated[
        int | None, typer.Option(min=1, help="With --reconcile: at most this many accounts.")
    ] = None,
) -> None:
    """Run the first system's command line.

    Its flags are done in the order of a night, with its results as JSON.
    """
    from app.cli.commands.legacy.steps import perform_steps

    perform(
        lambda: perform_steps(
            fix_null_ids=fix_null_ids,
            reconcile=reconcile,
            retry=retry_failed,
            report=report,
            most=max_accounts,
        )
    )
