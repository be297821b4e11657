"""Failures a smaller request may avoid."""

from app.errors import (
    FetchFailed,
    FetchTooBroad,
    IncompleteFetch,
    RequestTooLarge,
    RowRefused,
    StatementTooSlow,
)

Spoiled = FetchFailed | RequestTooLarge | FetchTooBroad | RowRefused | StatementTooSlow
SPOILED = (FetchFailed, RequestTooLarge, FetchTooBroad, RowRefused, StatementTooSlow)
_LARGE = frozenset({400, 413, 414, 422})
"""Statuses for too many rows; 5xx and deadlines have none."""


def is_certain(failure: Spoiled) -> bool:
    """Whether the same request would fail again: it was rejected, or unproven in either pass."""
    return (
        isinstance(failure, FetchFailed)
        and not failure.skip
        and (failure.status is not None or isinstance(failure, IncompleteFetch))
    )


def may_be_too_large(failure: Spoiled) -> bool:
    """Whether fewer dates may be answered."""
    if isinstance(failure, IncompleteFetch):
        return bool(failure.skip)
    if isinstance(failure, FetchFailed):
        return bool(failure.skip) or failure.status is None or failure.status in _LARGE
    return not isinstance(failure, FetchTooBroad)


def may_pass(failure: Spoiled) -> bool:
    """Whether a later request may be answered."""
    return isinstance(failure, FetchFailed) and failure.status is None
