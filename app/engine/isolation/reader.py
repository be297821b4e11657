"""The interface of a search to its reads."""

import datetime as dt
from typing import Protocol

from app.domain.planning.planned_request import PlannedRequest
from app.errors import ReconError


class Reader(Protocol):
    """Reads requests and notes results."""

    async def read(self, planned: PlannedRequest) -> int | None:
        """Number of rows kept; None on stop."""

    def is_known(self, planned: PlannedRequest) -> bool:
        """Whether its accounts failed before, and have another allowance."""

    def can_wait(self, planned: PlannedRequest) -> bool:
        """Whether all accounts come again in this run."""

    def may_have_rows(self, planned: PlannedRequest) -> bool:
        """Whether any has rows upstream may have."""

    def first_day(self, planned: PlannedRequest) -> dt.date | None:
        """The account's first known date."""

    def failed(self, planned: PlannedRequest, error: ReconError) -> None:
        """The account failed alone, or all that `can_wait`."""

    def untried(self, planned: PlannedRequest, reason: str) -> None:
        """No account was read alone, none is blamed."""

    def read_in_parts(self, planned: PlannedRequest) -> None:
        """An account's dates were read in parts."""
