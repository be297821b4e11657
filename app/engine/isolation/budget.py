"""What a search may spend in vain: RECON_SEARCH_REQUESTS of a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.domain.planning.planned_request import PlannedRequest
from app.engine.isolation.reader import Reader
from app.engine.isolation.spoiled import SPOILED
from app.errors import ReconError
from app.upstream.stats import ApiStatistics


@dataclass(slots=True)
class Spent:
    """Requests in vain: for accounts that fail for the first time, and for those `known` to."""

    new: int = 0
    known: int = 0


class SearchBudget:
    """Counts requests in vain against an allowance; requests that are answered cost nothing."""

    def __init__(self, reader: Reader, allowance: Spent) -> None:
        self._reader = reader
        self._allowance = allowance
        self.spent = Spent()

    @contextmanager
    def paying(self, planned: PlannedRequest) -> Iterator[None]:
        """Count all requests that are sent inside."""
        sent = ApiStatistics()
        try:
            with sent.recording():
                yield
        finally:
            self.pay(planned, sent.requests)

    @contextmanager
    def paying_if_spoiled(self, planned: PlannedRequest) -> Iterator[None]:
        """Count the requests that are sent inside if they fail."""
        sent = ApiStatistics()
        try:
            with sent.recording():
                yield
        except SPOILED:
            self.pay(planned, sent.requests)
            raise

    def pay(self, planned: PlannedRequest, requests: int) -> None:
        """Count requests in vain."""
        if self._reader.is_known(planned):
            self.spent.known += requests
        else:
            self.spent.new += requests

    def is_spent(self, planned: PlannedRequest) -> bool:
        """Whether nothing is left for accounts such as these."""
        if self._reader.is_known(planned):
            return self.spent.known >= self._allowance.known
        return self.spent.new >= self._allowance.new


def stopped(failure: ReconError) -> str:
    """Why accounts stay untried when the allowance is spent."""
    return (
        "Requests that name the account together with others fail, and this run has spent its"
        " RECON_SEARCH_REQUESTS on the search for those at fault. The account was not read"
        f" alone, so this costs it no attempt; the next run reads it. Last: {failure}"
    )
