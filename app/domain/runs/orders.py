"""Recorded orders and reasons."""

from dataclasses import dataclass

from app.errors import InvalidRequest

LONGEST_REASON = 500


def bounded_reason(text: str | None) -> str | None:
    """The reason in one line; InvalidRequest if too long."""
    given = " ".join((text or "").replace("\x00", " ").split())
    if len(given) > LONGEST_REASON:
        raise InvalidRequest(
            f"A reason has at most {LONGEST_REASON} characters; this one has {len(given)}. Nothing"
            " was changed."
        )
    return given or None


def required_reason(text: str | None) -> str:
    """The reason in one line; InvalidRequest if too long or missing."""
    given = bounded_reason(text)
    if given is None:
        raise InvalidRequest("Give a reason: it is shown beside the decision. Nothing was changed.")
    return given


@dataclass(frozen=True, slots=True)
class Way:
    """How and why rows are restored."""

    is_trial: bool = False
    pins: bool = False
    reason: str | None = None
