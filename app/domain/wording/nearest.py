"""Guesses at mistyped names."""

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

_SEPARATORS = re.compile(r"[-_ .]+")
_LEAST_BEGINNING = 3


def nearest(name: str, known: Iterable[str], cutoff: float = 0.65) -> str | None:
    """The most similar known name, or unique beginning, in any case; None below `cutoff`."""
    names = list(dict.fromkeys(known))
    plain = _plain(name)
    likeness = {each: _likeness(plain, _plain(each)) for each in names}
    best = max(names, key=lambda each: likeness[each], default=None)
    if best is not None and likeness[best] >= cutoff:
        return best
    begun = [
        each for each in names if len(plain) >= _LEAST_BEGINNING and _plain(each).startswith(plain)
    ]
    return begun[0] if len(begun) == 1 else None


def _plain(name: str) -> str:
    return _SEPARATORS.sub(" ", name.lower()).strip()


def _likeness(one: str, other: str) -> float:
    whole = SequenceMatcher(None, _joined(one.split()), _joined(other.split())).ratio()
    return max(
        whole,
        SequenceMatcher(None, _joined(sorted(one.split())), _joined(sorted(other.split()))).ratio(),
    )


def _joined(words: Sequence[str]) -> str:
    return "".join(words)
