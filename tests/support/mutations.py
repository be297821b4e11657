"""Odd answers, drawn from a valid page: one field, the envelope, or the bytes themselves."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

_MARK = "the odd value"

WORDS = ("NaN", "Infinity", "-Infinity", "-nan", "inf", "1.#IND", "-nan(ind)")
LOST = (
    rb'"a\u0000b"',
    rb'"\ud800"',
    rb'"x\udfff"',
    b'"a\x00b"',
    b'"a\xffb"',
    b'"\xed\xa0\x80"',
    rb'"a\qb"',
)
"""Texts with what no text of PostgreSQL holds."""
NESTED = (
    b"{}",
    b"[]",
    b'{"a": [1, {"b": null}]}',
    b"[[1], 2]",
    b"[" * 300 + b"]" * 300,
    b"[" * 3000 + b"]" * 3000,
    b'{"a": NaN}',
)
DATES = (
    '"2026-11-31"', '"0001-01-01"', '"9999-12-31"', '"infinity"', '"-infinity"', '"now"', '"20260230"', '"2026-02-30T25:61:00Z"',
    '"0000-00-00"',
)  # fmt: skip
TIMES = (
    '"2026-01-01 00:00:00+99:00"', '"2026-01-01T10:00:00 Mars/Base"', '"99999-01-01 00:00"', '"2026-01-01 24:00:01"', '"2026-01-01x"',
)  # fmt: skip
NUMBERS = (
    "-0.0", "1e400000", "-1e400000", "1e-400000", "1e9999999999999999999", "9" * 400, "2147483648", "-2147483649", "1.5",
    '" 12 "', '"12"', '""', '" "', '"1,5"', '"0x1F"', '"1_0"', '"--1"', '"1e"', '"NaN"', '"Infinity"', '"' + "9" * 140_000 + '"',
    "0.1234567890123456789012345678901234567890",
)  # fmt: skip
TEXTS = (
    '"x"',
    '"' + "y" * 300 + '"',
    '"\\u00e9\\ud83d\\ude00"',
    '"a\\"},{\\"b"',
    '"NaN, x: NaN}"',
    '"\\\\u0000"',
    '"a\nb"',
    '"{}"',
)
BARE = ("null", "true", "false")

odd_values = st.one_of(
    st.sampled_from(
        [text.encode() for text in (*WORDS, *DATES, *TIMES, *NUMBERS, *TEXTS, *BARE)]
        + [*LOST, *NESTED]
    ),
    st.text(max_size=12).map(lambda text: json.dumps(text).encode()),
    st.decimals(allow_nan=False, allow_infinity=False).map(lambda number: str(number).encode()),
)


@dataclass(frozen=True)
class Mutation:
    """One field of one row holds something odd; `doubled` tells that it is there twice, the odd
    value last.
    """

    row: int
    name: str
    value: bytes
    doubled: bool = False

    def applied(self, rows: Sequence[Mapping[str, object]]) -> list[bytes]:
        """The rows as JSON, this one odd."""
        return [
            self._odd(row) if number == self.row else json.dumps(row).encode()
            for number, row in enumerate(rows)
        ]

    def _odd(self, row: Mapping[str, object]) -> bytes:
        if self.doubled:
            plain = json.dumps(row).encode()
            return b"%s, %s: %s}" % (plain[:-1], json.dumps(self.name).encode(), self.value)
        return (
            json.dumps({**row, self.name: _MARK})
            .encode()
            .replace(json.dumps(_MARK).encode(), self.value)
        )


def mutations(rows: Sequence[Mapping[str, object]]) -> st.SearchStrategy[Mutation]:
    """Mutations of any of the fields that a row has, or of one that it should not have."""
    names = sorted({name for row in rows for name in row})
    return st.builds(
        Mutation,
        st.integers(0, len(rows) - 1),
        st.one_of(st.sampled_from(names), st.sampled_from(["", "unheard of", "Data"])),
        odd_values,
        st.booleans(),
    )


ENVELOPES = (
    (
        b'{"Status": "ok", "Data": {"data": [%s], "total": %d, "skip": 0, "limit": 1000, "count":'
        b' %d}, "Time": 1}'
    ),
    b'\xef\xbb\xbf{"Data": {"total": "%d.0", "data": [%s]}}',
    b'{"Data": {"total": -1, "data": [%s]}}',
    b'{"data": [%s], "total": null}',
    b'{"Data": [], "Data": {"data": null, "data": [%s], "total": 0, "total": %de0, "limit": null}}',
    b'{"Data": {"data": [%s], "total": NaN}}',
)


def enveloped(rows: Sequence[bytes], form: bytes) -> bytes:
    """An answer that holds the rows, in one of `ENVELOPES`."""
    joined, count = b", ".join(rows), len(rows)
    return form % tuple(joined if part.startswith(b"s") else count for part in form.split(b"%")[1:])


_PIECES = (b"NaN", b"null", b'"', b"}", b"},{", b"]", b"\\u0000", b"\x00", b"0")


@st.composite
def spoiled(draw: st.DrawFn, body: bytes) -> bytes:
    """The body with some of its bytes changed, lost, doubled or added, or cut off."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(0, len(body) - 1)))
        length = draw(st.integers(0, 40))
        kind = draw(st.sampled_from(["replace", "lose", "double", "add", "cut"]))
        more = draw(
            st.binary(min_size=1, max_size=6)
            | st.sampled_from(
                [b"NaN", b"null", b'"', b"}", b"},{", b"]", b"\\u0000", b"\x00", b"0"]
            )
        )
        piece = body[start : start + length]
        body = {
            "replace": body[:start] + more + body[start + len(more) :],
            "lose": body[:start] + body[start + length :],
            "double": body[:start] + piece + body[start:],
            "add": body[:start] + more + body[start:],
            "cut": body[:start],
        }[kind]
    return body
