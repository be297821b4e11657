"""The compared history, and upstream's counts before it."""

import datetime as dt
from collections.abc import Iterable, Mapping
from decimal import Decimal

from app.domain.accounts.counts import CountedDay
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import Endpoint
from app.domain.ids import AccountId
from app.domain.planning.planned_request import PlannedRequest
from app.engine.config import EngineConfig
from app.engine.repositories import Repositories
from app.store.schema.history import Before
from app.telemetry import get_logger

_log = get_logger(__name__)


async def begin_history(
    store: Repositories, config: EngineConfig, now: dt.datetime
) -> dt.date | None:
    """The first compared date at `now` (aware; None: all), noted.

    Raises ConfigurationError if none is left.
    """
    first = await first_day(store, config, now)
    if await store.histories.note_window(first):
        _log.info(
            "The history that is compared begins at another date than before.",
            action="history.begins",
            setting=str(config.history_from or ""),
            history_from=None if first is None else first.isoformat(),
        )
    return first


async def first_day(store: Repositories, config: EngineConfig, now: dt.datetime) -> dt.date | None:
    """The first compared date, without noting it."""
    if config.history_from is None:
        return None
    held_from = await store.histories.held_from() if config.history_from.is_auto else None
    if config.history_from.is_auto and held_from is None:
        _log.warning(
            "RECON_HISTORY_FROM=auto has no effect: no table has partitions that begin at a date."
            " All dates are compared.",
            action="history.no_partitions",
        )
    return config.history_from.first_day(config.today(now), held_from)


def find_before(
    views: Mapping[AccountId, AccountView],
    progress: Mapping[AccountId, Progress],
    planned: PlannedRequest,
    before: Mapping[str, Mapping[dt.date, CountedDay]],
) -> dict[AccountId, Before]:
    """What daily rows of a read count before the history, by account."""
    found = {}
    for account_id in planned.account_ids:
        history, learned = views[account_id].history, progress[account_id]
        days = before.get(account_id, {})
        if history is None:
            continue
        if planned.is_undated:
            found[account_id] = _sum_of(days.values(), is_added=False)
            learned.first_sent = min(days, default=history.first)
            continue
        learned.counted.update(days)
        uncounted = history.uncounted
        if uncounted and learned.dates_read(Endpoint.DAILY).covers_all(uncounted):
            found[account_id] = _sum_of(
                (learned.counted[day] for day in uncounted & learned.counted.keys()), is_added=True
            )
    return found


def take_parts(progress: Mapping[AccountId, Progress]) -> dict[AccountId, Before]:
    """What daily rows read in parts count before the history; given once."""
    found = {}
    for account_id, learned in progress.items():
        if learned.counted_in_parts:
            learned.counted_in_parts = False
            found[account_id] = _sum_of(learned.counted.values(), is_added=False)
    return found


def find_forgotten(
    views: Mapping[AccountId, AccountView], progress: Mapping[AccountId, Progress]
) -> dict[AccountId, Before]:
    """What alltime counts before the first daily row that upstream still sends, where both were
    read whole.
    """
    found = {}
    for account_id, view in views.items():
        history, learned = view.history, progress[account_id]
        if (
            history is None
            or not history.is_known
            or learned.first_sent is None
            or learned.errors
            or learned.hold
            or learned.left_alone
        ):
            continue
        was_read = (
            learned.dates_read(Endpoint.ALLTIME).everything
            and learned.dates_read(Endpoint.DAILY).everything
        )
        rest = view.totals.alltime - view.totals.daily
        if (
            was_read
            and rest > 0
            and history.first_trade is not None
            and history.first_trade < learned.first_sent
        ):
            found[account_id] = Before(history.counted + rest, None, None)
    return found


def _sum_of(days: Iterable[CountedDay], *, is_added: bool) -> Before:
    each = list(days)
    return Before(
        sum(day.trades for day in each),
        _total(day.net_profit for day in each),
        _total(day.total_lots for day in each),
        is_added=is_added,
    )


def _total(figures: Iterable[Decimal | None]) -> Decimal:
    return sum((figure for figure in figures if figure is not None), Decimal(0))
