"""Accounts of a batch of which all that is open is accepted."""

import datetime as dt
from collections.abc import Mapping

from app.domain.accounts.view import AcceptedIssue
from app.domain.issues.acceptance import is_covered
from app.engine.batch.state import BatchState
from app.store.runs.active_runs import ActiveRun


def cover(
    run: ActiveRun,
    work: BatchState,
    accepted: Mapping[str, Mapping[str, AcceptedIssue]],
    today: dt.date,
) -> frozenset[str]:
    """Tell a batch what is accepted of its accounts: a run that compares counts asks nothing about
    those of which all is.

    Accounts that somebody named, or whose rows are compared, are asked about; so are those of a run
    that was confirmed. Gives the accounts that were held when an issue of theirs was accepted: they
    are guarded as such.
    """
    asks = run.request.compares_rows or run.request.account_ids is not None or run.confirmed
    for account_id in accepted.keys() & work.views.keys():
        valid = {code: each for code, each in accepted[account_id].items() if each.until > today}
        known = work.progress[account_id]
        known.accepted.update(valid)
        if not asks and is_covered(work.views[account_id], valid):
            known.known = known.covered = True
    return frozenset(
        account_id
        for account_id, by_code in accepted.items()
        if any(each.was_held for each in by_code.values())
    )
