"""`trade-recon removed restore` and `release`."""

import contextlib
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import LARGEST_ID, Reason
from app.cli.runtime import ExitCode, perform
from app.domain.runs.orders import Way, bounded_reason
from app.domain.wording.counts import choose, counted
from app.errors import InvalidRequest

if TYPE_CHECKING:
    from rich.table import Table

    from app.engine.restore import Restoring

_CAUTION = "A later run that reads these rows from upstream may change them again."
_PINNED = (
    "They are pinned: no run changes them until `trade-recon removed release`, or until upstream"
    " sends the same values."
)
_WRITTEN, _JUST_SO, _REFUSED = range(3)


def restore(
    ids: Annotated[
        list[int] | None,
        typer.Argument(
            metavar="ID", min=1, max=LARGEST_ID, help="The ids that `trade-recon removed` lists."
        ),
    ] = None,
    *,
    all_of_run: Annotated[
        uuid.UUID | None,
        typer.Option(help="All rows that this run changed and that were not restored yet."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show the effect by table, account and date; change nothing.",
        ),
    ] = False,
    pin: Annotated[
        bool,
        typer.Option(
            "--pin/--no-pin",
            help="Whether later runs leave the rows as restored until they are released.",
        ),
    ] = True,
    reason: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Why, kept with the pins; at most 500 characters."),
    ] = None,
) -> None:
    """Restore rows as they were, the newest copy first.

    One that cannot be restored stops no other.

    Nothing is lost: a replaced row is kept as a copy, too. Rows that a run inserted stay and are
    counted; the next audit removes those that upstream lacks. Restored rows are pinned: no run
    changes them until `removed release`, or until upstream sends the same values. With `--no-pin`
    the next run may change them again.

    Exit codes: 0 all are as they were; 1 some were not restored; 2 an id does not exist (nothing
    was restored).
    """
    perform(
        lambda: _restored(
            ids or (), all_of_run, Way(is_trial=dry_run, pins=pin, reason=bounded_reason(reason))
        )
    )


def release(
    ids: Annotated[
        list[int] | None,
        typer.Argument(
            metavar="ID",
            min=1,
            max=LARGEST_ID,
            help="The copies from which the rows were restored.",
        ),
    ] = None,
    *,
    all_of_run: Annotated[
        uuid.UUID | None, typer.Option(help="All pinned rows that this run had changed.")
    ] = None,
    account: Annotated[
        str | None, typer.Option(metavar="ID", help="All pinned rows of this account.")
    ] = None,
    reason: Reason = None,
) -> None:
    """Release pinned rows to later runs.

    The next run compares them with upstream, and may change them again.

    Exit codes: 0 rows were released; 1 no pinned row matches; 2 wrong use.
    """
    perform(lambda: _released(ids, all_of_run, account, bounded_reason(reason)))


async def _released(
    ids: Sequence[int] | None, run_id: uuid.UUID | None, account_id: str | None, reason: str | None
) -> ExitCode:
    from app.cli.output.tables import results_console
    from app.composition import open_store
    from app.engine.restore import Restoring
    from app.settings.load import load_settings

    if not ids and run_id is None and account_id is None:
        raise InvalidRequest(
            "Name the ids of the copies, --all-of-run or --account. Nothing was released."
        )
    async with open_store(load_settings()) as store:
        released = await Restoring(store).release(
            account_id=account_id, run_id=run_id, removed_ids=ids or None
        )
        if released:
            await store.orders.note("release", run_id, reason, rows=released, account_id=account_id)
    if released:
        said = (
            f"{counted(released, 'row')} {choose(released, 'is', 'are')} released; the next run"
            " compares the accounts with upstream."
        )
    else:
        said = "No row is pinned that fits. Nothing was changed."
    results_console().print(said, soft_wrap=True)
    return ExitCode.SUCCESS if released else ExitCode.ISSUES_LEFT


async def _restored(ids: Sequence[int], run_id: uuid.UUID | None, way: Way) -> ExitCode:
    from app.cli.output.tables import results_console
    from app.composition import open_store
    from app.engine.restore import Restoring
    from app.settings.load import load_settings

    if bool(ids) == (run_id is not None):
        raise InvalidRequest(
            "Name either the ids of the rows to restore or --all-of-run. Nothing was restored."
        )
    console = results_console()
    there = refused = 0
    added = ""
    async with open_store(load_settings()) as store:
        restoring = Restoring(store)
        waiting = ids if run_id is None else await restoring.waiting_of_run(run_id)
        if run_id is not None:
            added = _added(await restoring.inserted_by_run(run_id))
        if way.is_trial:
            return await _tried(restoring, waiting, added)
        async with contextlib.aclosing(
            restoring.restore(waiting, pins=way.pins, reason=way.reason)
        ) as results:
            async for result in results:
                console.print(
                    f"{result.removed_id}: {result.sentence}", markup=False, soft_wrap=True
                )
                there += result.is_there
                refused += not result.is_there
        await store.orders.note(
            "restore", run_id, way.reason, rows=there, refused=refused, pinned=way.pins
        )
    console.print(
        _told(there, refused, len(restoring.accounts), added, pins=way.pins),
        soft_wrap=True,
    )
    return ExitCode.ISSUES_LEFT if refused else ExitCode.SUCCESS


def _told(there: int, refused: int, accounts: int, added: str, *, pins: bool) -> str:
    if not there + refused:
        return (
            "Every row that the run removed, moved or overwrote is restored already; nothing was"
            f" changed.{added}"
        )
    following = "" if pins else ", and the next run asks upstream"
    of_accounts = (
        f" The totals of {counted(accounts, 'account')} were counted again{following}."
        if accounts
        else ""
    )
    # Of nothing there is nothing to be said.
    stays = f" {_PINNED if pins else _CAUTION}" if there else ""
    return (
        f"{counted(there, 'row')} {choose(there, 'stands as it was', 'stand as they were')},"
        f" {refused} {choose(refused, 'was', 'were')} not restored.{added}{of_accounts}{stays}"
    )


async def _tried(restoring: "Restoring", waiting: Sequence[int], added: str) -> ExitCode:
    """A trial: effects by table, account and date, and rows refused."""
    from app.cli.output.tables import widened_console

    console = widened_console()
    counts: defaultdict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    refused = []
    async with contextlib.aclosing(restoring.attempt(waiting)) as results:
        async for result in results:
            kind = _REFUSED if not result.is_there else _WRITTEN if result.is_written else _JUST_SO
            counts[result.table, result.account_id or "-", str(result.date or "-")][kind] += 1
            if kind == _REFUSED:
                refused.append(
                    f"{result.removed_id}:"
                    f" {result.sentence.replace('was not restored', 'would not be restored')}"
                )
    if counts:
        console.print(_effects(counts))
    for line in refused:
        console.print(line, markup=False, soft_wrap=True)
    written, just_so, left = (
        sum(figures[kind] for figures in counts.values()) for kind in (_WRITTEN, _JUST_SO, _REFUSED)
    )
    console.print(
        f"Of {counted(written + just_so + left, 'row')} {written} would be restored, {just_so}"
        f" {choose(just_so, 'stands', 'stand')} just so already, and {left} would be"
        f" refused.{added} Nothing was changed.",
        soft_wrap=True,
    )
    return ExitCode.ISSUES_LEFT if refused else ExitCode.SUCCESS


def _effects(counts: "Mapping[tuple[str, str, str], Sequence[int]]") -> "Table":
    from rich.markup import escape

    from app.cli.output.tables import plain_table

    heads = ("table", "account", "date", "restored", "just so already", "refused")
    table = plain_table("What a restore would do", *heads)
    for (name, account_id, day), figures in sorted(counts.items()):
        table.add_row(
            escape(name), escape(account_id), day, *(str(figure or "-") for figure in figures)
        )
    return table


def _added(inserted: int | None) -> str:
    """A run's inserted rows; empty if none."""
    if inserted == 0:
        return ""
    number = (
        "The number of rows that the run inserted is not known any more"
        if inserted is None
        else (f"The run also inserted {counted(inserted, 'row')}")
    )
    it = choose(inserted or 0, "it", "them")
    return (
        f" {number}: restoring leaves {it}, and the next audit removes what upstream does not have,"
        " as far as docs/explanation/guards.md tells."
    )
