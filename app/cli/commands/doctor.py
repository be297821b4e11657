"""`trade-recon doctor`."""

from app.cli.runtime import ExitCode, perform


def doctor() -> None:
    """Check the database and the API; change nothing.

    Ends with 1 if something is wrong.

    A page of each endpoint of the API is read, within the quota.
    """
    perform(_examined)


async def _examined() -> ExitCode:
    from app.cli.output.tables import results_console
    from app.examination import Level, examine
    from app.settings.load import load_settings
    from app.telemetry import redacted

    settings, console, is_wrong = load_settings(), results_console(), False
    async for finding in examine(settings):
        is_wrong |= finding.level is Level.WRONG
        console.print(f"{finding.level:<5}  {redacted(finding.text)}", markup=False, soft_wrap=True)
    return ExitCode.ISSUES_LEFT if is_wrong else ExitCode.SUCCESS
