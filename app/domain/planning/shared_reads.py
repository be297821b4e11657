"""A date of a table that a run reads once, for all of its batches."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.contract.tables import Endpoint, Request


@dataclass(frozen=True, slots=True)
class SharedRead:
    """A date of a table, read for the whole run; beyond `most_rows` ids are cheaper.

    `is_gap`: no table has rows of it, so counts do not name it.
    """

    endpoint: Endpoint
    day: dt.date
    most_rows: int
    rows: int
    """Expected."""
    is_gap: bool = False

    @property
    def place(self) -> tuple[Endpoint, dt.date]:
        """Its key within the run."""
        return self.endpoint, self.day

    @property
    def request(self) -> Request:
        """The scan."""
        if self.endpoint.is_trades:
            return Request(self.endpoint, date_from=self.day, date_to=self.day)
        return Request(self.endpoint, dates=(self.day,))


SharedReads = Mapping[tuple[Endpoint, dt.date], SharedRead]
