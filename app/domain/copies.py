"""Copies of rows that trade-recon changed."""

import uuid
from dataclasses import dataclass
from enum import StrEnum

from app.domain.contract.tables import TABLES, Endpoint


class TableName(StrEnum):
    """The raw tables."""

    ALLTIME = TABLES[Endpoint.ALLTIME].name
    DAILY = TABLES[Endpoint.DAILY].name
    HOURLY = TABLES[Endpoint.HOURLY].name
    CLOSED = TABLES[Endpoint.CLOSED].name
    OPEN = TABLES[Endpoint.OPEN].name


class Reason(StrEnum):
    """What became of the copied row."""

    REMOVED = "removed"
    OVERWRITTEN = "overwritten"
    MOVED = "moved"
    PLACEHOLDER = "placeholder"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Filters of copies; None: any."""

    account_id: str | None = None
    table: str | None = None
    run_id: uuid.UUID | None = None
    reason: Reason | None = None


ANY_COPY = Wanted()
