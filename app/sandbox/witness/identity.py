"""Whose a trade is, by metrics rows. No I/O."""

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Columns: TypeAlias = Mapping[str, object]
"""As `rows_for_columns` normalizes it."""

HeldKey: TypeAlias = tuple[str, str, str]
"""Login, platform and broker."""


@dataclass(slots=True)
class _Holding:
    account_id: str
    first: dt.date
    last: dt.date


class Holders:
    """Holders of natural keys over time, by daily rows, then alltime.

    Alltime's key stays until another's daily rows begin: the login was recycled.
    """

    def __init__(self, alltime: Iterable[Columns], daily: Iterable[Columns]) -> None:
        """Learn from both endpoints."""
        self._holdings: dict[HeldKey, dict[str, _Holding]] = {}
        self._current: dict[HeldKey, dict[str, dt.date | None]] = {}
        for row in daily:
            day = dt.date.fromisoformat(str(row["date"]))
            account_id = str(row["account_id"])
            by_account = self._holdings.setdefault(held_key(row), {})
            holding = by_account.setdefault(account_id, _Holding(account_id, day, day))
            holding.first, holding.last = min(holding.first, day), max(holding.last, day)
        for row in alltime:
            first_trade = row.get("first_trade_date")
            first = None if first_trade is None else dt.date.fromisoformat(str(first_trade))
            self._current.setdefault(held_key(row), {})[str(row["account_id"])] = first

    def candidates(self, key: HeldKey, day: dt.date) -> frozenset[str]:
        """Possible holders of `key` on `day`."""
        holdings = self._holdings.get(key, {})
        found = {
            holding.account_id
            for holding in holdings.values()
            if holding.first <= day <= holding.last
        }
        for account_id, first_trade in self._current.get(key, {}).items():
            own = holdings.get(account_id)
            if own is None:
                holds = first_trade is not None and day >= first_trade
            else:
                holds = day > own.last and not any(
                    own.last < other.first <= day for other in holdings.values()
                )
            if holds:
                found.add(account_id)
        return frozenset(found)

    def owner(self, key: HeldKey, day: dt.date) -> str | None:
        """The only one, if sure."""
        found = self.candidates(key, day)
        return next(iter(found)) if len(found) == 1 else None

    def accounts(self) -> frozenset[str]:
        """All accounts named."""
        held = {account_id for holdings in self._holdings.values() for account_id in holdings}
        return frozenset(held.union(*self._current.values()))


def known_as(row: Columns) -> str:
    """The account id, or the natural key's MD5."""
    account_id = row.get("account_id")
    if account_id:
        return str(account_id)
    parts = (
        "" if row[part] is None else str(row[part]) for part in ("login", "platform", "broker")
    )
    return hashlib.md5("|".join(parts).encode(), usedforsecurity=False).hexdigest()


def held_key(row: Columns) -> HeldKey:
    """The natural key of any row."""
    return str(row["login"]), str(row["platform"]), str(row["broker"])
