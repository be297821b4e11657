"""Repairs of a response's text: non-strict JSON, and what PostgreSQL cannot store.

`readings` repair a body with marks, Unicode noncharacters, which `repaired` resolves by row.
"""

import codecs
import re
from collections.abc import Iterator
from itertools import pairwise

import msgspec

from app.domain.contract.rows import REPLACEMENT, RepairedRow, fields_of

UNREADABLE = "\ufdd0"
"""Marks an unreadable value."""
_LOST = "\ufdd1"
_MOST_LEVELS = 100
"""Deeper values break recursive JSON readers."""

_LOST_BYTES = _LOST.encode()
_UNREADABLE_BYTES = UNREADABLE.encode()
_UNREADABLE_TEXT = b'"' + _UNREADABLE_BYTES + b'"'

_WORD = rb"[-+]?(?:nan(?:\(\w*\))?|inf(?:inity)?|\d+\.#\w+)(?![\w.])"
"""Non-finite numbers of Python, JavaScript, Java and C (1.#IND)."""
_TEXT = rb'"(?:[^"\\]++|\\.)*+"'
_TEXT_OR_NAME = re.compile(_TEXT + rb"(?P<is_name>\s*+:)?+", re.DOTALL)
_FIELD_OF_WORD = re.compile(rb":\s*+(" + _WORD + rb")(?=\s*+[,}\]])", re.IGNORECASE)
_TEXT_OR_WORD = re.compile(_TEXT + b"|" + _WORD, re.DOTALL | re.IGNORECASE)
_TEXT_OR_BRACKET = re.compile(_TEXT + rb"|[\[{]|[\]}]", re.DOTALL)
_LIKE_A_MARK = re.compile(rb"\\.|\xef\xb7[\x90\x91]", re.DOTALL)
_NOT_OF_A_TEXT = re.compile(rb'[\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}|(?P<odd>))')
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lost>u0000|u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def _mark_bytes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _LOST, error.end


codecs.register_error("trade-recon-mark", _mark_bytes)


def without_bom(body: bytes) -> bytes:
    """The body in UTF-8, without byte order mark."""
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", "replace").encode()
    return body.removeprefix(codecs.BOM_UTF8)


def without_marks(body: bytes) -> bytes:
    """The body with upstream's own noncharacters escaped."""
    return _LIKE_A_MARK.sub(_told_from_mark, body) if _LOST_BYTES[:-1] in body else body


def _told_from_mark(found: re.Match[bytes]) -> bytes:
    token = found[0]
    return token if token.startswith(b"\\") else b"\\u%04x" % ord(token.decode())


def readings(body: bytes) -> Iterator[bytes]:
    """Repaired forms of a body, the cheap one first."""
    text = without_marks(body).decode("utf-8", "trade-recon-mark").encode()
    # A word inside of a text is taken for a value here, but the mark's quotes then break the text,
    # and with it the JSON.
    quick = _FIELD_OF_WORD.sub(b":" + _UNREADABLE_TEXT, text)
    if quick != body:
        yield quick
    thorough = _cut(_TEXT_OR_WORD.sub(_mark, _without_lost(text)))
    if thorough not in {body, quick}:
        yield thorough


def _mark(found: re.Match[bytes]) -> bytes:
    token = found[0]
    return _NOT_OF_A_TEXT.sub(_escape, token) if token.startswith(b'"') else _UNREADABLE_TEXT


def _escape(found: re.Match[bytes]) -> bytes:
    """Escape control characters, unescape the unknown."""
    token = found[0]
    if not token.startswith(b"\\"):
        return b"\\u%04x" % token[0]
    return _LOST_BYTES if found.group("odd") is not None else token


def _cut(text: bytes) -> bytes:
    """Null for values nested too deeply."""
    level, cuts = 0, [0]
    for found in _TEXT_OR_BRACKET.finditer(text):
        if found[0] in b"[{":
            level += 1
            if level == _MOST_LEVELS + 1:
                cuts.append(found.start())
        elif found[0] in b"]}":
            level -= 1
            if level == _MOST_LEVELS:
                cuts.append(found.end())
    if len(cuts) % 2 == 0:  # the text ends before its brackets do: it is no answer at all
        return text
    cuts.append(len(text))
    return b"null".join(text[start:end] for start, end in list(pairwise(cuts))[::2])


def may_need_repair(body: bytes) -> bool:
    """Whether PostgreSQL may reject a character."""
    return b"\\u" in body and (b"\\u0000" in body or b"\\ud" in body or b"\\uD" in body)


def repaired(row: bytes) -> bytes:
    """The row as PostgreSQL can store it; a RepairedRow if changed."""
    legible = _without_lost(row) if b"\\u" in row else row
    if _UNREADABLE_BYTES not in legible and _LOST_BYTES not in legible:
        return row
    # Names while they are still told from what upstream sent by its escape.
    named = _TEXT_OR_NAME.sub(
        lambda found: (
            found[0].replace(_LOST_BYTES, REPLACEMENT.encode())
            if found.group("is_name")
            else found[0]
        ),
        legible,
    )
    sent = {name: bytes(value) for name, value in fields_of(named).items()}
    return RepairedRow.of(
        {name: msgspec.Raw(_resolved(value)) for name, value in sent.items()},
        nulled=(name for name, value in sent.items() if value == _UNREADABLE_TEXT),
        replaced=(name for name, value in sent.items() if _LOST_BYTES in value),
    )


def _without_lost(text: bytes) -> bytes:
    """NUL and lone surrogates."""
    return _ESCAPE.sub(lambda found: _LOST_BYTES if found["lost"] else found[0], text)


def _resolved(value: bytes) -> bytes:
    return value.replace(_UNREADABLE_TEXT, b"null").replace(_LOST_BYTES, REPLACEMENT.encode())
