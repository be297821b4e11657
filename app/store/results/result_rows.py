"""Account results as database rows."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from app.domain.accounts.progress import Effort
from app.domain.states import Outcome
from app.domain.verdict.closing import Closing
from app.store.claims.claim import Claim
from app.store.results.account_result import AccountResult, Terms


def closing_evidence(
    claim: Claim, outcome: Outcome, effort: Effort, closing: Closing
) -> dict[str, object]:
    """A closed issue's evidence."""
    return {
        **closing.as_json(),
        "run_id": str(claim.run_id),
        "outcome": outcome.value,
        **msgspec.to_builtins(effort),
    }


def closings_of(claim: Claim, result: AccountResult) -> dict[str, object]:
    """Closing evidence by issue code."""
    return {
        code.value: closing_evidence(claim, result.outcome, result.whole_effort, closing)
        for code, closing in result.closings.items()
    }


def attempt_row(result: AccountResult) -> dict[str, object]:
    """The row in recon_attempts."""
    effort = result.whole_effort
    return {
        "account_id": result.account_id,
        "outcome": result.outcome.value,
        "requests": effort.requests,
        "own_seconds": round(effort.seconds, 4),
        "own_requests": round(effort.own_requests, 4),
        "inserted": effort.inserted,
        "updated": effort.updated,
        "moved": effort.moved,
        "removed": effort.removed,
        "set_aside": effort.set_aside,
        "nulled": effort.values_nulled,
        "found": result.codes_found,
        "remaining": [issue.code.value for issue in result.left or ()],
        "detail": result.detail,
        "untried": result.untried,
        "held": result.shown,
        "compared": result.compared,
        "seen": result.seen,
    }


def state_row(result: AccountResult, failures: int, terms: Terms) -> dict[str, object]:
    """The row in trade_recon, given earlier `failures`."""
    return {
        "account_id": result.account_id,
        "outcome": result.outcome.value,
        "issues": None if result.left is None else [issue.as_json() for issue in result.left],
        "failing": result.failing,
        "signature": result.signature,
        "is_whole": result.is_whole,
        "next_attempt_at": _next_attempt_at(result, failures, terms),
        "explained_times": 0 if result.explained is None else result.explained.times,
        "ask_again_at": (
            None if result.explained is None else result.explained.ask_again_at.isoformat()
        ),
    }


def _next_attempt_at(result: AccountResult, failures: int, terms: Terms) -> str | None:
    at = terms.next_attempt(failures + 1) if result.failing else result.held_until
    return None if at is None else at.isoformat()


def compared_by_table(results: Sequence[AccountResult]) -> dict[str, dict[str, int]]:
    """Row comparisons summed by table."""
    tables: dict[str, dict[str, int]] = {}
    for result in results:
        for table, figures in (result.compared or {}).items():
            known = tables.setdefault(table, {"rows": 0, "columns": 0, "differing": 0})
            known["rows"] += figures["rows"]
            known["columns"] = max(known["columns"], figures["columns"])
            known["differing"] += figures["differing"]
    return tables


def batch_counts(
    results: Sequence[AccountResult],
    postponed: Sequence[AccountResult],
    requests: int,
    beside: Sequence[Effort],
) -> tuple[int, ...]:
    """Arguments of count_batch."""
    outcomes = Counter(result.outcome for result in results)
    return (
        *(
            outcomes[outcome]
            for outcome in (
                Outcome.UNCHANGED,
                Outcome.HEALED,
                Outcome.EXPLAINED,
                Outcome.PARTIAL,
                Outcome.FAILED,
            )
        ),
        requests,
        *rows_written([*(result.effort for result in (*results, *postponed)), *beside]),
        sum(not result.untried for result in postponed),
        outcomes[Outcome.FLAPPING],
        outcomes[Outcome.NEEDS_CONFIRMATION],
    )


def rows_written(efforts: Sequence[Effort]) -> tuple[int, ...]:
    """Rows written, in the run's column order."""
    return (
        sum(effort.inserted for effort in efforts),
        sum(effort.updated for effort in efforts),
        sum(effort.moved for effort in efforts),
        sum(effort.removed for effort in efforts),
        sum(effort.set_aside for effort in efforts),
        sum(effort.values_nulled for effort in efforts),
    )
