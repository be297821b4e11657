"""How upstream's rows differ from stored ones, where all of them were read."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.domain.contract.tables import Endpoint


class Differs(StrEnum):
    """How a row differs."""

    CHANGED = "changed"
    """It is stored with other values than upstream sends."""
    MISSING = "missing"
    """Upstream sends it, and it is not stored."""
    UNSENT = "unsent"
    """It is stored, and upstream does not send it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows of one table and date that differ alike; the first with old and new values.

    `columns` hold other values. `counts`: trades are counted differently, which detection sees.
    `refused`: the table cannot hold them as sent.
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
    """What was compared of one table: `rows` of both sides, and their differences."""

    rows: int = 0
    differences: tuple[Difference, ...] = ()
