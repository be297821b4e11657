"""`trade-recon removed`."""

import sys
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.mistakes import SuggestingGroup
from app.cli.options import LARGEST_ID, ListFormat
from app.cli.reading import open_record
from app.cli.runtime import ExitCode, perform
from app.domain.copies import ANY_COPY, Reason, TableName, Wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.engine.report.models.changes import RemovedCopy


@dataclass(frozen=True, slots=True)
class _View:
    """Filters; None: any."""

    wanted: Wanted = ANY_COPY
    limit: int = 50
    before: int | None = None
    format: ListFormat = ListFormat.TABLE


removed = typer.Typer(cls=SuggestingGroup, rich_markup_mode=None)


@removed.callback(invoke_without_command=True)
def list_removed(  # noqa: PLR0913 - an option each
    context: typer.Context,
    *,
    account: Annotated[
        str | None, typer.Option(metavar="ID", help="Only rows of this account.")
    ] = None,
    table: Annotated[TableName | None, typer.Option(help="Only rows of this table.")] = None,
    run: Annotated[uuid.UUID | None, typer.Option(help="Only rows that this run changed.")] = None,
    reason: Annotated[
        Reason | None, typer.Option(help="Only rows that were changed in this way.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="At most this many, the newest.")
    ] = 50,
    before: Annotated[
        int | None,
        typer.Option(metavar="ID", min=1, max=LARGEST_ID, help="Only those older than this one."),
    ] = None,
    format_: Annotated[
        ListFormat,
        typer.Option("--format", help="For people or, with the whole rows, for programs."),
    ] = ListFormat.TABLE,
) -> None:
    """List rows that were removed, moved or overwritten.

    The newest first.

    Reasons: removed (upstream lacks it, or it doubled a trade, whose other date is shown),
    overwritten (values or account id), moved (a trade, to another date), placeholder (metrics under
    a made-up account id).
    """
    view = _View(Wanted(account, table, run, reason), limit, before, format_)
    if context.invoked_subcommand is None:
        perform(lambda: _listed(view))
    elif view != _View():
        context.fail(
            f"The options before `{context.invoked_subcommand}` are for the list, and would choose"
            " nothing there."
        )


async def _listed(view: _View) -> ExitCode:
    async with open_record() as readings:
        rows = await readings.removed_copies(view.wanted, view.limit, view.before)
    following = rows[-1].removed_id if len(rows) == view.limit else None
    if view.format is ListFormat.JSON:
        sys.stdout.write(_as_json(rows, following))
    else:
        _show(rows, following)
    return ExitCode.SUCCESS


def _as_json(rows: "Sequence[RemovedCopy]", following: int | None) -> str:
    """One object; rows stay text, unrounded."""
    import msgspec

    listed = [
        {
            "id": row.removed_id,
            "removed_at": row.removed_at,
            "table": row.table,
            "account_id": row.account_id,
            "date": row.date,
            "reason": row.reason,
            "right_date": row.right_date,
            "run_id": row.run_id,
            "restored_at": row.restored_at,
            "row": msgspec.Raw(row.row.encode()),
        }
        for row in rows
    ]
    return (
        msgspec.json.format(
            msgspec.json.encode({"rows": listed, "next_before": following}), indent=2
        ).decode()
        + "\n"
    )


def _show(rows: "Sequence[RemovedCopy]", following: int | None) -> None:
    from rich.markup import escape

    from app.cli.output.tables import plain_table, widened_console

    console = widened_console()
    if not rows:
        console.print("No row is kept that fits.")
        return
    columns = (
        "id",
        "when (UTC)",
        "table",
        "account",
        "date",
        "reason",
        "run",
        "key",
        "restored (UTC)",
    )
    table = plain_table("Rows that were removed, moved or overwritten", *columns)
    for row in rows:
        table.add_row(*("-" if cell is None else escape(str(cell)) for cell in _cells(row)))
    console.print(table)
    console.print("`trade-recon removed restore ID` brings a row back, and pins it.")
    if following is not None:
        console.print(f"There may be older ones: --before {following}.")


def _cells(row: "RemovedCopy") -> tuple[object, ...]:
    when, restored = (
        None if at is None else f"{at:%Y-%m-%d %H:%M:%S}"
        for at in (row.removed_at, row.restored_at)
    )
    return (
        row.removed_id,
        when,
        row.table,
        row.account_id,
        row.date,
        row.reason if row.right_date is None else f"{row.reason}: double of {row.right_date}",
        row.run_id,
        row.key,
        restored,
    )
