"""History: the first compared date."""

import datetime as dt
import re
from dataclasses import dataclass

from app.errors import ConfigurationError

_MONTHS = re.compile(r"(\d{1,4})(?:\s*months?)?")
_MOST_MONTHS = 1200
_YEAR = 12
WHAT_IT_MAY_BE = "a date such as 2025-01-01, a number of months such as 18, or auto"


@dataclass(frozen=True, slots=True)
class HistoryFrom:
    """A date, or months before the current one; neither: by partitions."""

    date: dt.date | None = None
    months: int | None = None

    @classmethod
    def read(cls, text: str) -> "HistoryFrom":
        """Parse `2025-01-01`, `18 months` or `auto`; ConfigurationError."""
        said = text.strip().lower()
        if said == "auto":
            return cls()
        if (months := _MONTHS.fullmatch(said)) and int(months[1]) <= _MOST_MONTHS:
            return cls(months=int(months[1]))
        try:
            return cls(date=dt.datetime.strptime(said, "%Y-%m-%d").replace(tzinfo=dt.UTC).date())
        except ValueError:
            raise ConfigurationError(
                f"{text.strip()!r} is none: it must be {WHAT_IT_MAY_BE}"
            ) from None

    @property
    def is_auto(self) -> bool:
        """Whether partitions decide."""
        return self.date is None and self.months is None

    def first_day(self, today: dt.date, held_from: dt.date | None = None) -> dt.date | None:
        """The first compared date; None: all. ConfigurationError if none would be."""
        first = held_from
        if self.months is not None:
            number = today.year * _YEAR + today.month - 1 - self.months
            first = (
                dt.date(max(1, number // _YEAR), number % _YEAR + 1, 1) if number >= _YEAR else None
            )
        elif self.date is not None:
            first = self.date
        if first is not None and first > today:
            raise ConfigurationError(
                f"The history would begin on {first}, after today ({today}), by"
                f" RECON_HISTORY_FROM={self}: nothing would be compared. Set it to"
                f" {WHAT_IT_MAY_BE}. Nothing was changed."
            )
        return first

    def __str__(self) -> str:
        """As the setting holds it."""
        return (
            "auto"
            if self.is_auto
            else f"{self.date}"
            if self.date is not None
            else f"{self.months} months"
        )
