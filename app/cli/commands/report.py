"""`trade-recon report`."""

from app.cli.options import Format, ListFormat
from app.cli.runtime import ExitCode, perform


def report(format_: Format = ListFormat.TABLE) -> None:
    """Show the reconciliation report."""
    perform(lambda: _reported(format_))


async def _reported(format_: ListFormat) -> ExitCode:
    from app.cli.output.report import show_report
    from app.cli.output.tables import results_console
    from app.cli.printed import print_json
    from app.composition import open_readings, open_store
    from app.settings.load import load_settings

    settings = load_settings()
    async with open_store(settings, only_reads=True) as store:
        found = await open_readings(settings, store).report()
    if format_ is ListFormat.JSON:
        print_json(found)
    else:
        show_report(results_console(), found)
    return ExitCode.SUCCESS if found.overall.total_accounts else ExitCode.ISSUES_LEFT
