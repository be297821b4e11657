"""Decoding of responses (docs/explanation/upstream.md); no I/O. No number passes
through a float.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

import msgspec

from app.upstream import legible
from app.upstream.failures import AttemptFailed, FailureKind

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw] | None)


class _Inner(msgspec.Struct, frozen=True, gc=False):
    data: list[msgspec.Raw] | None
    total: msgspec.Raw = msgspec.Raw()
    limit: msgspec.Raw = msgspec.Raw()


class _Usual(msgspec.Struct, frozen=True, gc=False):
    inner: _Inner = msgspec.field(name="Data")
    status: msgspec.Raw = msgspec.field(name="Status", default=msgspec.Raw())


_USUAL = msgspec.json.Decoder(_Usual)
_FAILED = frozenset({"fail", "failed", "error"})
_SUCCEEDED = frozenset({"ok", "success", ""})
_LONGEST_COUNT = 40
_LARGEST_COUNT = 10**18
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")
_NULL = msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True)
class Answer:
    """A page's raw rows, total and limit."""

    rows: tuple[bytes, ...]
    total: int | None
    limit: int | None = None


NOTHING = Answer((), None)
"""For a response without a body (204)."""


def decode(body: bytes, quote: Callable[[str], str]) -> Answer:
    """The rows and total of a body; AttemptFailed if it is unreadable or reports a failure."""
    body = legible.without_bom(body)
    try:
        answer = _decode(body, quote)
    except AttemptFailed as failure:
        # A body that was cut off is not worth the search for what else is wrong with it.
        if failure.kind is not FailureKind.GARBLED or not body.rstrip().endswith(b"}"):
            raise
        return _decode_repaired(body, quote, failure)
    if not legible.may_need_repair(body):
        return answer
    return _with_repaired_rows(replace(answer, rows=tuple(map(legible.without_marks, answer.rows))))


def _decode_repaired(body: bytes, quote: Callable[[str], str], failure: AttemptFailed) -> Answer:
    """A repairable body's rows, else `failure`."""
    for reading in legible.readings(body):
        try:
            return _with_repaired_rows(_decode(reading, quote))
        except AttemptFailed as again:
            if again.kind is not FailureKind.GARBLED:
                raise
    raise failure


def _with_repaired_rows(answer: Answer) -> Answer:
    return replace(answer, rows=tuple(map(legible.repaired, answer.rows)))


def _decode(body: bytes, quote: Callable[[str], str]) -> Answer:
    try:
        # msgspec leaves the strings inside raw rows unchecked; PostgreSQL would refuse them much
        # later
        body.decode()
        answer = _usual(body) or _any(body, quote)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise AttemptFailed(
            FailureKind.GARBLED,
            f"The API's answer is no JSON of the agreed form ({quote(str(error))}).",
        ) from error
    if not all(row.startswith(b"{") for row in answer.rows):
        raise AttemptFailed(
            FailureKind.GARBLED, "The API's answer holds a row that is no JSON object."
        )
    return answer


def _usual(body: bytes) -> Answer | None:
    """The answer if the body has the usual form, decoded in one pass; else None."""
    try:
        page = _USUAL.decode(body)
    except msgspec.MsgspecError:
        return None
    if _word(_value(page.status)) not in _SUCCEEDED:
        return None
    return _answer(page.inner.data, page.inner.total, page.inner.limit)


def _any(body: bytes, quote: Callable[[str], str]) -> Answer:
    top = _OBJECT.decode(body)
    _refuse_failure(top, quote)
    holder, found = _rows_of(top)
    rows = _LIST.decode(found)
    if rows is None and (said := _first_of(top, "Error", "error")):
        raise AttemptFailed(
            FailureKind.REPORTED, f"The API reports a failure in place of rows ({quote(said)})."
        )
    return _answer(rows, holder.get("total"), holder.get("limit"))


def _answer(
    rows: list[msgspec.Raw] | None, total: msgspec.Raw | None, limit: msgspec.Raw | None
) -> Answer:
    """The answer; null in place of rows is an empty one, unless the total contradicts."""
    answer = Answer(tuple(map(bytes, rows or ())), _total_of(total), _limit_of(limit))
    if rows is None and answer.total:
        raise msgspec.ValidationError(f"null in place of the rows beside a total of {answer.total}")
    return answer


def _word(status: object) -> str:
    return "" if status is None else str(status).strip().lower()


def _refuse_failure(top: dict[str, msgspec.Raw], quote: Callable[[str], str]) -> None:
    status = _value(top.get("Status"))
    word = _word(status)
    if word in _SUCCEEDED:
        return
    said = _first_of(top, "Error", "Message") or "without a reason"
    if word in _FAILED:
        raise AttemptFailed(FailureKind.REPORTED, f"The API reports a failure ({quote(said)}).")
    # A word that nobody agreed on could mean a part of the rows: an empty part would read as
    # complete.
    raise AttemptFailed(
        FailureKind.REPORTED,
        f"The API answered with the unknown status {quote(str(status))} ({quote(said)}).",
    )


def _first_of(top: dict[str, msgspec.Raw], *keys: str) -> str:
    return next((str(text) for key in keys if (text := _value(top.get(key)))), "")


def _rows_of(top: dict[str, msgspec.Raw]) -> tuple[dict[str, msgspec.Raw], msgspec.Raw]:
    """The object that has the total, and the rows (or null) in it."""
    found = [top[key] for key in ("Data", "data") if key in top]
    if not found:
        raise msgspec.ValidationError("neither `Data` nor `data`")
    data = next((each for each in found if bytes(each) != b"null"), found[0])
    if not bytes(data).startswith(b"{"):
        return top, data
    inner = _OBJECT.decode(data)
    if "data" in inner:
        return inner, inner["data"]
    if _total_of(inner.get("total")) == 0:  # some serializers leave an empty list out
        return inner, _NULL
    raise msgspec.ValidationError("`Data` without `data`")


def _total_of(raw: msgspec.Raw | None) -> int | None:
    """The total in any spelling; None: unknown."""
    value = _value(raw)
    if value is None or (isinstance(value, str) and value.strip() in {"", legible.UNREADABLE}):
        return None
    total = _whole(value)
    if total is None:
        raise msgspec.ValidationError("`total` is no count")
    return total if total >= 0 else None


def _limit_of(raw: msgspec.Raw | None) -> int | None:
    limit = _whole(_value(raw))
    return limit if limit is not None and limit > 0 else None


def _whole(value: object) -> int | None:
    """A whole number in any spelling."""
    text = str(value).strip()
    if isinstance(value, bool) or not text.isascii() or len(text) > _LONGEST_COUNT:
        return None
    try:
        number = Decimal(text.replace(",", "") if _THOUSANDS.fullmatch(text) else text)
    except InvalidOperation:
        return None
    is_whole = (
        number.is_finite() and abs(number) < _LARGEST_COUNT and number == number.to_integral_value()
    )
    return int(number) if is_whole else None


def _value(raw: msgspec.Raw | None) -> object:
    value: object = msgspec.json.decode(raw) if raw else None
    return value
