"""What a search reads through."""

import datetime as dt
from typing import Protocol

from app.domain.planning.planned_request import PlannedRequest
from app.errors import ReconError


class Reader(Protocol):
    """Reads requests, and notes results at their accounts."""

    async def read(self, planned: PlannedRequest) -> int | None:
        """Number of rows kept; None on stop."""

    def is_known(self, planned: PlannedRequest) -> bool:
        """Whether its accounts failed before; they have their own allowance."""

    def can_wait(self, planned: PlannedRequest) -> bool:
        """Whether all accounts come again in this run."""

    def may_have_rows(self, planned: PlannedRequest) -> bool:
        """Whether any has stored rows that upstream is not known to lack."""

    def first_day(self, planned: PlannedRequest) -> dt.date | None:
        """The account's first date with known rows."""

    def failed(self, planned: PlannedRequest, error: ReconError) -> None:
        """The account failed alone, or all, which `can_wait`, were unreadable."""

    def untried(self, planned: PlannedRequest, reason: str) -> None:
        """The accounts were not read alone: none is blamed."""

    def read_in_parts(self, planned: PlannedRequest) -> None:
        """All dates of an account were read, in parts."""
