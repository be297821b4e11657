"""A fetch in staging, as all who work with it know it."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.domain.accounts.counts import CountedDay
from app.domain.contract.tables import Endpoint
from app.domain.ids import FetchId

ANALYZED_ROWS = 500
"""From so many rows on a fetch's statistics are worth their time."""


@dataclass(slots=True)
class StagedFetch:
    """A fetch in staging: its id, its table, and how many rows it has.

    Once it is proven no row of before `first_day` is kept.
    """

    fetch_id: FetchId
    endpoint: Endpoint
    rows: int = 0
    has_unsent: bool = False
    """A row was sent without a column of the table."""
    has_unnamed: bool = False
    """Rows of metrics came without an account id."""
    is_distinct: bool = False
    """All rows have whole keys, no two the same, and none was refused."""
    accounts: Mapping[str, int] | None = None
    """Rows by account; None: not counted."""
    days: frozenset[dt.date] = frozenset()
    """The dates of the rows, where they are distinct."""
    shared_ids: frozenset[str] = frozenset()
    """Account ids that count as none."""
    first_day: dt.date | None = None
    before: Mapping[str, Mapping[dt.date, CountedDay]] = field(default_factory=dict)
    """What rows of before `first_day` counted, by account and date."""
