"""Parts of keys as rows of the API spell them, brought to one spelling before anything is told by
them.

A serializer may write a login or an id as a number, which has several spellings and no leading
zeros, put a word in place of an id that is missing, or leave blanks and characters that nothing
shows in a text.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec

from app.domain.contract.rows import RepairedRow, fields_of

_ACCOUNT = "accountId"
_NUMBER = re.compile(
    rb'("(?:login|mt_version|platform|broker|ticket|position|accountId)"\s*+:\s*+)(-?\d++(?:\.\d++)?+(?:[eE][-+]?\d{1,6})?+)(?=\s*+[,}])'
)
_LOGIN = re.compile(rb'("login"\s*+:\s*+)(\d++)(?=\s*+[,}])')
_ID = re.compile(rb'("accountId"\s*+:\s*+)("(?:[^"\\]++|\\.)*+"|-?\d++)(?=\s*+[,}])')
_ODD_TEXT = re.compile(
    rb'("(?:login|mt_version|platform|broker|ticket|position|accountId)"\s*+:\s*+)'
    rb'("[!#-\[\]-~]*+(?:[^!#-\[\]-~"\\]|\\.)(?:[^"\\]++|\\.)*+")',
    re.DOTALL,
)
"""A key part with characters that are no plain ones, or with an escape, which may stand for one."""
_HIDDEN = frozenset({"Cf", "Cc", "Zs", "Zl", "Zp"})
"""Unicode's categories of what is not shown: at the ends of a key part it tells nothing."""
_NO_ID = frozenset({"", "null", "none", "nan"})
_LONGEST = 255
_PLATFORM = ("mt_version", "platform")


class SentKey(NamedTuple):
    """The natural key of a row as it was sent, with its account id, as far as it has one."""

    login: str
    platform: str
    broker: str
    account_id: str


def respelled(row: bytes, shared_ids: Collection[str] = ()) -> bytes:
    """A flat row with whole numbers in key parts written without decimals and exponents, and null
    for an account id that is none.

    Texts of key parts lose blanks and invisible characters at their ends, and characters that are
    never shown within. `shared_ids` are ids that upstream sends for several natural keys, which
    tell no account.
    """
    plain = _NUMBER.sub(_plain_number, row)
    if b" " in plain or b"\\" in plain or not plain.isascii():
        plain = _ODD_TEXT.sub(_plain_text, plain)
    plain = _ID.sub(
        lambda found: found[1] + b"null" if _is_no_id(found[2], shared_ids) else found[0], plain
    )
    if plain == row:
        return row
    return row.with_text(plain) if isinstance(row, RepairedRow) else plain


def shown(text: str) -> str:
    """A key part without what is not visible: format characters anywhere, blanks and control
    characters at its ends.
    """
    if text.isascii() and text.isprintable():
        return text.strip(" ")
    text = "".join(each for each in text if unicodedata.category(each) != "Cf")
    start, end = 0, len(text)
    while start < end and unicodedata.category(text[start]) in _HIDDEN:
        start += 1
    while end > start and unicodedata.category(text[end - 1]) in _HIDDEN:
        end -= 1
    return text[start:end]


def folded(text: str) -> str:
    """What two spellings of one id have in common: neither case nor invisible characters."""
    return shown(text).casefold()


class AskedIds:
    """The account ids of a request, which are recognized in any case and with invisible
    characters.
    """

    def __init__(self, asked: Collection[str]) -> None:
        """Bind the ids; of those that differ in case alone none is recognized in another."""
        self._asked = frozenset(asked)
        self._by_fold: dict[str, str | None] = {}
        for each in self._asked:
            fold = folded(each)
            self._by_fold[fold] = each if fold not in self._by_fold else None

    def meant(self, row: bytes) -> str | None:
        """The id that a row spells otherwise than it was asked for; None for any other row."""
        found = _ID.search(row)
        if found is None:
            return None
        sent = _text(found[2])
        return None if sent in self._asked else self._by_fold.get(folded(sent))


def numbered_key(row: bytes) -> SentKey | None:
    """The key of a respelled row whose login is a number; None for any other row."""
    return None if _LOGIN.search(row) is None else key_of(row)


def key_of(row: bytes) -> SentKey:
    """The natural key and the account id of a row; empty texts for parts that it lacks."""
    fields = fields_of(row)
    platform = next((_text(fields[name]) for name in _PLATFORM if name in fields), "")
    return SentKey(
        _text(fields.get("login")),
        platform,
        _text(fields.get("broker")),
        _text(fields.get(_ACCOUNT)),
    )


def with_id(row: bytes, account_id: str) -> bytes:
    """The row with another spelling of its account id."""
    written = msgspec.json.encode(account_id)
    text = _ID.sub(lambda found: found[1] + written, row)
    return row.with_text(text) if isinstance(row, RepairedRow) else text


def with_login(row: bytes, login: str) -> bytes:
    """The row whose login was a number with a text in place of it."""
    written = msgspec.json.encode(login)
    text = _LOGIN.sub(lambda found: found[1] + written, row)
    return row.with_text(text) if isinstance(row, RepairedRow) else text


def same_but_for_zeros(login: str, known: Iterable[str]) -> list[str]:
    """Those of the known logins that equal a number when their leading zeros are left out."""
    return sorted({each for each in known if each.lstrip("0") == login.lstrip("0")})


def chosen_login(
    key: SentKey,
    own: Mapping[str, Sequence[str]],
    held: Mapping[tuple[str, str, str], Sequence[str]],
    asked: Collection[str],
) -> str | None:
    """The login that a number stands for: that of the row's account, or the only one known with the
    key, or the one that was asked for.

    `own` are the logins of accounts by their id, `held` those that equal a number, by number,
    platform and broker. Where none is known it is the number itself; None: it may be several.
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


def _plain_text(found: re.Match[bytes]) -> bytes:
    text = _text(found[2])
    plain = shown(text)
    return found[0] if plain == text else found[1] + msgspec.json.encode(plain)


def _is_no_id(value: bytes, shared_ids: Collection[str]) -> bool:
    text = _text(value)
    return shown(text).lower() in _NO_ID or text in shared_ids


def _text(value: bytes | None) -> str:
    """A value as PostgreSQL's `->>` writes it."""
    if value is None or bytes(value) == b"null":
        return ""
    raw = bytes(value)
    return str(msgspec.json.decode(raw)) if raw.startswith(b'"') else raw.decode()
