"""Metrics rows moved to their owners."""

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GivenBack:
    """Rows moved from `holder`; `removed` ones the owner already had."""

    holder: str
    owner: str
    days: tuple[dt.date, ...]
    rows: int
    removed: int
