"""Counts in sentences: a noun agrees with its number."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun, as in "1 account" and "2 accounts"; `plural` where it is not the noun
    with an s.
    """
    return f"{number} {choose(number, noun, plural or f'{noun}s')}"


def choose(number: int, one: str, several: str) -> str:
    """The word that agrees with the number."""
    return one if number == 1 else several
