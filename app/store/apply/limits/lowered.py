"""Whether upstream has less, or one table too much.

Alltime is judged by other tables, daily and finer rows by each other. An excess of one table is
damage, not loss.
"""

import datetime as dt
from collections.abc import Sequence

from app.domain.accounts.counts import Totals
from app.domain.accounts.settling import UNKNOWN
from app.domain.contract.tables import Endpoint
from app.domain.holds.lowered import NOTHING_MOVES, MovingTrades, is_lowered
from app.store.apply.limits.verdict import Verdict
from app.store.database.pool import Database
from app.store.database.transaction import Connection, Record
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.table_sql.statements import Statements


class LoweredAccounts:
    """Finds accounts that upstream lowers."""

    def __init__(
        self, database: Database, catalogue: Catalogue, window: Window = ALL_DATES
    ) -> None:
        sql = database.queries("apply/limits/lowered", window)
        self._sql = Statements(sql, catalogue, window)

    async def find(self, connection: Connection, verdict: Verdict, losing: Sequence[str]) -> None:
        """Add lowered accounts and damage to the verdict."""
        verdict.lowered |= {
            account_id for account_id in losing if verdict.changed[account_id].blanks
        }
        if not losing:
            return
        match verdict.job.proven.endpoint:
            case Endpoint.ALLTIME:
                await self._judge_alltime(connection, verdict, losing)
            case Endpoint.DAILY:
                await self._judge_daily(connection, verdict, _lost_days(verdict, losing))
            case _:
                await self._judge_finer(connection, verdict, _lost_days(verdict, losing))

    async def _judge_daily(
        self, connection: Connection, verdict: Verdict, days: Sequence[tuple[str, dt.date | None]]
    ) -> None:
        if not days:
            return
        statement = self._sql.of("judge_lost_days_of_daily", verdict.job.table)
        for row in await connection.fetch(
            statement, *_arrays(days), verdict.job.context.moving_from
        ):
            account_id = row["account_id"]
            totals = verdict.standing(account_id).totals
            # Upstream's daily counts do not fall below alltime, which has the correction already.
            is_known = totals.has_alltime and verdict.left[account_id] >= totals.alltime
            if _lowers(verdict, row) and not is_known:
                verdict.lowered.add(account_id)
            if row["is_damage"] or (is_known and row["is_shared"]):
                verdict.damage.setdefault(account_id, set()).add(row["day"])

    async def _judge_finer(
        self, connection: Connection, verdict: Verdict, days: Sequence[tuple[str, dt.date | None]]
    ) -> None:
        if not days:
            return
        statement = self._sql.of("judge_lost_days_of_finer", verdict.job.table)
        for row in await connection.fetch(
            statement, *_arrays(days), verdict.job.context.moving_from, verdict.table
        ):
            account_id = row["account_id"]
            if _lowers(verdict, row):
                verdict.lowered.add(account_id)
            # A table changed by this run repeats upstream, and is no evidence of our own.
            if row["is_damage"] and _is_untouched(row, verdict.standing(account_id).totals):
                verdict.damage.setdefault(account_id, set()).add(row["day"])

    async def _judge_alltime(
        self, connection: Connection, verdict: Verdict, losing: Sequence[str]
    ) -> None:
        """Find lowered alltime counts, withheld ones included."""
        known = verdict.job.evidence.moving
        moving = await self._moving_trades(connection, verdict, losing)
        is_bounded = self._sql.window.first is not None
        for account_id in losing:
            stored = moving.get(account_id, NOTHING_MOVES)
            told = known.get(account_id, UNKNOWN).told
            if told is None:
                # An allowed fall cannot lie on unsettled dates; a withheld one may, until daily is
                # read.
                told = stored.most if verdict.changed[account_id].falls_to is None else 0
            totals, left = verdict.standing(account_id).totals, verdict.left[account_id]
            if is_lowered(totals, left, stored, told, is_bounded=is_bounded):
                verdict.lowered.add(account_id)
            else:
                verdict.damage[account_id] = {None}

    async def _moving_trades(
        self, connection: Connection, verdict: Verdict, losing: Sequence[str]
    ) -> dict[str, MovingTrades]:
        rows = await connection.fetch(
            self._sql.of("count_moving_trades", verdict.job.table),
            list(losing),
            verdict.job.context.moving_from,
        )
        return {
            row["account_id"]: MovingTrades(row["daily"], row["hourly"], row["closed"])
            for row in rows
        }


def _lost_days(verdict: Verdict, losing: Sequence[str]) -> list[tuple[str, dt.date | None]]:
    return [
        (account_id, day)
        for account_id in losing
        for day in (
            verdict.changed[account_id].lost_days
            | verdict.changed[account_id].fallen.keys()
            | verdict.changed[account_id].shifted_days
        )
    ]


def _arrays(
    days: Sequence[tuple[str, dt.date | None]],
) -> tuple[list[str], list[dt.date | None]]:
    return [each[0] for each in days], [each[1] for each in days]


def _lowers(verdict: Verdict, row: Record) -> bool:
    return bool(row["is_lowered"] and row["day"] in verdict.changed[row["account_id"]].lost_days)


def _is_untouched(row: Record, totals: Totals) -> bool:
    """Whether the table's total is as at the run's start."""
    return bool(row["life"] == totals.counts[row["name"]])
