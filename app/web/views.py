"""Answers made of what the store knows, for each face that shows them in the models of HTTP."""

from app.store.report.account_reader import AccountReport
from app.store.restore.changed_rows import nulled_values
from app.web.schemas.accounts import Account, AccountStatistics


def shown_account(found: AccountReport) -> Account:
    """An account as it stands."""
    state = dict(found.state)
    return Account.model_validate(
        {
            **state,
            "issues": found.issues,
            "stats": AccountStatistics.model_validate(state),
            "attempts": [dict(row) for row in found.attempts],
            "history": [dict(row) for row in found.history],
            "set_aside": [
                {**row, "nulled": nulled_values(row["table"], row["reason"], row["row_text"])}
                for row in found.set_aside
            ],
            "rests_on": found.rests_on,
            "accepted": [dict(row) for row in found.accepted],
            "pinned": [dict(row) for row in found.pins],
        }
    )
