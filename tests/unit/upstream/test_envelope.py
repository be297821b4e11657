import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.upstream.envelope import Answer, decode
from app.upstream.faults import AttemptFailed, FailureKind, Redactor

QUOTE = Redactor("the-key")
ROWS = (b'{"a": 1}', b'{"b":[2, {}]}')


@pytest.mark.parametrize(
    ("body", "total"),
    [
        (b'{"Status": "ok", "Data": {"data": [{"a": 1}, {"b":[2, {}]}], "total": 4211, "skip": 0, "count": 2}, "Time": 12}', 4211),
        (b'{"Status": "OK", "Data": [{"a": 1}, {"b":[2, {}]}]}', None),
        (b'{"Data": [{"a": 1}, {"b":[2, {}]}], "total": 7}', 7),
        (b'{"data": [{"a": 1}, {"b":[2, {}]}]}', None),
        (b'{"data": {"data": [ {"a": 1} ,{"b":[2, {}]} ], "total": " 12 "}}', 12),
        (b'{"Status": null, "Data": {"data": [{"a": 1}, {"b":[2, {}]}], "total": null}, "more": {"x": [1]}}', None),
    ],
)
def test_every_agreed_form_gives_the_same_rows(body: bytes, total: int | None) -> None:
    assert decode(body, QUOTE) == Answer(ROWS, total)


def test_an_empty_answer_is_no_failure() -> None:
    assert decode(b'{"Status":"ok","Data":{"data":[],"total":0}}', QUOTE) == Answer((), 0)


def test_no_digit_of_a_number_is_touched() -> None:
    row = b'{"x": 0.12345678901234567890123, "y": 123456789012345678901234567890, "z": 1E+400, "w": -0.0, "v": "007"}'
    assert decode(b'{"Data": [' + row + b"]}", QUOTE).rows == (row,)


@pytest.mark.parametrize("status", ["fail", "FAIL", "Error", " failed "])
@pytest.mark.parametrize("key", ["Error", "Message"])
def test_a_reported_failure_is_an_error_with_its_reason_and_without_the_key(status: str, key: str) -> None:
    body = json.dumps({"Status": status, key: "no such filter, the-key", "Data": {"data": [], "total": 0}}).encode()
    with pytest.raises(AttemptFailed, match=r"no such filter, \*\*\*") as caught:
        decode(body, QUOTE)
    assert caught.value.kind is FailureKind.REPORTED


def test_a_status_that_nobody_agreed_on_is_an_error() -> None:
    with pytest.raises(AttemptFailed, match="partial"):
        decode(b'{"Status": "partial", "Data": []}', QUOTE)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"<html>",
        b"{}",
        b'{"Status": "ok"}',
        b'{"Data": null}',
        b'{"Data": 3}',
        b'{"Data": {}}',
        b'{"Data": {"data": {}}}',
        b'{"Data": [1]}',
        b'{"Data": [null]}',
        b'{"Data": [[]]}',
        b'{"Data": [{"a": 1}]',
        b'{"Data": [{"a": 1}]} {}',
        b'{"Data": [{"a": \xff"x"}]}',
        b'{"Data": [{"a": "\xff"}]}',
        b'{"Data": [{"a": NaN}]}',
        b'{"Data": [], "total": "many"}',
        b'{"Data": [], "total": 1.5}',
        b'{"Data": [], "total": -1}',
        b'{"Data": [], "total": true}',
        b'{"Data": [], "total": {}}',
        b'{"Data": [], "total": "\xd9\xa3"}',
        b'{"Data": [], "total": ' + b"9" * 5000 + b"}",
        b'{"Data": ' + b"[" * 100_000,
        b'{"Data": [{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]}",
    ],
)
def test_what_is_no_agreed_answer_is_an_error(body: bytes) -> None:
    with pytest.raises(AttemptFailed) as caught:
        decode(body, QUOTE)
    assert caught.value.kind is FailureKind.GARBLED
    assert len(str(caught.value)) < 400


@given(st.binary())
def test_any_bytes_are_an_answer_or_our_error(body: bytes) -> None:
    try:
        decode(body, QUOTE)
    except AttemptFailed:
        return
    raise AssertionError(body)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["Status", "Data", "data", "total", "Error", "x"]), inner),
    )
)
def test_any_json_is_an_answer_or_our_error(value: object) -> None:
    try:
        answer = decode(json.dumps(value).encode(), QUOTE)
    except AttemptFailed:
        return
    assert all(isinstance(json.loads(row), dict) for row in answer.rows)
