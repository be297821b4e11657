"""`trade-recon maintain` and `fix-null-ids`."""

from typing import TYPE_CHECKING

from app.cli.options import Reason
from app.cli.runtime import ExitCode, perform
from app.clock import now
from app.domain.accounts.money import dropped_sentence
from app.domain.runs.orders import bounded_reason

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Awaitable, Callable

    from rich.console import Console

    from app.engine.preparation.maintenance import MaintenanceResult
    from app.engine.repositories import Repositories


def maintain(*, reason: Reason = None) -> None:
    """Repair account ids, refresh accounts and all totals.

    Upstream is not asked.
    """
    from app.engine.preparation.maintenance import maintain as maintain_warehouse

    perform(lambda: _maintained(maintain_warehouse, bounded_reason(reason), records=True))


def fix_null_ids() -> None:
    """Repair missing and wrong account ids only.

    Upstream is not asked.
    """
    from app.engine.preparation.maintenance import fix_ids

    perform(lambda: _maintained(fix_ids))


async def _maintained(
    work: "Callable[[Repositories, dt.date], Awaitable[MaintenanceResult]]",
    reason: str | None = None,
    *,
    records: bool = False,
) -> ExitCode:
    from rich.console import Console

    from app.cli.output.tables import results_console
    from app.composition import compared_store, engine_config, open_readings, open_store
    from app.engine.preparation.inspection import record_disagreements
    from app.settings.load import load_settings

    settings = load_settings()
    async with open_store(settings) as store:
        with Console(stderr=True).status("Maintaining the warehouse ..."):
            compared = await compared_store(settings, store)
            result = await work(compared, open_readings(settings, store).today())
            if records:
                await record_disagreements(compared, engine_config(settings), now())
        await store.orders.note("maintenance", None, reason)
    _show(results_console(), result)
    return ExitCode.SUCCESS if result.message is None else ExitCode.ISSUES_LEFT


def _show(console: "Console", result: "MaintenanceResult") -> None:
    from msgspec import convert

    from app.cli.output.issues import natural_key
    from app.cli.output.tables import plain_table
    from app.engine.report.models.report import UnresolvedKey

    figures = {
        name.replace("_", " "): value
        for name, value in result.as_json().items()
        if value and not isinstance(value, list | str)
    }
    seconds, _ = figures.pop("seconds", 0), figures.pop("accounts known", 0)
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
            f"Fits no account or several: {natural_key(convert(key, UnresolvedKey))}",
            markup=False,
            soft_wrap=True,
        )
    if result.money_dropped:
        told = dropped_sentence(result.money_dropped).lstrip()
        console.print(told, markup=False, soft_wrap=True)
    if result.message is not None:
        console.print(result.message, markup=False, soft_wrap=True)
