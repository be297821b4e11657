"""Messages of an empty warehouse."""

from app.domain.states import RunKind
from app.domain.wording.counts import choose, counted

_NOTHING = "There is nothing to compare, since no account is known"
NOBODY_KNOWN = (
    f"{_NOTHING}: run --kind audit first (`trade-recon reconcile --kind audit`, or POST /runs with"
    " kind audit), which lists the accounts that upstream has."
)
"""The hint where no account is known."""
NOTHING_LISTED = (
    f"{_NOTHING}: the tables are empty, and upstream lists none either. Check RISK_API_BASE_URL,"
    " and what the API key may see."
)
"""After an audit of all accounts."""
NO_TRADES = (
    "No account counts a trade: that the tables agree rests on nothing but their being empty."
)


def nothing_known(kind: str, accounts: int | None, refused: int) -> str | None:
    """The message of a run without accounts."""
    if accounts is None or accounts > 0:
        return None
    if refused:
        return refused_sentence(refused)
    return NOTHING_LISTED if kind == RunKind.AUDIT else NOBODY_KNOWN


def refused_sentence(accounts: int) -> str:
    """PostgreSQL rejects all accounts."""
    return (
        f"{_NOTHING}: {counted(accounts, 'account')} {choose(accounts, 'stands', 'stand')} in the"
        " tables, and PostgreSQL refuses each row in trade_recon; the log says why"
        " (`maintenance.refused`), and `trade-recon doctor` what to do."
    )
