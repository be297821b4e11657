"""Models of the engine as the values that JSON shows, with Python's own dates and ids."""

import datetime as dt
import uuid
from typing import Any

import msgspec

from app.engine.report.models.report import Report


def plain(model: object) -> Any:  # noqa: ANN401 - a test looks into it as into JSON
    """A model as dicts and lists."""
    return msgspec.to_builtins(model, builtin_types=(dt.datetime, dt.date, uuid.UUID))


def plain_report(report: Report) -> dict[str, Any]:
    """The report with its figures as JSON keeps them; what follows from them at the moment of
    reading stays a date.
    """
    figures: dict[str, Any] = msgspec.to_builtins(report)
    return {**figures, "as_of": report.as_of, "reconciled_through": report.reconciled_through}
