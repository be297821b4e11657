"""Key parts of rows are told by their value, not by their spelling."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.contract.rows import RepairedRow
from app.domain.contract.spelling import (
    AskedIds,
    SentKey,
    chosen_login,
    numbered_key,
    respelled,
    shown,
    with_id,
    with_login,
)
from app.domain.ids import AccountId, Login

_KEYS = st.sampled_from(
    ["login", "mt_version", "platform", "broker", "ticket", "position", "accountId"]
)


@given(_KEYS, st.integers(0, 10**18), st.integers(0, 6))
def test_a_whole_number_is_written_plainly_in_each_key_part(
    name: str, number: int, zeros: int
) -> None:
    digits = str(number)
    spelled = (
        f"{digits}.{'0' * zeros}" if zeros else f"{digits[0]}.{digits[1:] or '0'}e{len(digits) - 1}"
    )
    row = f'{{"comment": "\\"{name}\\": 1.0", "{name}" : {spelled}, "profit": 2.0}}'.encode()
    plain = respelled(row)
    assert f'"{name}" : {number},'.encode() in plain
    assert json.loads(plain) | {name: None} == json.loads(row) | {name: None}


@pytest.mark.parametrize(
    "value", ['"914.0"', "914.5", "1e400000", '"9e2"', "914", '"00914"', "null", "1e-7", "true"]
)
def test_any_other_value_stays_as_it_was_sent(value: str) -> None:
    row = f'{{"login":{value}}}'.encode()
    assert respelled(row) is row


@pytest.mark.parametrize(
    "text", ["", " ", "\t\n", "\u00a0", "null", "NULL", " None ", "NaN", "nan"]
)
def test_a_blank_id_and_a_word_for_none_are_a_missing_id(text: str) -> None:
    assert json.loads(respelled(json.dumps({"accountId": text, "login": text}).encode())) == {
        "accountId": None,
        "login": shown(text),
    }


@pytest.mark.parametrize("value", ["0", "nullable", "acc-1", "acc 1", "ACC-\u00fc", 0, 914])
def test_any_other_id_stays(value: object) -> None:
    row = json.dumps({"accountId": value}).encode()
    assert respelled(row) is row


def test_an_id_that_several_natural_keys_share_is_none() -> None:
    assert json.loads(respelled(b'{"accountId": 0.0}', {"0"})) == {"accountId": None}
    assert json.loads(respelled(b'{"accountId": "00"}', {"0"})) == {"accountId": "00"}


def test_the_repairs_of_a_row_stay_noted() -> None:
    row = RepairedRow(b'{"login":914.0,"trader":null}')
    row.nulled, row.replaced = frozenset({"trader"}), frozenset()
    plain = respelled(row)
    assert isinstance(plain, RepairedRow)
    assert with_login(plain, Login("00914")) == b'{"login":"00914","trader":null}'
    assert isinstance(with_login(plain, Login("00914")), RepairedRow)
    assert plain.nulled == {"trader"}


@pytest.mark.parametrize(
    "text", ["acc\u200b-1\u00a0\u2003", "\u00a0acc-1", "acc-1 ", "\ufeffacc-1"]
)
def test_what_nobody_sees_is_no_part_of_a_key(text: str) -> None:
    assert shown(text) == "acc-1"


def test_an_id_that_was_asked_for_is_known_in_another_case_unless_two_are_meant() -> None:
    asked = AskedIds(["acc-1", "Twin", "twin"])
    assert asked.meant(b'{"accountId":"ACC-1\\u00a0"}') == "acc-1"
    assert asked.meant(b'{"accountId":"acc-1"}') is None
    assert asked.meant(b'{"accountId":"TWIN"}') is None
    assert asked.meant(b'{"login":"1"}') is None


def test_the_id_that_was_meant_is_written_and_repairs_stay_noted() -> None:
    row = RepairedRow(b'{"accountId":"ACC-1","trader":null}')
    row.nulled, row.replaced = frozenset({"trader"}), frozenset()
    written = with_id(row, AccountId('a"1'))
    assert written == b'{"accountId":"a\\"1","trader":null}'
    assert isinstance(written, RepairedRow)
    assert written.nulled == {"trader"}
    assert type(with_id(bytes(row), AccountId("a"))) is bytes


def test_only_a_login_that_is_a_number_may_have_lost_its_zeros() -> None:
    assert numbered_key(b'{"login":"914","mt_version":5}') is None
    assert numbered_key(b'{"login":914,"mt_version":"5","broker":1,"accountId":"a"}') == SentKey(
        Login("914"), "5", "1", AccountId("a")
    )
    assert numbered_key(b'{"login":914,"platform":5,"broker":null}') == SentKey(
        Login("914"), "5", "", AccountId("")
    )


@pytest.mark.parametrize(
    ("own", "held", "asked", "chosen"),
    [
        ([], [], [], "914"),
        (["00914"], ["914"], [], "00914"),
        (["914"], ["00914"], [], "914"),
        (["77"], ["00914"], [], "00914"),
        ([], ["00914"], ["914"], "00914"),
        ([], [], ["00914", "7"], "00914"),
        ([], ["00914", "914"], ["00914"], "00914"),
        ([], ["00914", "914"], ["914"], "914"),
        ([], ["00914", "914"], ["00914", "914"], None),
        ([], ["00914", "914"], [], None),
    ],
)
def test_the_account_tells_the_login_then_the_key_then_what_was_asked(
    own: list[str], held: list[str], asked: list[str], chosen: str | None
) -> None:
    assert (
        chosen_login(
            SentKey(Login("914"), "5", "1", AccountId("a")),
            {"a": own},
            {("914", "5", "1"): held},
            asked,
        )
        == chosen
    )
