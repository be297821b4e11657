"""SQL text for a person to run, in any client: quoted, names and values on one line."""

import hashlib
from collections.abc import Iterable

LONGEST_NAME = 63
"""Bytes that PostgreSQL keeps of a name."""


def identifier(name: str) -> str:
    """A quoted name."""
    quoted = name.replace('"', '""')
    if name.isprintable():
        return f'"{quoted}"'
    return 'U&"' + "".join(_escaped(character, "\\+{:06X}") for character in quoted) + '"'


def qualified(schema: str, name: str) -> str:
    """A name with its schema."""
    return f"{identifier(schema)}.{identifier(name)}"


def literal(text: str) -> str:
    """A text literal."""
    quoted = text.replace("'", "''")
    if text.isprintable() and "\\" not in text:
        return f"'{quoted}'"
    return "E'" + "".join(_escaped(character, "\\U{:08X}") for character in quoted) + "'"


def regclass(schema: str, name: str) -> str:
    """A relation as a regclass value."""
    return f"{literal(plain_qualified(schema, name))}::regclass"


def plain_qualified(schema: str, name: str) -> str:
    """A qualified name as a catalogue function's argument."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in (schema, name))


def block(*lines: str) -> str:
    """A DO block, quoted by what does not occur in it."""
    body = "\n".join(f"    {line}" for line in lines)
    quotes = "$$"
    while quotes in body:
        quotes = f"$q{quotes.strip('$')}$"
    return f"DO {quotes}\nBEGIN\n{body}\nEND\n{quotes};"


def comment(*sentences: str) -> str:
    """Comment lines; names that sentences hold end none."""
    return "\n".join(f"-- {_on_one_line(sentence)}" for sentence in sentences)


def listed(names: Iterable[str]) -> str:
    """Quoted names, separated by commas."""
    return ", ".join(identifier(name) for name in names)


def fitted(name: str, ending: str) -> str:
    """`name_ending`; a digest replaces the middle of a name too long."""
    whole = f"{name}_{ending}"
    if len(whole.encode()) <= LONGEST_NAME:
        return whole
    tail = f"_{hashlib.sha256(name.encode()).hexdigest()[:8]}_{ending}"
    return name.encode()[: LONGEST_NAME - len(tail.encode())].decode(errors="ignore") + tail


def _on_one_line(sentence: str) -> str:
    return "".join(character if character.isprintable() else " " for character in sentence)


def _escaped(character: str, form: str) -> str:
    if character == "\\":
        return "\\\\"
    return character if character.isprintable() else form.format(ord(character))
