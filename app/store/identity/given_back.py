"""Trades that got their account id back."""

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GivenBack:
    """Metrics rows that stood under the id `holder` and belong to `owner`: dates, number, and how
    many of them `owner` had already.
    """

    holder: str
    owner: str
    days: tuple[dt.date, ...]
    rows: int
    removed: int
