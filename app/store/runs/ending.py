"""A run's final status and reason."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.holds.limits import HoldLimits
from app.domain.holds.run_guard import undoing
from app.domain.runs.emptiness import nothing_known
from app.domain.runs.leftovers import Leftovers, status_of
from app.domain.states import RunStatus
from app.domain.wording.counts import counted
from app.store.database.transaction import Record


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a run; `lifts_suspicion` if all it held was confirmed."""

    status: RunStatus
    reason: str | None
    finds_upstream_well: bool
    lifts_suspicion: bool


def judge_end(
    run_id: uuid.UUID, state: Record, still_held: int, left: Leftovers, limits: HoldLimits
) -> Ending:
    """The end of a run by its counts (`state`), accounts `still_held` and leftovers.

    Stopped, or with all accounts held, it needs confirmation while any is held; with some held it
    is completed with issues, and can be confirmed as well.
    """
    held = state["needs_confirmation"]
    # With no hold left to confirm, no confirmation could continue the run.
    is_settled = not still_held and (
        held > 0 or (state["only_confirmed"] and not state["unreached"])
    )
    stopped = None if is_settled else _why_stopped(run_id, state, still_held, limits)
    status = status_of(
        left.with_held(still_held), is_faulty=bool(state["fault"]), is_stopped=stopped is not None
    )
    is_complete = status in (RunStatus.SUCCEEDED, RunStatus.COMPLETED_WITH_ISSUES)
    return Ending(
        status,
        " ".join(_reasons(state, stopped)) or None,
        finds_upstream_well=is_complete and _finds_upstream_well(state, limits),
        lifts_suspicion=is_settled and not held,
    )


def _why_stopped(
    run_id: uuid.UUID, state: Record, still_held: int, limits: HoldLimits
) -> str | None:
    total = state["total"]
    # During the run each process knew only part of the counts; here they are complete.
    if state["suspicion"] is not None or limits.suspects(state["lowered"], total):
        return state["suspicion"] or limits.suspicion(
            state["lowered"], total, state["rewritten"]
        ) + undoing(run_id)
    if 0 < still_held == total:
        return (
            "The only account of the run is held."
            if still_held == 1
            else f"All {still_held} accounts of the run are held."
        )
    return None


def _reasons(state: Record, stopped: str | None) -> list[str]:
    reasons: list[str] = []
    if state["fault"]:
        reasons.append(state["fault"])
    elif stopped is not None:
        reasons.append(stopped)
    elif state["untried"]:
        reasons.append(
            "Requests for several accounts fail, and the search for those at fault stopped after"
            f" {counted(state['searched'], 'request')} (RECON_SEARCH_REQUESTS); accounts that were"
            " not read alone wait for the next run."
        )
    if state["incomplete"]:
        reasons.append(f"Maintenance before the run was not completed. {state['incomplete']}")
    if state["missing_partitions"]:
        reasons.append(_without_partition(state["missing_partitions"], state["history_from"]))
    if empty := nothing_known(state["kind"], state["known_accounts"], state["refused"]):
        reasons.append(empty)
    return reasons


def _without_partition(missing: Sequence[str], first: dt.date | None) -> str:
    months: dict[str, list[str]] = {}
    for each in sorted(missing):
        table, month = each.rsplit(" ", 1)
        months.setdefault(table, []).append(month)
    listed = "; ".join(f"{table} {', '.join(of_table)}" for table, of_table in months.items())
    what = f"Rows of months that no partition takes were not stored ({listed})."
    if first is not None:
        return (
            f"{what} They lie in the history, which begins on {first}: create or attach them, as"
            " the details say, or let it begin later."
        )
    return (
        f"{what} If the owner dropped or detached them, set RECON_HISTORY_FROM=auto (where"
        " partitions stand before them, a date behind them): then they are neither asked for nor"
        " counted; otherwise create or attach them, as the details say."
    )


def _finds_upstream_well(state: Record, limits: HoldLimits) -> bool:
    """Whether an audit compared enough to clear upstream.

    Accounts held before, or not compared, count as lowered.
    """
    known = state["known"]
    if known is None:
        return False
    doubtful = state["lowered"] + state["held_before"] + max(known - state["compared"], 0)
    return state["compared"] > doubtful and not limits.suspects(doubtful, known)
