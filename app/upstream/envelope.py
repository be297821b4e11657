"""Decoding of one answer of the API. Pure: no I/O.

The rows stay the bytes that the API sent: no digit of a number passes through a float. Forms that are accepted are
those of docs/upstream.md: `Data` as an object with `data`, `Data` as a bare list, the legacy key `data` with either.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from app.upstream.faults import AttemptFailed, FailureKind

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


class _Inner(msgspec.Struct, frozen=True, gc=False):
    """`Data` as an object."""

    data: list[msgspec.Raw]
    total: msgspec.Raw = msgspec.Raw()
    limit: msgspec.Raw = msgspec.Raw()


class _Usual(msgspec.Struct, frozen=True, gc=False):
    """An answer in its usual form."""

    inner: _Inner = msgspec.field(name="Data")
    status: msgspec.Raw = msgspec.field(name="Status", default=msgspec.Raw())


_USUAL = msgspec.json.Decoder(_Usual)
_FAILED = frozenset({"fail", "failed", "error"})
_SUCCEEDED = frozenset({"ok", "success", ""})
_COUNT_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Answer:
    """One page: its rows as raw JSON objects, in order; how many match the filter, and the page's limit, if the API told them."""

    rows: tuple[bytes, ...]
    total: int | None
    limit: int | None = None


_ESCAPE = re.compile(rb"""
    \\(?:
        u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}
        | (?P<lone> u[dD][89a-fA-F][0-9a-fA-F]{2})
        | .
    )""", re.VERBOSE | re.DOTALL)  # fmt: skip


def decode(body: bytes, quote: Callable[[str], str]) -> Answer:
    """The rows and the total of an answer's body.

    `quote` makes foreign text fit for an error. AttemptFailed: the body is no such answer, or it reports a failure.
    """
    try:
        return _decode(body, quote)
    except AttemptFailed:
        repaired = _ESCAPE.sub(_repair, body)
        if repaired == body:
            raise
        return _decode(repaired, quote)


def _repair(escape: re.Match[bytes]) -> bytes:
    """Half a surrogate pair stands for no character, but is valid JSON: it becomes the replacement character, the rest stays."""
    return b"\\ufffd" if escape["lone"] else escape[0]


def _decode(body: bytes, quote: Callable[[str], str]) -> Answer:
    try:
        body.decode()  # msgspec leaves the strings inside raw rows unchecked; PostgreSQL would refuse them much later
        answer = _usual(body) or _any(body, quote)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise AttemptFailed(FailureKind.GARBLED, f"The API's answer is no JSON of the agreed form ({quote(str(error))}).") from error
    if not all(row.startswith(b"{") for row in answer.rows):
        raise AttemptFailed(FailureKind.GARBLED, "The API's answer holds a row that is no JSON object.")
    return answer


def _usual(body: bytes) -> Answer | None:
    """An answer in the usual form, read in one pass; None for any other, whatever is wrong with it."""
    try:
        page = _USUAL.decode(body)
    except msgspec.MsgspecError:
        return None
    if _word(_value(page.status)) not in _SUCCEEDED:
        return None
    return Answer(tuple(map(bytes, page.inner.data)), _total_of(page.inner.total), _count(_value(page.inner.limit)))


def _any(body: bytes, quote: Callable[[str], str]) -> Answer:
    top = _OBJECT.decode(body)
    _refuse_failure(top, quote)
    holder, rows = _rows_of(top)
    return Answer(tuple(map(bytes, _LIST.decode(rows))), _total_of(holder.get("total")), _count(_value(holder.get("limit"))))


def _word(status: object) -> str:
    return "" if status is None else str(status).strip().lower()


def _refuse_failure(top: dict[str, msgspec.Raw], quote: Callable[[str], str]) -> None:
    status = _value(top.get("Status"))
    word = _word(status)
    if word in _SUCCEEDED:
        return
    said = next((str(text) for key in ("Error", "Message") if (text := _value(top.get(key)))), "without a reason")
    if word in _FAILED:
        raise AttemptFailed(FailureKind.REPORTED, f"The API reports a failure ({quote(said)}).")
    # A word that nobody agreed on could mean a part of the rows: an empty part would read as complete.
    raise AttemptFailed(FailureKind.REPORTED, f"The API answered with the unknown status {quote(str(status))} ({quote(said)}).")


def _rows_of(top: dict[str, msgspec.Raw]) -> tuple[dict[str, msgspec.Raw], msgspec.Raw]:
    """The object that holds the total, and the list of rows."""
    data = top.get("Data", top.get("data"))
    if data is None:
        raise msgspec.ValidationError("neither `Data` nor `data`")
    if not bytes(data).startswith(b"{"):
        return top, data
    inner = _OBJECT.decode(data)
    rows = inner.get("data")
    if rows is None:
        raise msgspec.ValidationError("`Data` without `data`")
    return inner, rows


def _total_of(raw: msgspec.Raw | None) -> int | None:
    total = _value(raw)
    if total is None:
        return None
    count = _count(total)
    if count is None:
        raise msgspec.ValidationError("`total` is no count")
    return count


def _count(value: object) -> int | None:
    text = str(value).strip()
    is_count = not isinstance(value, bool) and text.isascii() and text.isdigit() and len(text) <= _COUNT_DIGITS
    return int(text) if is_count else None


def _value(raw: msgspec.Raw | None) -> object:
    value: object = msgspec.json.decode(raw) if raw else None
    return value
