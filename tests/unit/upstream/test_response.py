import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.upstream.failures import AttemptFailed, FailureKind
from app.upstream.redaction import Redactor
from app.upstream.response import Answer, decode

QUOTE = Redactor("the-key")


ROWS = (b'{"a": 1}', b'{"b":[2, {}]}')


@pytest.mark.parametrize(
    ("body", "total"),
    [
        (
            (
                b'{"Status": "ok", "Data": {"data": [{"a": 1}, {"b":[2, {}]}], "total": 4211,'
                b' "skip": 0, "count": 2}, "Time": 12}'
            ),
            4211,
        ),
        (b'{"Status": "OK", "Data": [{"a": 1}, {"b":[2, {}]}]}', None),
        (b'{"Data": [{"a": 1}, {"b":[2, {}]}], "total": 7}', 7),
        (b'{"data": [{"a": 1}, {"b":[2, {}]}]}', None),
        (b'{"data": {"data": [ {"a": 1} ,{"b":[2, {}]} ], "total": " 12 "}}', 12),
        (
            (
                b'{"Status": null, "Data": {"data": [{"a": 1}, {"b":[2, {}]}], "total": null},'
                b' "more": {"x": [1]}}'
            ),
            None,
        ),
    ],
)
def test_every_agreed_form_gives_the_same_rows(body: bytes, total: int | None) -> None:
    assert decode(body, QUOTE) == Answer(ROWS, total)


def test_an_empty_answer_is_no_failure() -> None:
    assert decode(b'{"Status":"ok","Data":{"data":[],"total":0}}', QUOTE) == Answer((), 0)


@pytest.mark.parametrize(
    "body",
    [
        b'{"Data": null}',
        b'{"Status": "ok", "Data": null}',
        b'{"Status": "ok", "Data": null, "data": null, "Error": null, "Message": "nothing found"}',
        b'{"Data": null, "data": []}',
        b'{"data": null}',
        b'{"Data": {"data": null}}',
        b'{"Data": {"data": null, "total": -1}}',
        b'{"Data": {"data": null, "total": NaN}}',
    ],
)
def test_null_in_place_of_the_rows_is_an_empty_list(body: bytes) -> None:
    assert decode(body, QUOTE) == Answer((), None)


@pytest.mark.parametrize(
    "body",
    [
        b'{"Data": {"data": null, "total": 0}}',
        b'{"Data": null, "total": "0"}',
        b'{"Data": {"total": 0}}',
    ],
)
def test_null_or_no_list_beside_a_total_of_0_is_an_empty_list(body: bytes) -> None:
    assert decode(body, QUOTE) == Answer((), 0)


def test_null_beside_an_error_is_a_failure() -> None:
    with pytest.raises(AttemptFailed, match="timed out") as caught:
        decode(b'{"Data": null, "Error": "the query timed out"}', QUOTE)
    assert caught.value.kind is FailureKind.REPORTED


@pytest.mark.parametrize(
    ("written", "total"),
    [
        *(
            (text, 2360)
            for text in (
                "2360",
                "2360.0",
                "2.36e3",
                "23600E-1",
                '"2360"',
                '" 2360.00 "',
                '"2,360"',
                '"2.36e3"',
                '"+2360"',
            )
        ),
        *((text, None) for text in ("null", "-1", "-1.0", '"-1"', "NaN", "-Infinity", '""', '" "')),
        ("0.0", 0),
        ("1234567.0", 1234567),
        ('"1,234,567"', 1234567),
    ],
)
def test_a_total_is_a_whole_number_in_any_spelling_or_unknown(
    written: str, total: int | None
) -> None:
    assert decode(
        b'{"Data": {"data": [{"a": 1}], "total": %s}}' % written.encode(), QUOTE
    ) == Answer((b'{"a": 1}',), total)


@given(
    st.integers(0, 10**15),
    st.sampled_from(["{}", "{}.0", '"{}"', '"{:,}"', '" {}.000"', "{}e0", "{}0e-1"]),
)
def test_any_count_is_read_in_any_spelling(count: int, spelling: str) -> None:
    if spelling == "{}0e-1" and not count:
        spelling = "{}e-1"
    assert (
        decode(f'{{"Data": [], "total": {spelling.format(count)}}}'.encode(), QUOTE).total == count
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_read(encoding: str) -> None:
    assert decode('{"Data": [{"a": "é"}], "total": 1}'.encode(encoding), QUOTE) == Answer(
        ('{"a": "é"}'.encode(),), 1
    )


def test_of_a_doubled_key_the_last_counts() -> None:
    doubled = (
        b'{"Data": [], "Data": {"data": [], "total": 9, "data": [{"a": 1}], "total": 1}, "Status":'
        b' "x", "Status": "ok"}'
    )
    assert decode(doubled, QUOTE) == Answer((b'{"a": 1}',), 1)


def test_no_digit_of_a_number_is_touched() -> None:
    row = (
        b'{"x": 0.12345678901234567890123, "y": 123456789012345678901234567890, "z": 1E+400, "w":'
        b' -0.0, "v": "007"}'
    )
    assert decode(b'{"Data": [' + row + b"]}", QUOTE).rows == (row,)


@pytest.mark.parametrize("status", ["fail", "FAIL", "Error", " failed "])
@pytest.mark.parametrize("key", ["Error", "Message"])
def test_a_reported_failure_is_an_error_with_its_reason_and_without_the_key(
    status: str, key: str
) -> None:
    body = json.dumps(
        {"Status": status, key: "no such filter, the-key", "Data": {"data": [], "total": 0}}
    ).encode()
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
        b'{"Data": 3}',
        b'{"Data": {}}',
        b'{"Data": {"total": 3}}',
        b'{"Data": null, "total": 3}',
        b'{"Data": {"data": null, "total": "3"}}',
        b'{"Data": [{"a": 1NaN}]}',
        b'{"Data": [{"a": NaN}',
        b'{"Data": [NaN]}',
        b'\xff\xfe{"Data": []}',
        b'{"Data": {"data": {}}}',
        b'{"Data": [1]}',
        b'{"Data": [null]}',
        b'{"Data": [[]]}',
        b'{"Data": [{"a": 1}]',
        b'{"Data": [{"a": 1}]} {}',
        b'{"Data": [{"a": \xff"x"}]}',
        b'{"Data": [], "total": "many"}',
        b'{"Data": [], "total": 1.5}',
        b'{"Data": [], "total": true}',
        b'{"Data": [], "total": {}}',
        b'{"Data": [], "total": "\xd9\xa3"}',
        b'{"Data": [], "total": ' + b"9" * 5000 + b"}",
        b'{"Data": ' + b"[" * 100_000,
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
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["Status", "Data", "data", "total", "Error", "x"]), inner
            )
        ),
    )
)
def test_any_json_is_an_answer_or_our_error(value: object) -> None:
    try:
        answer = decode(json.dumps(value).encode(), QUOTE)
    except AttemptFailed:
        return
    assert all(isinstance(json.loads(row), dict) for row in answer.rows)
