"""Whether upstream counts fewer settled trades."""

from dataclasses import dataclass

from app.domain.accounts.counts import Totals


@dataclass(frozen=True, slots=True)
class MovingTrades:
    """The warehouse's trades on unsettled dates, by table."""

    daily: int = 0
    hourly: int = 0
    closed: int = 0

    @property
    def most(self) -> int:
        """The largest of them."""
        return max(self.daily, self.hourly, self.closed)


NOTHING_MOVES = MovingTrades()


def is_lowered(
    before: Totals, after: int, moving: MovingTrades, told: int, *, is_bounded: bool = False
) -> bool:
    """Whether alltime's `after` counts fewer settled trades than the warehouse.

    Unsettled trades, `moving` here and `told` there, are taken off. One finer table alone proves
    nothing. With `is_bounded` history absent rows count 0.
    """
    finer = (
        (before.has_daily, before.daily - moving.daily),
        (before.has_hourly, before.hourly - moving.hourly),
        (before.has_closed, before.closed - moving.closed),
    )
    settled = sorted((count for has_rows, count in finer if has_rows), reverse=True) or [
        0 if is_bounded else before.alltime - moving.most
    ]
    return after - told < settled[min(1, len(settled) - 1)]
