"""Figures of a whole life. No I/O."""

import datetime as dt
import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from app.sandbox.world.figures import Measured
from app.sandbox.world.profit_figures import downside_deviation
from app.sandbox.world.rendering import timestamp
from app.sandbox.world.statistics import places, ratio, summary, whole
from app.sandbox.world.trades import Row

_DAY_SECONDS = 86400.0


def lifetime(sample: Sequence[Measured], balance: float, today: dt.date) -> Row:
    """Figures up to `today`."""
    openings = [each.trade.open_time for each in sample if each.trade.open_time is not None]
    closings = [each.trade.close_time for each in sample if each.trade.close_time is not None]
    by_day = _profit_by_day(sample)
    days = sorted(by_day)
    start = min(openings, default=None) or min(closings, default=None)
    life = (max(closings) - start).total_seconds() / _DAY_SECONDS if start and closings else None
    return {
        "firstTradeDate": None,
        "daysSinceFirstTrade": (today - days[0]).days if days else None,
        "firstTradeOpen": timestamp(min(openings, default=None)),
        "lastTradeOpen": timestamp(max(openings, default=None)),
        "lastTradeClose": timestamp(max(closings, default=None)),
        "lifeTimeInDays": places(life, 6),
        "totalRet": math.fsum(each.profit for each in sample) / balance if sample else None,
        **_daily_returns(list(by_day.values()), balance),
        **_rhythm(days, Counter(each.trade.trade_date for each in sample)),
    }


def _profit_by_day(sample: Sequence[Measured]) -> dict[dt.date, float]:
    by_day: dict[dt.date, float] = {}
    for each in sample:
        by_day[each.trade.trade_date] = by_day.get(each.trade.trade_date, 0.0) + each.profit
    return by_day


def _daily_returns(nets: list[float], balance: float) -> Row:
    returns = summary([net / balance for net in nets])
    downside = downside_deviation(nets, balance)
    return {
        "dailyMeanRet": returns.mean,
        "dailyStdRet": returns.std,
        "dailySharpe": ratio(returns.mean, returns.std),
        "dailyDownsideStdRet": downside,
        "dailySortino": ratio(returns.mean, downside),
    }


def _rhythm(days: list[dt.date], trades_by_day: Counter[dt.date]) -> Row:
    per_day = summary(list(trades_by_day.values()))
    idle = summary([(later - earlier).days - 1 for earlier, later in pairwise(days)])
    return {
        "meanTradesPerDay": places(per_day.mean, 2),
        "medianTradesPerDay": whole(per_day.median),
        "minTradesPerDay": whole(per_day.low),
        "maxTradesPerDay": whole(per_day.high),
        "cvTradesPerDay": places(per_day.variation, 6),
        "meanIdleDays": places(idle.mean, 2),
        "medianIdleDays": whole(idle.median),
        "maxIdleDays": whole(idle.high),
        "minIdleDays": whole(idle.low),
    }
