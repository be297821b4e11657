"""Models of the engine as the values that JSON shows, with Python's own dates and ids."""

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import msgspec


def plain(model: object) -> Any:  # noqa: ANN401 - a test looks into it as into JSON
    """A model as dicts and lists."""
    return msgspec.to_builtins(model, builtin_types=(dt.datetime, dt.date, uuid.UUID, Decimal))
