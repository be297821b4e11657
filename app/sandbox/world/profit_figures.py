"""Figures of profits. Pure: no I/O."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from app.sandbox.world.statistics import percentile, places, ratio, summary
from app.sandbox.world.trades import Row


class Totals(NamedTuple):
    """Sums over a row's trades."""

    gross_profit: float
    gross_loss: float
    lots: float
    volume: float

    @property
    def net(self) -> float:
        """Profits less losses."""
        return self.gross_profit + self.gross_loss


def profit_figures(profits: list[float], totals: Totals, balance: float) -> Row:
    """Averages, percentiles and ratios."""
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


def outlier_figures(profits: list[float], totals: Totals, balance: float) -> Row:
    """The best and worst tenth, and outliers."""
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


def return_figures(profits: list[float], balance: float) -> Row:
    """Returns on the starting balance."""
    returns = summary([profit / balance for profit in profits])
    downside = downside_deviation(profits, balance)
    return {
        "meanRet": returns.mean,
        "stdRets": returns.std,
        "riskAdjRet": ratio(returns.mean, returns.std),
        "downsideStdRets": downside,
        "downsideRiskAdjRet": ratio(returns.mean, downside),
    }


def downside_deviation(profits: Sequence[float], balance: float) -> float | None:
    """Root mean square of losing returns."""
    if not profits:
        return None
    return math.sqrt(
        math.fsum((profit / balance) ** 2 for profit in profits if profit < 0) / len(profits)
    )
