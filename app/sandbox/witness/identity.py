"""Whose a trade is, as upstream's metrics rows show. No I/O."""

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Columns: TypeAlias = Mapping[str, object]
"""One row by warehouse column, normalized by `app.sandbox.witness.columns.rows_for_columns`."""

HeldKey: TypeAlias = tuple[str, str, str]
"""Login, platform and broker as text."""


@dataclass(slots=True)
class _Holding:
    account_id: str
    first: dt.date
    last: dt.date


class Holders:
    """Who held which natural key when: by daily rows, then by alltime.

    An account keeps a key that alltime shows until another's daily rows with it begin after its own
    have ended: the login was recycled. Without daily rows it holds the key from the first trade
    that alltime names.
    """

    def __init__(self, alltime: Iterable[Columns], daily: Iterable[Columns]) -> None:
        """Learn from the rows of both endpoints."""
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
        """The accounts that may have held `key` on `day`."""
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
        """The only account that held `key` on `day`; None if unsure."""
        found = self.candidates(key, day)
        return next(iter(found)) if len(found) == 1 else None

    def accounts(self) -> frozenset[str]:
        """All accounts that the rows named."""
        held = {account_id for holdings in self._holdings.values() for account_id in holdings}
        return frozenset(held.union(*self._current.values()))


def known_as(row: Columns) -> str:
    """The warehouse's account id of a metrics row: its own, or the MD5 of its natural key."""
    account_id = row.get("account_id")
    if account_id:
        return str(account_id)
    parts = (
        "" if row[part] is None else str(row[part]) for part in ("login", "platform", "broker")
    )
    return hashlib.md5("|".join(parts).encode(), usedforsecurity=False).hexdigest()


def held_key(row: Columns) -> HeldKey:
    """The natural key of a row of any raw table."""
    return str(row["login"]), str(row["platform"]), str(row["broker"])
