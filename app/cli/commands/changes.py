"""`trade-recon changes`."""

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from app.cli.options import LARGEST_ID, Format, ListFormat, date_like
from app.cli.reading import open_record
from app.cli.runtime import ExitCode, perform
from app.domain.copies import TableName
from app.domain.wording.counts import choose, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from app.engine.report.models.changes import ChangedRow, ChangedRowPage, InsertedRows

_OF = {
    "stored": "as it is stored now",
    "copy": "as the next change found it",
    "gone": "no row is stored",
}


_KEYS_SHOWN = 5


class _Wanted(NamedTuple):
    """Filters; None: any."""

    account_id: str | None
    table: str | None
    date: dt.date | None
    run_id: uuid.UUID | None
    before: int | None
    inserted_before: int | None


def changes(  # noqa: PLR0913 - one for each option
    *,
    account: Annotated[
        str | None, typer.Option(metavar="ID", help="Only rows of this account.")
    ] = None,
    date: Annotated[
        dt.date | None,
        typer.Option(
            parser=date_like("2026-03-07"),
            metavar="DATE",
            help="Only rows that stood under this date, or were moved to it.",
        ),
    ] = None,
    run: Annotated[uuid.UUID | None, typer.Option(help="Only rows that this run changed.")] = None,
    table: Annotated[TableName | None, typer.Option(help="Only rows of this table.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most this many, the newest.")] = 20,
    before: Annotated[
        int | None,
        typer.Option(metavar="ID", min=1, max=LARGEST_ID, help="Only those older than this one."),
    ] = None,
    inserted_before: Annotated[
        int | None,
        typer.Option(
            metavar="ID",
            min=1,
            max=LARGEST_ID,
            help="Only rows that were inserted, earlier than this change.",
        ),
    ] = None,
    format_: Format = ListFormat.TABLE,
) -> None:
    """Show changed rows, old values beside new ones.

    Each with the run and the issues that asked for it.

    Name an account, a date, a run or a table. Inserted rows leave no copy: they are counted by
    account, table and date, with the keys of those that still stand. Values stored as NULL are
    shown with what upstream sent.
    """
    if account is None and date is None and run is None and table is None:
        raise typer.BadParameter("name --account, --date, --run or --table")
    perform(
        lambda: _shown(
            _Wanted(
                account,
                None if table is None else table.value,
                date,
                run,
                before,
                inserted_before,
            ),
            limit,
            format_,
        )
    )


async def _shown(wanted: _Wanted, limit: int, format_: ListFormat) -> ExitCode:
    from app.cli.printed import print_json
    from app.engine.report.models.changes import ChangeFilter

    async with open_record() as readings:
        page = await readings.changed_rows(ChangeFilter(**wanted._asdict()), limit)
    if format_ is ListFormat.JSON:
        print_json(page)
    else:
        _show(page)
    return ExitCode.SUCCESS


def _show(page: "ChangedRowPage") -> None:
    from app.cli.output.tables import widened_console

    console = widened_console()
    if not page.rows and not page.nulled and not page.inserted:
        console.print("No change of a row is kept that fits.")
    for row in page.rows:
        _show_changed(console, row)
    _show_inserted(console, page.inserted)
    for nulled in page.nulled:
        sent = ", ".join(
            f"{name} (sent: {'NULL' if value is None else value})"
            for name, value in nulled.sent.items()
        )
        name = f"{nulled.table} {nulled.key} of {nulled.account_id or 'no account'}"
        console.print(f"{name} is stored with NULL in {sent}.", markup=False, soft_wrap=True)
    if page.next is not None:
        console.print(f"There may be older ones: --before {page.next}.")
    if page.inserted_next is not None:
        console.print(
            f"More rows may have been inserted earlier: --inserted-before {page.inserted_next}."
        )


def _show_changed(console: "Console", row: "ChangedRow") -> None:
    from rich.markup import escape

    from app.cli.output.tables import plain_table

    of_date = f" of {row.date}" if row.date else ""
    done = "removed as a double" if row.stood_already else row.reason
    console.print(
        f"{row.id}: {row.table} {row.key}{of_date} was {done} at"
        f" {row.changed_at:%Y-%m-%d %H:%M:%S} UTC by {_changed_by(row)}.",
        markup=False,
        soft_wrap=True,
    )
    if row.stood_already:
        under = f" under {row.right_date}" if row.right_date else ""
        console.print(f"  The trade was stored twice: the row{under} stays.")
    differing = plain_table("", "column", "old", f"new ({_OF[row.new_from]})")
    for column in row.columns:
        differing.add_row(
            *(
                escape("NULL" if each is None else each)
                for each in (column.name, column.old, column.new)
            )
        )
    if row.columns:
        console.print(differing)
    else:
        console.print("  It holds the same values again.")
    if row.is_written_since:
        console.print("  Somebody else wrote the row after the change: the new values are theirs.")
    if row.restored_at:
        console.print(f"  It was restored at {row.restored_at:%Y-%m-%d %H:%M:%S} UTC.")


def _changed_by(row: "ChangedRow") -> str:
    if not row.is_restore:
        return _by(row)
    with_reason = f' ("{row.restored_with}")' if row.restored_with else ""
    return f"a restore{with_reason}{_asked_for(row.issues)}"


def _by(row: "ChangedRow | InsertedRows") -> str:
    kind = row.run_kind or "kind not known any more"
    by = f"run {row.run_id} ({kind})" if row.run_id else "no run"
    return f"{by}{_asked_for(row.issues)}"


def _asked_for(issues: "Sequence[str]") -> str:
    return f", asked for by {', '.join(issues)}" if issues else ""


def _show_inserted(console: "Console", rows: "Sequence[InsertedRows]") -> None:
    """Print inserted rows; changes of which nothing stands share a sentence."""
    changes: dict[int, list[InsertedRows]] = {}
    for row in rows:
        changes.setdefault(row.change_id, []).append(row)
    gone = [change for change in changes.values() if all(row.standing == 0 for row in change)]
    for change in changes.values():
        if change not in gone:
            console.print(_inserted(change), markup=False, soft_wrap=True)
    if gone:
        inserted = sum(row.rows for change in gone for row in change)
        none = choose(inserted, "it does not stand", "none of them stands")
        told = (
            f"{counted(inserted, 'row')} {choose(inserted, 'was', 'were')} inserted in"
            f" {counted(len(gone), 'other change')}"
        )
        console.print(f"{told}; {none} as inserted any more.", markup=False, soft_wrap=True)


def _inserted(change: "Sequence[InsertedRows]") -> str:
    row = change[0]
    dates = [each.date for each in change if each.date]
    of_date = f" of {dates[0]}" if dates else ""
    if len(dates) > 1:
        of_date = f" of {len(dates)} dates from {dates[0]} to {dates[-1]}"
    inserted = sum(each.rows for each in change)
    told = (
        f"{row.table} {row.account_id}{of_date}: {counted(inserted, 'row')}"
        f" {choose(inserted, 'was', 'were')} inserted at"
    )
    told += f" {row.changed_at:%Y-%m-%d %H:%M:%S} UTC by {_by(row)}"
    known = [each for each in change if each.standing is not None]
    if not known:
        return f"{told}."
    standing = sum(each.standing or 0 for each in known)
    shown = [key for each in known for key in each.keys][:_KEYS_SHOWN]
    others = standing - len(shown)
    keys = ", ".join(shown) + (f" and {counted(others, 'other')}" if others else "")
    return f"{told}; {standing} of them {choose(standing, 'stands', 'stand')} as inserted" + (
        f": {keys}." if shown else "."
    )
