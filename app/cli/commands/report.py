"""`trade-recon report`."""

from app.cli.options import Format, ListFormat
from app.cli.reading import answer, open_record
from app.cli.runtime import ExitCode, perform


def report(format_: Format = ListFormat.TABLE) -> None:
    """Show the reconciliation report."""
    perform(lambda: _reported(format_))


async def _reported(format_: ListFormat) -> ExitCode:
    from app.cli.output.report import show_report

    async with open_record() as readings:
        found = await readings.report()
    answer(found, format_, show_report)
    return ExitCode.SUCCESS if found.overall.total_accounts else ExitCode.ISSUES_LEFT
