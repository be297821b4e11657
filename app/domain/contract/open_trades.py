"""Upstream's open trades against stored ones, by date."""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass

from app.domain.contract.rows import fields_of
from app.domain.ids import Login

NaturalKey = tuple[Login, str, str]
"""Login, platform and broker."""
_KEY = ("login", "platform", "broker")
_SHOWN = 100


def date_of(row: bytes) -> dt.date | None:
    """An open trade's date, if any."""
    raw = fields_of(row).get("tradeDate")
    text = "" if raw is None else bytes(raw).strip(b'"').decode("utf-8", "replace")
    digits = text.replace("-", "")[:8]
    if len(digits) != len("20250601") or not digits.isascii() or not digits.isdigit():
        return None
    try:
        return dt.date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def is_of(row: bytes, keys: Collection[NaturalKey]) -> bool:
    """Whether it has one of the keys."""
    fields = fields_of(row)
    login, platform, broker = (
        bytes(fields.get(name, b"")).strip(b'" ').decode("utf-8", "replace") for name in _KEY
    )
    return (login.lstrip("0"), platform, broker) in keys


def without_zeros(keys: Iterable[NaturalKey]) -> frozenset[NaturalKey]:
    """Keys as `is_of` compares them."""
    return frozenset(
        (Login(login.lstrip("0")), platform, broker) for login, platform, broker in keys
    )


@dataclass(frozen=True, slots=True)
class DifferingDate:
    """A date on which upstream and the warehouse count different open trades."""

    date: str
    upstream: int
    stored: int


@dataclass(frozen=True, slots=True)
class ComparedOpenTrades:
    """Both counts, by date where they differ; other stored dates are earlier snapshots."""

    upstream: int | None = None
    stored: int | None = None
    stored_of_other_dates: int | None = None
    dates: tuple[DifferingDate, ...] = ()
    dates_that_differ: int = 0
    error: str | None = None

    def as_json(self) -> dict[str, object]:
        """As recorded."""
        return asdict(self)


def compared(
    sent: Counter[dt.date | None], stored: Mapping[dt.date | None, int]
) -> ComparedOpenTrades:
    """Count both sides by date; stored rows of other dates are earlier snapshots."""
    days = sorted((day for day in sent if day is not None), reverse=True)
    differ = [day for day in days if sent[day] != stored.get(day, 0)]
    return ComparedOpenTrades(
        upstream=sum(sent.values()),
        stored=sum(stored.get(day, 0) for day in sent),
        stored_of_other_dates=sum(rows for day, rows in stored.items() if day not in sent),
        dates=tuple(
            DifferingDate(day.isoformat(), sent[day], stored.get(day, 0)) for day in differ[:_SHOWN]
        ),
        dates_that_differ=len(differ),
    )
