"""RECON_SEARCH_REQUESTS: a run's vain requests."""

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
    """Vain requests for `new` and `known` failures."""

    new: int = 0
    known: int = 0


class SearchBudget:
    """Counts vain requests; answered ones cost nothing."""

    def __init__(self, reader: Reader, allowance: Spent) -> None:
        self._reader = reader
        self._allowance = allowance
        self.spent = Spent()

    @contextmanager
    def paying(self, planned: PlannedRequest) -> Iterator[None]:
        """Count requests inside."""
        sent = ApiStatistics()
        try:
            with sent.recording():
                yield
        finally:
            self.pay(planned, sent.requests)

    @contextmanager
    def paying_if_spoiled(self, planned: PlannedRequest) -> Iterator[None]:
        """Count requests inside if they fail."""
        sent = ApiStatistics()
        try:
            with sent.recording():
                yield
        except SPOILED:
            self.pay(planned, sent.requests)
            raise

    def pay(self, planned: PlannedRequest, requests: int) -> None:
        """Count vain requests."""
        if self._reader.is_known(planned):
            self.spent.known += requests
        else:
            self.spent.new += requests

    def is_spent(self, planned: PlannedRequest) -> bool:
        """Whether nothing is left for these."""
        if self._reader.is_known(planned):
            return self.spent.known >= self._allowance.known
        return self.spent.new >= self._allowance.new


def stopped(failure: ReconError) -> str:
    """Why accounts stay untried."""
    return (
        "Requests that name the account together with others fail, and this run has spent its"
        " RECON_SEARCH_REQUESTS on the search for those at fault. The account was not read"
        f" alone, so this costs it no attempt; the next run reads it. Last: {failure}"
    )
