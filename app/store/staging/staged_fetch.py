"""State of a staged fetch."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.domain.accounts.counts import CountedDay
from app.domain.contract.tables import Endpoint
from app.domain.ids import FetchId

ANALYZED_ROWS = 500
"""Minimum for refreshing statistics."""


@dataclass(slots=True)
class StagedFetch:
    """A staged fetch; sealing it drops rows before `first_day`."""

    fetch_id: FetchId
    endpoint: Endpoint
    rows: int = 0
    has_unsent: bool = False
    """Some row lacked a column."""
    has_unnamed: bool = False
    """Some metrics row lacked an account id."""
    is_distinct: bool = False
    """All rows have complete, distinct keys, none rejected."""
    accounts: Mapping[str, int] | None = None
    """Row counts; None: unknown."""
    days: frozenset[dt.date] = frozenset()
    """Dates, if distinct."""
    shared_ids: frozenset[str] = frozenset()
    """Ids treated as missing."""
    first_day: dt.date | None = None
    before: Mapping[str, Mapping[dt.date, CountedDay]] = field(default_factory=dict)
    """Counts of dropped earlier rows."""
