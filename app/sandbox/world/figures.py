"""Figures of metrics rows by API field name. No I/O.

Counts and sums are exact; others are rounded to their column's scale.
"""

import datetime as dt
import math
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from app.sandbox.world.profit_figures import Totals, outlier_figures, profit_figures, return_figures
from app.sandbox.world.statistics import (
    distance,
    mean,
    multiple,
    places,
    ratio,
    streaks,
    summary,
    whole,
)
from app.sandbox.world.trades import Row, Trade

_ZERO = Decimal(0)


class Measured(NamedTuple):
    """A closed trade with amounts as floats."""

    trade: Trade
    profit: float
    lots: float
    volume: float
    seconds: float | None


def measured(trades: Sequence[Trade]) -> list[Measured]:
    """The closed `trades` in order of closing."""
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
    """A row's figures; without trades counts and sums are 0, the rest None."""
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
    totals = Totals(
        float(gross_profit),
        float(gross_loss),
        math.fsum(each.lots for each in sample),
        math.fsum(each.volume for each in sample),
    )
    profits = [each.profit for each in sample]
    row.update(profit_figures(profits, totals, balance))
    row.update(outlier_figures(profits, totals, balance))
    row.update(return_figures(profits, balance))
    row.update(size_figures(sample, totals))
    row.update(
        duration_figures([each.seconds for each in sample if each.seconds is not None], totals)
    )
    row.update(_runs(profits))
    row.update(_symbols(sample))
    return row


def size_figures(sample: Sequence[Measured], totals: Totals) -> Row:
    """Lots and volumes, and profits per unit."""
    winning = [each for each in sample if each.profit > 0]
    losing = [each for each in sample if each.profit < 0]
    winning_lot, losing_lot = (
        mean([each.lots for each in winning]),
        mean([each.lots for each in losing]),
    )
    winning_volume, losing_volume = (
        mean([each.volume for each in winning]),
        mean([each.volume for each in losing]),
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
        "distanceGrossProfitLossPerUSDVolume": distance(profit_per_volume, loss_per_volume),
        "multipleGrossProfitLossPerUSDVolume": multiple(profit_per_volume, loss_per_volume),
        "grossProfitPerLot": places(profit_per_lot, 6),
        "grossLossPerLot": places(loss_per_lot, 6),
        "distanceGrossProfitLossPerLot": places(distance(profit_per_lot, loss_per_lot), 6),
        "multipleGrossProfitLossPerLot": multiple(profit_per_lot, loss_per_lot),
        "stdVolumes": places(summary([each.volume for each in sample]).std, 2),
        "meanWinningLot": places(winning_lot, 6),
        "meanLosingLot": places(losing_lot, 6),
        "distanceWinLossLots": places(distance(winning_lot, losing_lot), 6),
        "multipleWinLossLots": places(multiple(winning_lot, losing_lot), 6),
        "meanWinningVolume": places(winning_volume, 2),
        "meanLosingVolume": places(losing_volume, 2),
        "distanceWinLossVolume": places(distance(winning_volume, losing_volume), 2),
        "multipleWinLossVolume": places(multiple(winning_volume, losing_volume), 6),
    }


def duration_figures(seconds: list[float], totals: Totals) -> Row:
    """Durations, and profits per second."""
    seen = summary(seconds)
    total = math.fsum(seconds)
    return {
        "meanDuration": places(seen.mean, 6),
        "medianDuration": places(seen.median, 6),
        "stdDurations": places(seen.std, 6),
        "minDuration": places(seen.low, 6),
        "maxDuration": places(seen.high, 6),
        "cvDurations": places(seen.variation, 6),
        "netProfitPerDuration": places(ratio(totals.net, total), 6),
        "grossProfitPerDuration": places(ratio(totals.gross_profit, total), 6),
        "grossLossPerDuration": places(ratio(totals.gross_loss, total), 6),
    }


def _runs(profits: list[float]) -> Row:
    row: Row = {}
    for name, sign in (("Wins", 1), ("Losses", -1)):
        runs = streaks(profits, sign)
        lengths, sums = summary(runs.lengths), summary(runs.sums)
        extreme = sums.high if sign > 0 else sums.low
        row[f"meanNumConsec{name}"] = places(lengths.mean, 2)
        row[f"medianNumConsec{name}"] = whole(lengths.median)
        row[f"maxNumConsec{name}"] = whole(lengths.high)
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
