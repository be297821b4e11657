"""Nouns that agree with their number."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """As in "1 account" and "2 accounts"."""
    return f"{number} {choose(number, noun, plural or f'{noun}s')}"


def choose(number: int, one: str, several: str) -> str:
    """The word that agrees with the number."""
    return one if number == 1 else several
