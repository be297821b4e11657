"""Metrics rows moved to their owners."""

import datetime as dt
from dataclasses import dataclass

from app.domain.ids import AccountId


@dataclass(frozen=True, slots=True)
class GivenBack:
    """Rows moved from `holder`; `removed` ones the owner already had."""

    holder: AccountId
    owner: AccountId
    days: tuple[dt.date, ...]
    rows: int
    removed: int
