"""Differences between stored rows and upstream's."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.domain.contract.tables import Endpoint


class Differs(StrEnum):
    """How a row differs."""

    CHANGED = "changed"
    MISSING = "missing"
    """Sent but not stored."""
    UNSENT = "unsent"
    """Stored but not sent."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows of one table and date that differ alike; `counts`: in trades, `refused`: the table
    cannot hold them.
    """

    endpoint: Endpoint
    day: dt.date | None
    differs: Differs
    rows: int
    columns: tuple[str, ...] = ()
    counts: bool = False
    refused: bool = False
    samples: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class ComparedTable:
    """A table's compared rows and differences."""

    rows: int = 0
    differences: tuple[Difference, ...] = ()
