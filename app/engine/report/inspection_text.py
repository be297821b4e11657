"""An inspection's result in words."""

from app.domain.runs.emptiness import NOBODY_KNOWN
from app.domain.states import RunStatus
from app.domain.wording.counts import choose, counted
from app.engine.report.models.inspection import (
    Breakdowns,
    InspectedAccounts,
    InspectedDate,
    LackingDate,
    TableTrades,
)


def sentence(status: str, accounts: InspectedAccounts, breakdowns: Breakdowns) -> str:
    """An inspection's result or progress."""
    if not RunStatus(status).is_end:
        return (
            f"The inspection is {status}: {accounts.inspected} of"
            f" {counted(accounts.total, 'account')} so far."
        )
    if status in (RunStatus.FAILED, RunStatus.CANCELLED):
        return (
            f"The inspection is {status}; {counted(accounts.inspected, 'account')}"
            " came before that."
        )
    if accounts.known == 0:
        return NOBODY_KNOWN
    return (
        f"{_outcomes(accounts)}. Nothing was healed, and upstream was not asked."
        f"{_dates(accounts, breakdowns)}"
    )


def _outcomes(accounts: InspectedAccounts) -> str:
    found, explained, unchanged = accounts.found, accounts.explained, accounts.unchanged
    said = (
        f"{counted(accounts.inspected, 'account')} inspected: {found}"
        f" {choose(found, 'has', 'have')} issues"
    )
    if explained:
        said += (
            f", {explained} {choose(explained, 'has', 'have')} only what is for information or"
            " known not to be the warehouse's to heal"
        )
    said += f", {unchanged} {choose(unchanged, 'agrees', 'agree')}"
    if left := accounts.not_inspected:
        said += f"; {left} {choose(left, 'was', 'were')} not inspected"
    return said


def _dates(accounts: InspectedAccounts, breakdowns: Breakdowns) -> str:
    """The worst date, and trades missing at unknown dates."""
    if not accounts.found:
        return ""
    # The newest of several, as the table lists them.
    worst = max(breakdowns.by_date, key=lambda day: (day.accounts, day.date), default=None)
    lacking = max(breakdowns.lacking_dates, key=lambda day: (day.accounts, day.date), default=None)
    beyond = breakdowns.beyond_dates.accounts
    said = ""
    if worst is not None and worst.accounts > max(1, beyond):
        said += _worst(worst, accounts)
    if lacking is not None:
        said += (
            f" {lacking.date} seems to be missing in all tables at {_share(lacking, accounts)},"
            " whose alltime counts more."
        )
    elif beyond:
        said += (
            f" {counted(beyond, 'account')} {choose(beyond, 'counts', 'count')} more trades in"
            " alltime than in any other table: of which dates, the warehouse does not tell."
        )
    return said


def _worst(day: InspectedDate, accounts: InspectedAccounts) -> str:
    most = 2 * day.accounts > accounts.found + accounts.explained
    tables = ", ".join([*map(_short, day.short), *map(_more, day.more)])
    told = (
        f"Most of them differ on {day.date}"
        if most
        else f"The date on which most accounts differ is {day.date}"
    )
    return f" {told}, at {_share(day, accounts)}{f': {tables}' if tables else ''}."


def _short(short: TableTrades) -> str:
    return f"{short.table} is short of {counted(short.trades, 'trade')} at {short.accounts}"


def _more(more: TableTrades) -> str:
    return (
        f"{more.table} has {counted(more.trades, 'trade')} more than the others at {more.accounts}"
    )


def _share(day: InspectedDate | LackingDate, accounts: InspectedAccounts) -> str:
    return f"{day.accounts} of {counted(accounts.total, 'account')} ({day.share:.0%})"
