"""Whether upstream counts fewer settled trades of an account than the warehouse. Pure: no I/O."""

from dataclasses import dataclass

from app.domain.accounts.counts import Totals


@dataclass(frozen=True, slots=True)
class MovingTrades:
    """What the tables below alltime count of one account on dates that still move."""

    daily: int = 0
    hourly: int = 0
    closed: int = 0

    @property
    def most(self) -> int:
        """The count of the table that counts most."""
        return max(self.daily, self.hourly, self.closed)


NOTHING_MOVES = MovingTrades()


def is_lowered(
    before: Totals, after: int, moving: MovingTrades, told: int, *, is_bounded: bool = False
) -> bool:
    """Whether upstream's alltime counts fewer settled trades than the warehouse, if it says `after`
    where more were stored.

    `before` is what the tables counted when the run began, `moving` what they count on dates that
    still move, and `told` what upstream counts there. Both are taken off, so that neither trades of
    today nor a replica that lags hides or feigns a loss. Where alltime alone counts more than
    upstream, the warehouse was damaged: of two other tables or more, one that counts more is no
    witness. Where the history `is_bounded`, all are counts inside it, and of an account without
    rows there the other tables count 0.
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
