"""Repairs of answers that are no strict JSON, or that PostgreSQL cannot store."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.contract.rows import RepairedRow, flattened
from app.upstream.redaction import Redactor
from app.upstream.response import Answer, decode

QUOTE = Redactor("the-key")


WORDS = [
    "NaN",
    "nan",
    "-nan",
    "Infinity",
    "-Infinity",
    "inf",
    "+inf",
    "INF",
    "1.#IND",
    "-1.#INF",
    "1.#QNAN",
    "nan(ind)",
    "-nan(ind)",
]


@pytest.mark.parametrize("word", WORDS)
def test_a_bare_word_for_no_number_is_null_in_its_field_and_names_it(word: str) -> None:
    sent = f'{{"a": {word}, "b": [1, {word}], "c": "x: NaN, y", "d": 1.10}}'
    other = b'{"c": "x: NaN, y"}'
    answer = decode(b'{"Data": {"data": [%s, %s], "total": 2}}' % (sent.encode(), other), QUOTE)
    assert answer == Answer((b'{"a":null,"b":[1, null],"c":"x: NaN, y","d":1.10}', other), 2)
    row = answer.rows[0]
    assert isinstance(row, RepairedRow)
    assert row.nulled == {"a"}
    assert not row.replaced
    assert json.loads(row.without_nulled()) == {"b": [1, None], "c": "x: NaN, y", "d": 1.1}


@pytest.mark.parametrize(
    "text",
    [
        rb"x\u0000y",
        rb"x\ud800y",
        rb"x\uDFFFy",
        rb"x\udc00y",
        b"x\x00y",
        b"x\xffy",
        b"x\xed\xa0\x80y",
        b"x\xc3y",
        rb"x\y",
    ],
    ids=repr,
)
def test_a_character_that_postgresql_cannot_store_is_replaced_in_its_field_and_names_it(
    text: bytes,
) -> None:
    sent, other = rb'{"a": "%s", "b": "\\u0000 \ud83d\ude00", "c": 1}' % text, rb'{"a": "\\ud800"}'
    row, untouched = decode(b'{"Data": [%s, %s]}' % (sent, other), QUOTE).rows
    assert untouched == other
    assert isinstance(row, RepairedRow)
    assert row.replaced == {"a"}
    assert not row.nulled
    read = json.loads(row)
    assert (read["b"], read["c"]) == ("\\u0000 \U0001f600", 1)
    assert set(read["a"]) == {"x", "\ufffd", "y"}


def test_control_characters_in_a_text_are_read_as_their_escapes() -> None:
    (row,) = decode(b'{"Data": [{"a": "x\ny\t\x01", "b": 1}]}', QUOTE).rows
    assert json.loads(row) == {"a": "x\ny\t\x01", "b": 1}
    assert not isinstance(row, RepairedRow)


@pytest.mark.parametrize("levels", [500, 5_000, 100_000])
def test_a_value_nested_too_deeply_costs_only_its_field(levels: int) -> None:
    sent = b'{"a": %s, "b": "]]", "c": 1}' % (b"[" * levels + b"]" * levels)
    first, second = decode(b'{"Data": [%s, {"c": 2}]}' % sent, QUOTE).rows
    assert json.loads(flattened(first)) == {"a": None, "b": "]]", "c": 1}
    assert second == b'{"c": 2}'


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["a: NaN, b", ":NaN}", "\\", '"', "\\ud800", "\ufdd0", "\ufdd1", "x\ufdd1\\"])
)


_NONCHARACTERS = [
    "\ufdd0",
    "\ufdd1",
    "\ufdef",
    "\ufffe",
    "\uffff",
    "\U0001fffe",
    "\U0010ffff",
    "\ufdd0NaN",
    "\\\ufdd1",
    '\ufdd1"',
]


@pytest.mark.parametrize("text", _NONCHARACTERS, ids=ascii)
@pytest.mark.parametrize("beside", ["1", "NaN", r'"\u0000"', r'"\ud800"', '"\x01"'])
@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_a_noncharacter_of_upstreams_is_a_character_like_any_other(
    text: str, beside: str, *, ensure_ascii: bool
) -> None:
    """PostgreSQL stores them, also those that repairs use as marks."""
    sent = json.dumps({"a": text, f"x{text}": "y", "b": "here"}, ensure_ascii=ensure_ascii).replace(
        '"here"', beside
    )
    answer = decode(f'{{"Data": [{sent}, {{"b": {beside}}}]}}'.encode(), QUOTE)
    read = json.loads(answer.rows[0])
    assert (read["a"], read[f"x{text}"]) == (text, "y")
    repairs = answer.rows[0] if isinstance(answer.rows[0], RepairedRow) else None
    assert repairs is None or repairs.nulled | repairs.replaced == {"b"}


@given(
    st.dictionaries(st.text(max_size=4), _SCALARS, min_size=1),
    st.sampled_from(WORDS),
    st.text(max_size=4),
)
def test_whatever_else_a_row_holds_a_word_costs_its_field_alone(
    fields: dict[str, object], word: str, name: str
) -> None:
    body = json.dumps({"Data": [{**fields, name: "the word"}]}, ensure_ascii=False).replace(
        '"the word"', word
    )
    (row,) = decode(body.encode(), QUOTE).rows
    assert isinstance(row, RepairedRow)
    assert row.nulled == {name.replace("\0", "\ufffd")}
    kept = {
        key: value for key, value in fields.items() if key != name and "\0" not in f"{key}{value}"
    }
    assert {key: json.loads(row)[key] for key in kept} == kept
