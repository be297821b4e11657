"""Rows of upstream beside stored ones: how they differ where all of them were read."""

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
    """Rows of one table and date of an account that differ in the same way, and the first of them
    with old and new values.

    `columns` are those that hold other values. With `counts` trades are counted differently, which
    detection sees by itself. `refused` rows cannot be stored as they were sent: the table does not
    take them.
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
    """What of one table of one account was compared: `rows` of upstream and stored ones together,
    and the differences that were found.
    """

    rows: int = 0
    differences: tuple[Difference, ...] = ()
