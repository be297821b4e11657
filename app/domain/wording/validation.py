"""Validation errors as requirements of a value."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from app.domain.wording.counts import counted

_KINDS = (
    "datetime",
    "date",
    "time",
    "int",
    "float",
    "bool",
    "uuid",
    "url",
    "enum",
    "literal",
    "string",
    "list",
    "tuple",
    "set",
    "dict",
)

_Context = Mapping[str, Any]
_BOUNDS: Mapping[str, str] = {
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "too_short": "must name at least {min_length}",
    "too_long": "must name at most {max_length}",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
}
_LENGTHS: Mapping[str, tuple[str, str, str]] = {
    "string_too_short": ("must have at least", "min_length", "character"),
    "string_too_long": ("must have at most", "max_length", "character"),
    "bytes_too_short": ("must have at least", "min_length", "byte"),
    "bytes_too_long": ("must have at most", "max_length", "byte"),
}
_WORDS: Mapping[str, str] = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "json_invalid": "is no JSON",
    "none_required": "must be null",
    "finite_number": "must be a finite number",
    "string_pattern_mismatch": "holds characters that it may not hold",
    "timezone_aware": "must name its time zone, as in 2026-11-28T01:00:00-05:00",
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "bool": "must be true or false",
    "int": "must be a whole number",
    "float": "must be a number",
    "string": "must be a text",
    "list": "must be a list",
    "tuple": "must be a list",
    "set": "must be a list",
    "uuid": "must be a UUID, such as 6ba7b810-9dad-41d1-80b4-00c04fd430c8",
    "datetime": "must be a time with its zone, such as 2026-11-28T01:00:00-05:00",
    "date": "must be a date, such as 2026-11-28",
    "time": "must be a time of day, such as 01:00",
    "url": "must be a URL",
}
_OWN = re.compile(r"^(Value error|Assertion failed), ")


@dataclass(frozen=True, slots=True)
class RejectedValue:
    """A validator's error, without the input."""

    kind: str
    place: tuple[str | int, ...]
    message: str
    context: _Context

    @classmethod
    def read(cls, error: Mapping[str, Any]) -> Self:
        """One of pydantic's errors."""
        return cls(
            str(error.get("type")),
            tuple(error.get("loc", ())),
            str(error.get("msg", "")),
            error.get("ctx") or {},
        )

    @property
    def requirement(self) -> str:
        """What the value must be; see `requirement`."""
        return requirement(self.kind, self.context, self.message)


def requirement(kind: str, context: _Context, message: str) -> str:
    """The rest of a sentence that begins with the value's name."""
    if kind in _BOUNDS and (found := _filled(_BOUNDS[kind], context)) is not None:
        return found
    if kind in _LENGTHS:
        words, limit, noun = _LENGTHS[kind]
        if limit in context:
            return f"{words} {counted(context[limit], noun)}"
    if kind in _WORDS:
        return _WORDS[kind]
    family = next((each for each in _KINDS if kind.startswith(f"{each}_")), "")
    if family in _WORDS:
        return _WORDS[family]
    own = _OWN.sub("", message).strip().rstrip(".")
    return f"cannot be taken: {own[:1].lower()}{own[1:]}" if own else "cannot be taken"


def _filled(pattern: str, context: _Context) -> str | None:
    try:
        return pattern.format_map(context)
    except KeyError:
        return None
