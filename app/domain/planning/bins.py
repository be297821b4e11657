"""Bin packing: accounts of one window into requests."""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.contract.tables import PAGE_ROWS
from app.domain.ids import AccountId

_OPEN_BINS = 8
PAGE_FILL = 0.95 * (PAGE_ROWS - 1)
"""One row too many costs a page."""
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Piece:
    """What one account needs: its `ids` in a request, and the rows expected on each date.

    `density` are those on any other date; without dates, all rows of the account.
    """

    account_id: AccountId
    ids: tuple[str, ...]
    dates: Mapping[dt.date, float]
    density: float


@dataclass(frozen=True, slots=True)
class Pack:
    """Accounts sharing a request on `dates` (none: all)."""

    account_ids: tuple[AccountId, ...]
    dates: tuple[dt.date, ...]
    rows: float

    @property
    def cost(self) -> float:
        """Expected requests."""
        return cost_of(self.rows)


def pages_of(rows: float) -> float:
    """The planned pages that rows fill, as a fraction."""
    return rows / PAGE_FILL


def cost_of(rows: float) -> float:
    """Expected requests, with half a last page."""
    return 1.0 if rows <= PAGE_FILL else rows / (PAGE_ROWS - 1) + _HALF


@dataclass(slots=True)
class _Bin:
    """`fixed` rows, and `density` by date."""

    mask: int = 0
    fixed: float = 0.0
    density: float = 0.0
    ids: set[str] = field(default_factory=set)
    account_ids: list[AccountId] = field(default_factory=list)

    @property
    def rows(self) -> float:
        return self.fixed + self.density * self.mask.bit_count()


class Packer:
    """Packs pieces of one window."""

    def __init__(self, max_ids: int, *, is_range: bool) -> None:
        self._max_ids = max_ids
        self._is_range = is_range
        self._bins: list[_Bin] = []

    def pack(self, pieces: Sequence[Piece]) -> list[Pack]:
        """First fit by least waste."""
        base = min((day for piece in pieces for day in piece.dates), default=dt.date.min)
        masked = [(self._mask(piece, base), piece) for piece in pieces]
        # Short ones by their place in time, long ones among themselves: so neighbours have like
        # dates.
        masked.sort(
            key=lambda each: (
                _span(each[0]).bit_length(),
                each[0] & -each[0],
                each[1].density,
                each[1].account_id,
            )
        )
        for mask, piece in masked:
            self._place(_bin_of(piece, mask))
        self._merge()
        return [
            Pack(tuple(sorted(each.account_ids)), self._dates(each.mask, base), each.rows)
            for each in self._bins
        ]

    def _mask(self, piece: Piece, base: dt.date) -> int:
        mask = 0
        for day in piece.dates:
            mask |= 1 << (day - base).days
        return _filled(mask) if self._is_range else mask

    def _dates(self, mask: int, base: dt.date) -> tuple[dt.date, ...]:
        if self._is_range:
            return (
                base + dt.timedelta(days=_first(mask)),
                base + dt.timedelta(days=mask.bit_length() - 1),
            )
        return tuple(
            base + dt.timedelta(days=number)
            for number in range(mask.bit_length())
            if mask >> number & 1
        )

    def _place(self, new: _Bin) -> None:
        waste, chosen = min(
            (
                (waste, number)
                for number in range(
                    len(self._bins) - 1, max(-1, len(self._bins) - 1 - _OPEN_BINS), -1
                )
             if (waste := self._waste(self._bins[number], new)) is not None),
            default=(0.0, None),
        )  # fmt: skip
        if chosen is None:
            self._bins.append(new)
        else:
            self._bins[chosen] = self._joined(self._bins[chosen], new)

    def _waste(self, old: _Bin, new: _Bin) -> float | None:
        """Unneeded rows if joined; None: not worth it."""
        ids = len(old.ids | new.ids)
        if ids > self._max_ids:
            return None
        together = self._joined_rows(old, new)
        before, after = _whole_pages(old.rows), _whole_pages(together)
        if after > before:
            # One page more is worth while only if the ids still to come fill it: they should cost
            # no more than those here did.
            to_come = (together - old.rows) / len(new.ids) * (self._max_ids - ids)
            if _whole_pages(together + to_come) * len(old.ids) > before * self._max_ids:
                return None
        return together - old.rows - new.rows

    def _merge(self) -> None:
        """Join what fills fewer pages."""
        number = 0
        while number < len(self._bins):
            one = self._bins[number]
            candidates = [
                (
                    _whole_pages(self._joined_rows(one, other))
                    - _whole_pages(one.rows)
                    - _whole_pages(other.rows),
                    place,
                )
                for place, other in enumerate(
                    self._bins[number + 1 : number + 1 + 4 * _OPEN_BINS], start=number + 1
                )
                if len(one.ids | other.ids) <= self._max_ids
            ]
            saved, place = min(candidates, default=(0, 0))
            if saved < 0:
                self._bins[number] = self._joined(one, self._bins.pop(place))
            else:
                number += 1

    def _joined_rows(self, one: _Bin, other: _Bin) -> float:
        return (
            one.fixed
            + other.fixed
            + (one.density + other.density) * self._union(one.mask, other.mask).bit_count()
        )

    def _joined(self, one: _Bin, other: _Bin) -> _Bin:
        return _Bin(
            self._union(one.mask, other.mask),
            one.fixed + other.fixed,
            one.density + other.density,
            one.ids | other.ids,
            one.account_ids + other.account_ids,
        )

    def _union(self, one: int, other: int) -> int:
        return _filled(one | other) if self._is_range else one | other


def _bin_of(piece: Piece, mask: int) -> _Bin:
    if not piece.dates:
        return _Bin(0, piece.density, 0.0, set(piece.ids), [piece.account_id])
    fixed = sum(piece.dates.values()) - piece.density * len(piece.dates)
    return _Bin(mask, fixed, piece.density, set(piece.ids), [piece.account_id])


def _whole_pages(rows: float) -> int:
    return max(1, math.ceil(pages_of(rows)))


def _first(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _span(mask: int) -> int:
    return mask.bit_length() - _first(mask) if mask else 0


def _filled(mask: int) -> int:
    return (1 << mask.bit_length()) - (mask & -mask) if mask else 0
