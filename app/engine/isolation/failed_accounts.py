"""Records accounts that break every batch off."""

from collections.abc import Callable

from app.domain.accounts.progress import Effort
from app.domain.states import Outcome
from app.engine.repositories import Repositories
from app.store.claims.claim import Claim, FirstPass
from app.store.results.account_result import AccountResult, Terms


class FailedAccounts:
    """Records them as failed, costing an attempt."""

    def __init__(self, store: Repositories, terms: Callable[[], Terms]) -> None:
        self._store = store
        self._terms = terms

    async def __call__(self, claim: Claim, reason: str) -> None:
        """Record the claim's only account."""
        (account_id,) = claim.account_ids
        result = AccountResult(
            account_id,
            Outcome.FAILED,
            found=(),
            left=None,
            effort=Effort(),
            failing=True,
            signature="",
            detail=f"The account cannot be reconciled: {reason}",
            before=claim.first_pass(account_id) or FirstPass(),
        )
        await self._store.results.record(
            claim, [result], seconds=0, requests=0, terms=self._terms(), judged=()
        )
