"""Shared by models of HTTP."""

import math
from typing import Annotated

from pydantic import BeforeValidator, Field

from app.domain.states import Outcome, RunKind, RunStatus

MOST_ACCOUNTS = 10_000
LARGEST_LIMIT = 2**31 - 1
AccountId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=255,
        pattern="^[^\\x00]+$",  # PostgreSQL holds every character but this one
        description=(
            "An account id as the warehouse holds it; in a path percent-encoded, so that `/` is"
            " `%2F`."
        ),
    ),
]
AnyKind = RunKind | str
AnyStatus = RunStatus | str
AnyOutcome = Outcome | str
"""Newer versions may record others."""


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]
