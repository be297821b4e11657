"""What a search reads through."""

import datetime as dt
from typing import Protocol

from app.domain.planning.planned_request import PlannedRequest
from app.errors import ReconError


class Reader(Protocol):
    """Reads requests, and is told what came of their accounts."""

    async def read(self, planned: PlannedRequest) -> int | None:
        """Read a request and keep its rows; their number, None if the reader stops."""

    def is_known(self, planned: PlannedRequest) -> bool:
        """Whether its accounts failed before; they have an allowance of their own."""

    def can_wait(self, planned: PlannedRequest) -> bool:
        """Whether all accounts of an unproven read come again in the run: the data may be at rest
        then.
        """

    def may_have_rows(self, planned: PlannedRequest) -> bool:
        """Whether rows of any account are stored, and upstream is not known to lack them all."""

    def first_day(self, planned: PlannedRequest) -> dt.date | None:
        """The first date on which the one account of the request is known to have rows."""

    def failed(self, planned: PlannedRequest, error: ReconError) -> None:
        """The account failed alone; or all accounts, which `can_wait`, could not be read now."""

    def untried(self, planned: PlannedRequest, reason: str) -> None:
        """The accounts were not read alone: nothing is known against them."""

    def read_in_parts(self, planned: PlannedRequest) -> None:
        """A request for all dates of an account was read whole, in parts."""
