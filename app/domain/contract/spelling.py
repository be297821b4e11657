"""Key parts in one spelling, without blanks and invisible characters."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec

from app.domain.contract.rows import RepairedRow, fields_of
from app.domain.ids import AccountId, Login

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
_HIDDEN = frozenset({"Cf", "Cc", "Zs", "Zl", "Zp"})
"""Unicode categories dropped at the ends."""
_NO_ID = frozenset({"", "null", "none", "nan"})
_LONGEST = 255
_PLATFORM = ("mt_version", "platform")


class SentKey(NamedTuple):
    """A row's natural key and account id."""

    login: Login
    platform: str
    broker: str
    account_id: AccountId


def respelled(row: bytes, shared_ids: Collection[str] = ()) -> bytes:
    """A flat row with plain key parts; `shared_ids`, of several natural keys, become null."""
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
    """A key part without invisible characters."""
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
    """An id without case and invisible characters."""
    return shown(text).casefold()


class AskedIds:
    """Recognizes a request's ids in any spelling."""

    def __init__(self, asked: Collection[str]) -> None:
        """Ids may differ only in case."""
        self._asked = frozenset(asked)
        self._by_fold: dict[str, str | None] = {}
        for each in self._asked:
            fold = folded(each)
            self._by_fold[fold] = each if fold not in self._by_fold else None

    def meant(self, row: bytes) -> str | None:
        """The id that a row spells otherwise."""
        found = _ID.search(row)
        if found is None:
            return None
        sent = _text(found[2])
        return None if sent in self._asked else self._by_fold.get(folded(sent))


def numbered_key(row: bytes) -> SentKey | None:
    """The key, if its login is numeric."""
    return None if _LOGIN.search(row) is None else key_of(row)


def key_of(row: bytes) -> SentKey:
    """Natural key and id; missing parts are empty."""
    fields = fields_of(row)
    platform = next((_text(fields[name]) for name in _PLATFORM if name in fields), "")
    return SentKey(
        Login(_text(fields.get("login"))),
        platform,
        _text(fields.get("broker")),
        AccountId(_text(fields.get(_ACCOUNT))),
    )


def with_id(row: bytes, account_id: AccountId) -> bytes:
    """The row with this account id."""
    written = msgspec.json.encode(account_id)
    text = _ID.sub(lambda found: found[1] + written, row)
    return row.with_text(text) if isinstance(row, RepairedRow) else text


def with_login(row: bytes, login: Login) -> bytes:
    """The row with a text as login."""
    written = msgspec.json.encode(login)
    text = _LOGIN.sub(lambda found: found[1] + written, row)
    return row.with_text(text) if isinstance(row, RepairedRow) else text


def same_but_for_zeros(login: Login, known: Iterable[str]) -> list[str]:
    """Known logins equal but for leading zeros."""
    return sorted({each for each in known if each.lstrip("0") == login.lstrip("0")})


def chosen_login(
    key: SentKey,
    own: Mapping[str, Sequence[str]],
    held: Mapping[tuple[str, str, str], Sequence[str]],
    asked: Collection[str],
) -> str | None:
    """A number's login: the account's `own`, the only one `held`, or one asked for; None if
    several.
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
    if value is None or bytes(value) == b"null":
        return ""
    raw = bytes(value)
    return str(msgspec.json.decode(raw)) if raw.startswith(b'"') else raw.decode()
