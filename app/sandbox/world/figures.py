"""The figures of metrics rows that follow from trades, by API field name. Pure: no I/O.

Counts and sums (`numTrades`, `netProfit`, `grossProfit`, `grossLoss`, `totalLots`, `totalVolume`)
are exact, so that they add up over hours, days and all time. Means, deviations and ratios are
rounded to the scale of their column.
"""

import datetime as dt
import math
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from app.sandbox.world.rendering import timestamp
from app.sandbox.world.statistics import percentile, places, ratio, streaks, summary
from app.sandbox.world.trades import Row, Trade

_ZERO = Decimal(0)
_DAY_SECONDS = 86400.0


class Measured(NamedTuple):
    """A closed trade with its amounts as floats at hand, for the figures that are rounded
    anyway.
    """

    trade: Trade
    profit: float
    lots: float
    volume: float
    seconds: float | None


def measured(trades: Sequence[Trade]) -> list[Measured]:
    """The closed `trades` in the order in which they were closed."""
    found = [
        Measured(
            trade, float(trade.profit), float(trade.lots), float(trade.volume_usd), trade.seconds
        )
        for trade in trades
    ]
    found.sort(
        key=lambda each: (
            each.trade.close_time or dt.datetime.max.replace(tzinfo=dt.UTC),
            each.trade.trade_key,
        )
    )
    return found


def figures(sample: Sequence[Measured], balance: float) -> Row:
    """All figures of one row from its trades; `balance` is the account's starting balance, above 0.

    Without trades the counts and sums are 0 and everything else is None.
    """
    gross_profit = sum((each.trade.profit for each in sample if each.profit > 0), _ZERO)
    gross_loss = sum((each.trade.profit for each in sample if each.profit < 0), _ZERO)
    row: Row = {
        "numTrades": len(sample),
        "netProfit": gross_profit + gross_loss,
        "grossProfit": gross_profit,
        "grossLoss": gross_loss,
        "totalLots": sum((each.trade.lots for each in sample), _ZERO),
        "totalVolume": sum((each.trade.volume_usd for each in sample), _ZERO),
    }
    totals = _Totals(
        float(gross_profit),
        float(gross_loss),
        math.fsum(each.lots for each in sample),
        math.fsum(each.volume for each in sample),
    )
    profits = [each.profit for each in sample]
    row.update(_profits(profits, totals, balance))
    row.update(_outliers(profits, totals, balance))
    row.update(_returns(profits, balance))
    row.update(_sizes(sample, totals))
    row.update(_durations([each.seconds for each in sample if each.seconds is not None], totals))
    row.update(_runs(profits))
    row.update(_symbols(sample))
    return row


class _Totals(NamedTuple):
    gross_profit: float
    gross_loss: float
    lots: float
    volume: float

    @property
    def net(self) -> float:
        return self.gross_profit + self.gross_loss


def _profits(profits: list[float], totals: _Totals, balance: float) -> Row:
    seen = summary(profits)
    ordered = sorted(profits)
    perc10, perc25, perc75, perc90 = (
        percentile(ordered, share) if ordered else None for share in (0.1, 0.25, 0.75, 0.9)
    )
    wins = sum(1 for profit in profits if profit > 0)
    risk_adjusted = ratio(seen.mean, seen.std)
    return {
        "gainToPain": places(ratio(totals.net, -totals.gross_loss), 2),
        "profitFactor": places(ratio(totals.gross_profit, -totals.gross_loss), 2),
        "successRate": places(ratio(100.0 * wins, len(profits)), 2),
        "expectancy": places(seen.mean, 2),
        "meanProfit": places(seen.mean, 2),
        "medianProfit": places(seen.median, 2),
        "stdProfits": places(seen.std, 2),
        "riskAdjProfit": risk_adjusted,
        "minProfit": places(seen.low, 2),
        "maxProfit": places(seen.high, 2),
        "profitPerc10": places(perc10, 2),
        "profitPerc25": places(perc25, 2),
        "profitPerc75": places(perc75, 2),
        "profitPerc90": places(perc90, 2),
        "relNetProfit": places(totals.net / balance, 6) if profits else None,
        "relGrossProfit": places(totals.gross_profit / balance, 6) if profits else None,
        "relGrossLoss": places(totals.gross_loss / balance, 6) if profits else None,
        "relMeanProfit": places(ratio(seen.mean, balance), 6),
        "relMedianProfit": places(ratio(seen.median, balance), 6),
        "relStdProfits": places(ratio(seen.std, balance), 6),
        "relRiskAdjProfit": risk_adjusted,
        "relMinProfit": places(ratio(seen.low, balance), 6),
        "relMaxProfit": places(ratio(seen.high, balance), 6),
        "relProfitPerc10": places(ratio(perc10, balance), 6),
        "relProfitPerc25": places(ratio(perc25, balance), 6),
        "relProfitPerc75": places(ratio(perc75, balance), 6),
        "relProfitPerc90": places(ratio(perc90, balance), 6),
    }


def _outliers(profits: list[float], totals: _Totals, balance: float) -> Row:
    ordered = sorted(profits)
    tenth = math.ceil(len(ordered) / 10)
    top, bottom = math.fsum(ordered[len(ordered) - tenth :]), math.fsum(ordered[:tenth])
    seen = summary(profits)
    mean, std = seen.mean or 0.0, seen.std or 0.0
    turnover = totals.gross_profit - totals.gross_loss
    row: Row = {
        "profitTop10PrcntTrades": places(top, 2) if ordered else None,
        "profitBottom10PrcntTrades": places(bottom, 2) if ordered else None,
        "top10PrcntProfitContrib": places(ratio(100.0 * max(top, 0.0), totals.gross_profit), 2),
        "bottom10PrcntLossContrib": places(ratio(100.0 * min(bottom, 0.0), totals.gross_loss), 2),
        "relProfitTop10PrcntTrades": places(top / balance, 6) if ordered else None,
        "relProfitBottom10PrcntTrades": places(bottom / balance, 6) if ordered else None,
    }
    for name, width in (("oneStdOutlierProfit", std), ("twoStdOutlierProfit", 2 * std)):
        outside = (
            [profit for profit in ordered if abs(profit - mean) > width] if len(ordered) > 1 else []
        )
        total = math.fsum(outside)
        row[name] = places(total, 2) if ordered else None
        row[f"{name}Contrib"] = places(ratio(math.fsum(map(abs, outside)), turnover), 6)
        row[f"rel{name[0].upper()}{name[1:]}"] = places(total / balance, 6) if ordered else None
    return row


def _returns(profits: list[float], balance: float) -> Row:
    returns = summary([profit / balance for profit in profits])
    downside = _downside(profits, balance)
    return {
        "meanRet": returns.mean,
        "stdRets": returns.std,
        "riskAdjRet": ratio(returns.mean, returns.std),
        "downsideStdRets": downside,
        "downsideRiskAdjRet": ratio(returns.mean, downside),
    }


def _downside(profits: Sequence[float], balance: float) -> float | None:
    if not profits:
        return None
    return math.sqrt(
        math.fsum((profit / balance) ** 2 for profit in profits if profit < 0) / len(profits)
    )


def _sizes(sample: Sequence[Measured], totals: _Totals) -> Row:
    winning = [each for each in sample if each.profit > 0]
    losing = [each for each in sample if each.profit < 0]
    winning_lot, losing_lot = (
        _mean([each.lots for each in winning]),
        _mean([each.lots for each in losing]),
    )
    winning_volume, losing_volume = (
        _mean([each.volume for each in winning]),
        _mean([each.volume for each in losing]),
    )
    profit_per_volume, loss_per_volume = (
        ratio(totals.gross_profit, totals.volume),
        ratio(totals.gross_loss, totals.volume),
    )
    profit_per_lot, loss_per_lot = (
        ratio(totals.gross_profit, totals.lots),
        ratio(totals.gross_loss, totals.lots),
    )
    return {
        "netProfitPerUSDVolume": ratio(totals.net, totals.volume),
        "grossProfitPerUSDVolume": profit_per_volume,
        "grossLossPerUSDVolume": loss_per_volume,
        "distanceGrossProfitLossPerUSDVolume": _distance(profit_per_volume, loss_per_volume),
        "multipleGrossProfitLossPerUSDVolume": _multiple(profit_per_volume, loss_per_volume),
        "grossProfitPerLot": places(profit_per_lot, 6),
        "grossLossPerLot": places(loss_per_lot, 6),
        "distanceGrossProfitLossPerLot": places(_distance(profit_per_lot, loss_per_lot), 6),
        "multipleGrossProfitLossPerLot": _multiple(profit_per_lot, loss_per_lot),
        "stdVolumes": places(summary([each.volume for each in sample]).std, 2),
        "meanWinningLot": places(winning_lot, 6),
        "meanLosingLot": places(losing_lot, 6),
        "distanceWinLossLots": places(_distance(winning_lot, losing_lot), 6),
        "multipleWinLossLots": places(_multiple(winning_lot, losing_lot), 6),
        "meanWinningVolume": places(winning_volume, 2),
        "meanLosingVolume": places(losing_volume, 2),
        "distanceWinLossVolume": places(_distance(winning_volume, losing_volume), 2),
        "multipleWinLossVolume": places(_multiple(winning_volume, losing_volume), 6),
    }


def _durations(seconds: list[float], totals: _Totals) -> Row:
    seen = summary(seconds)
    whole = math.fsum(seconds)
    return {
        "meanDuration": places(seen.mean, 6),
        "medianDuration": places(seen.median, 6),
        "stdDurations": places(seen.std, 6),
        "minDuration": places(seen.low, 6),
        "maxDuration": places(seen.high, 6),
        "cvDurations": places(seen.variation, 6),
        "netProfitPerDuration": places(ratio(totals.net, whole), 6),
        "grossProfitPerDuration": places(ratio(totals.gross_profit, whole), 6),
        "grossLossPerDuration": places(ratio(totals.gross_loss, whole), 6),
    }


def _runs(profits: list[float]) -> Row:
    row: Row = {}
    for name, sign in (("Wins", 1), ("Losses", -1)):
        runs = streaks(profits, sign)
        lengths, sums = summary(runs.lengths), summary(runs.sums)
        extreme = sums.high if sign > 0 else sums.low
        row[f"meanNumConsec{name}"] = places(lengths.mean, 2)
        row[f"medianNumConsec{name}"] = _whole(lengths.median)
        row[f"maxNumConsec{name}"] = _whole(lengths.high)
        row[f"meanValConsec{name}"] = places(sums.mean, 2)
        row[f"medianValConsec{name}"] = places(sums.median, 2)
        row[f"maxValConsec{name}"] = places(extreme, 2)
    return row


def _symbols(sample: Sequence[Measured]) -> Row:
    if not sample:
        return {"numTradedSymbols": 0, "mostTradedSymbol": None, "mostTradedSmbTrades": None}
    if len(sample) == 1:
        return {
            "numTradedSymbols": 1,
            "mostTradedSymbol": sample[0].trade.symbol,
            "mostTradedSmbTrades": 1,
        }
    counts = Counter(each.trade.symbol for each in sample)
    # The smallest name of the most traded, so that the answer does not hang on the order of trades.
    symbol, trades = min(counts.items(), key=lambda item: (-item[1], item[0]))
    return {
        "numTradedSymbols": len(counts),
        "mostTradedSymbol": symbol,
        "mostTradedSmbTrades": trades,
    }


def lifetime(sample: Sequence[Measured], balance: float, today: dt.date) -> Row:
    """The figures that only an account's whole life has; `today` is the day up to which it
    counts.
    """
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
    downside = _downside(nets, balance)
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
        "medianTradesPerDay": _whole(per_day.median),
        "minTradesPerDay": _whole(per_day.low),
        "maxTradesPerDay": _whole(per_day.high),
        "cvTradesPerDay": places(per_day.variation, 6),
        "meanIdleDays": places(idle.mean, 2),
        "medianIdleDays": _whole(idle.median),
        "maxIdleDays": _whole(idle.high),
        "minIdleDays": _whole(idle.low),
    }


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _distance(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else abs(first) - abs(second)


def _multiple(first: float | None, second: float | None) -> float | None:
    return ratio(None if first is None else abs(first), None if second is None else abs(second))


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
