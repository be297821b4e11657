"""Packing: accounts share requests so that all fill the fewest pages.

Common windows of dates request no row twice; the cheapest cut wins.
"""

import bisect
import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence

from app.domain.contract.tables import MAX_DATES
from app.domain.planning.bins import PAGE_FILL, Pack, Packer, Piece

_WIDTHS = (MAX_DATES, 30, 10, 3, 1)
_SHARES = (4.0, 2.0, 1.0, 0.5, 0.25)
"""Accounts as a share of ids."""
_FEW_DATES = (2, 5)
_PATIENCE = 2
_GOOD_ENOUGH = 1.1


def pack(pieces: Sequence[Piece], *, max_ids: int, is_range: bool) -> list[Pack]:
    """Packs of dated pieces; `is_range`: from first to last date."""
    best = _pack_best(pieces, max_ids=max_ids, is_range=is_range)
    for few in _FEW_DATES:
        groups = [
            [piece for piece in pieces if (len(piece.dates) <= few) is is_few]
            for is_few in (True, False)
        ]
        if all(groups) and _cost(best) > _GOOD_ENOUGH * _least_pages(pieces, max_ids):
            apart = [
                each
                for group in groups
                for each in _pack_best(group, max_ids=max_ids, is_range=is_range)
            ]
            best = min(best, apart, key=_cost)
    return best


def _pack_best(pieces: Sequence[Piece], *, max_ids: int, is_range: bool) -> list[Pack]:
    best: list[Pack] = []
    least = _least_pages(pieces, max_ids)
    needed = sorted({day for piece in pieces for day in piece.dates})
    worse = 0
    for starts in sorted(_cuts(pieces, needed, max_ids), key=len):
        # Each window costs a request at least; and where finer cuts begin to cost more, still finer
        # ones cost more again.
        if best and (
            len(starts) >= _cost(best) or worse == _PATIENCE or _cost(best) <= _GOOD_ENOUGH * least
        ):
            break
        packs = [
            each
            for window in _windows(pieces, starts)
            for each in Packer(max_ids, is_range=is_range).pack(window)
        ]
        if not best or _cost(packs) < _cost(best):
            best, worse = packs, 0
        else:
            worse += 1
    return best


def pack_whole(pieces: Sequence[Piece], *, max_ids: int) -> list[Pack]:
    """Packs of undated pieces."""
    return Packer(max_ids, is_range=False).pack(pieces)


def _cost(packs: Iterable[Pack]) -> float:
    return sum(each.cost for each in packs)


def _least_pages(pieces: Sequence[Piece], max_ids: int) -> float:
    rows = sum(sum(piece.dates.values()) for piece in pieces)
    return max(1.0, rows / PAGE_FILL, sum(len(piece.ids) for piece in pieces) / max_ids)


def _cuts(
    pieces: Sequence[Piece], needed: Sequence[dt.date], max_ids: int
) -> Iterator[list[dt.date]]:
    """Windows' first dates, by several cuts."""
    seen: list[list[dt.date]] = []
    by_date: dict[dt.date, list[str]] = {day: [] for day in needed}
    for piece in pieces:
        for day in piece.dates:
            by_date[day].append(piece.account_id)
    widths = [list(needed[::width]) for width in _WIDTHS]
    shares = (_cut_by_accounts(by_date, share * max_ids) for share in _SHARES)
    for cut in (widths[0], *shares, *widths[1:]):
        if cut not in seen:
            seen.append(cut)
            yield cut


def _cut_by_accounts(by_date: Mapping[dt.date, Sequence[str]], most: float) -> list[dt.date]:
    starts: list[dt.date] = []
    inside: set[str] = set()
    length = 0
    for day, account_ids in by_date.items():
        if not starts or length == MAX_DATES or len(inside | set(account_ids)) > most:
            starts.append(day)
            inside, length = set(), 0
        inside.update(account_ids)
        length += 1
    return starts


def _windows(pieces: Sequence[Piece], starts: Sequence[dt.date]) -> list[list[Piece]]:
    windows: list[list[Piece]] = [[] for _ in starts]
    for piece in pieces:
        parts: dict[int, dict[dt.date, float]] = {}
        for day, rows in piece.dates.items():
            parts.setdefault(bisect.bisect_right(starts, day) - 1, {})[day] = rows
        for number, dates in parts.items():
            windows[number].append(Piece(piece.account_id, piece.ids, dates, piece.density))
    return windows
