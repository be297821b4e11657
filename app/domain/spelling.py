"""Parts of keys as rows of the API spell them, brought to one spelling before anything is told by them. Pure: no I/O.

A serializer may write a login or an id as a number, which has several spellings and no leading zeros, or put a word in place of an id that
is missing.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec

from app.domain.rows import RepairedRow, fields_of

_ACCOUNT = "accountId"
_NUMBER = re.compile(
    rb'("(?:login|mt_version|platform|broker|ticket|position|accountId)"\s*+:\s*+)(-?\d++(?:\.\d++)?+(?:[eE][-+]?\d{1,6})?+)(?=\s*+[,}])'
)
_LOGIN = re.compile(rb'("login"\s*+:\s*+)(\d++)(?=\s*+[,}])')
_ID = re.compile(rb'("accountId"\s*+:\s*+)("(?:[^"\\]++|\\.)*+"|-?\d++)(?=\s*+[,}])')
_NO_ID = frozenset({"", "null", "none", "nan"})
_LONGEST = 255
_PLATFORM = ("mt_version", "platform")


class NumberedKey(NamedTuple):
    """The natural key of a row whose login was sent as a number, with its account id, as far as it has one."""

    login: str
    platform: str
    broker: str
    account_id: str


def respelled(row: bytes, shared_ids: Collection[str] = ()) -> bytes:
    """A flat row with whole numbers in key parts written without decimals and exponents, and null for an account id that is none.

    `shared_ids` are ids that upstream sends for several natural keys, which tell no account.
    """
    plain = _NUMBER.sub(_plain_number, row)
    plain = _ID.sub(lambda found: found[1] + b"null" if _is_no_id(found[2], shared_ids) else found[0], plain)
    if plain == row:
        return row
    return row.with_text(plain) if isinstance(row, RepairedRow) else plain


def numbered_key(row: bytes) -> NumberedKey | None:
    """The key of a respelled row whose login is a number; None for any other row."""
    found = _LOGIN.search(row)
    if found is None:
        return None
    fields = fields_of(row)
    platform = next((_text(fields[name]) for name in _PLATFORM if name in fields), "")
    return NumberedKey(found[2].decode(), platform, _text(fields.get("broker")), _text(fields.get(_ACCOUNT)))


def with_login(row: bytes, login: str) -> bytes:
    """The row whose login was a number with a text in place of it."""
    written = msgspec.json.encode(login)
    text = _LOGIN.sub(lambda found: found[1] + written, row)
    return row.with_text(text) if isinstance(row, RepairedRow) else text


def same_but_for_zeros(login: str, known: Iterable[str]) -> list[str]:
    """Those of the known logins that equal a number when their leading zeros are left out."""
    return sorted({each for each in known if each.lstrip("0") == login.lstrip("0")})


def chosen_login(
    key: NumberedKey, own: Mapping[str, Sequence[str]], held: Mapping[tuple[str, str, str], Sequence[str]], asked: Collection[str]
) -> str | None:
    """The login that a number stands for: that of the row's account, or the only one known with the key, or the one that was asked for.

    `own` are the logins of accounts by their id, `held` those that equal a number, by number, platform and broker. Where none is known it
    is the number itself; None: it may be several.
    """
    if mine := same_but_for_zeros(key.login, own.get(key.account_id, ())):
        return max(mine, key=len)  # zeros can be lost, they are never added
    known = held.get((key.login, key.platform, key.broker), ())
    if len(known) == 1:
        return known[0]
    among = same_but_for_zeros(key.login, asked)
    among = [each for each in among if each in known] if known else among
    if len(among) == 1:
        return among[0]
    return None if known or among else key.login


def _plain_number(found: re.Match[bytes]) -> bytes:
    name, text = found[1], found[2]
    if text.isdigit():
        return found[0]
    number = Decimal(text.decode())
    if number.adjusted() >= _LONGEST or number != number.to_integral_value():
        return found[0]
    return name + b"%d" % int(number)


def _is_no_id(value: bytes, shared_ids: Collection[str]) -> bool:
    text = _text(value)
    return text.strip().lower() in _NO_ID or text in shared_ids


def _text(value: bytes | None) -> str:
    """A value as PostgreSQL's `->>` writes it."""
    if value is None or bytes(value) == b"null":
        return ""
    raw = bytes(value)
    return str(msgspec.json.decode(raw)) if raw.startswith(b'"') else raw.decode()
