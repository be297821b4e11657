"""Recorded issues, also those of another system."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from app.domain.issues.codes import Severity


@dataclass(frozen=True, slots=True)
class RecordedIssue:
    """An entry of `trade_recon.issues`, as far as it is understood."""

    type: str
    severity: int
    affected: frozenset[str]
    dates: frozenset[str]

    @classmethod
    def read(cls, entry: Mapping[str, object]) -> Self:
        """Unusable parts become INFO, no tables, no dates."""
        affected = entry.get("affected")
        return cls(
            str(entry.get("type")),
            _severity(entry.get("severity")),
            frozenset(map(str, affected)) if isinstance(affected, list | tuple) else frozenset(),
            _dates(entry),
        )


def _severity(severity: object) -> int:
    return (
        severity
        if isinstance(severity, int) and Severity.CRITICAL <= severity <= Severity.INFO
        else int(Severity.INFO)
    )


def _dates(entry: Mapping[str, object]) -> frozenset[str]:
    for name in ("missing_dates", "dates"):
        days = entry.get(name)
        if isinstance(days, list | tuple):
            return frozenset(day[:10] for day in days if isinstance(day, str) and _is_date(day))
    return frozenset()


def _is_date(text: str) -> bool:
    try:
        dt.date.fromisoformat(text[:10])
    except ValueError:
        return False
    return True
