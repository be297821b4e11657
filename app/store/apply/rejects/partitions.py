"""Partitions of fetched rows: created, or reported with DDL."""

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence

from app.domain.contract.tables import Endpoint
from app.errors import DatabaseError, RowRefused, StatementTooSlow, WriteConflict
from app.store.apply.job import ApplyJob
from app.store.apply.rejects.reasons import NO_PARTITION, OUTSIDE
from app.store.database.pool import Database
from app.store.database.queries import quote
from app.store.database.window import ALL_DATES, Window
from app.store.identity.natural_keys import first_trade
from app.store.schema.raw.catalogue import Catalogue
from app.store.schema.raw.tables import WarehouseTable
from app.store.table_sql.statements import Statements
from app.store.table_sql.table import schema_of
from app.telemetry import get_logger

_STATEMENT_SECONDS = 15.0
_log = get_logger(__name__)

_Gaps = dict[tuple[dt.date, dt.date], list[dt.date]]
"""Days by the half-open range missing."""


class Partitions:
    """Creates partitions, or rejects their rows."""

    def __init__(
        self, database: Database, catalogue: Catalogue, window: Window = ALL_DATES
    ) -> None:
        self._database = database
        self._first_trade = first_trade(catalogue[Endpoint.ALLTIME])
        sql = database.queries("apply/rejects/partitions", window)
        self._sql = Statements(sql, catalogue, window, further=["first_trade"])

    async def provide(self, job: ApplyJob, rejected: int) -> None:
        """Create partitions that rows need, or reject rows.

        `rejected` rows need none.
        """
        if not job.table.is_partitioned:
            return
        gaps = await self._gaps(job.table, await self._days(job, rejected))
        if gaps:
            await self._reject_outside(job, gaps)
        if gaps:
            missing = [day for days in gaps.values() for day in days]
            await self._create(job.table, missing)
            gaps = await self._gaps(job.table, missing)
        for gap, days in gaps.items():
            await self._reject(job, days, await self._wanted(job.table, gap, days))
            name = f"{job.table.table.name} {gap[0]:%Y-%m}"
            await self._database.execute(
                self._sql["note_missing_partitions"], job.context.run_id, name
            )

    async def _days(self, job: ApplyJob, rejected: int) -> list[dt.date]:
        if job.staged.is_distinct and not rejected:
            return sorted(job.staged.days)
        statement = self._sql.of("get_staged_days", job.table)
        rows = await self._database.fetch(statement, job.staged.fetch_id)
        return [row["day"] for row in rows]

    async def _gaps(self, table: WarehouseTable, days: Sequence[dt.date]) -> _Gaps:
        gaps: _Gaps = defaultdict(list)
        for row in await self._database.fetch(
            self._sql["get_partition_gaps"], table.table.name, list(days)
        ):
            gaps[row["gap_from"], row["gap_to"]].append(row["day"])
        return gaps

    async def _create(self, table: WarehouseTable, missing: Sequence[dt.date]) -> None:
        try:
            async with self._database.transaction(
                statement_seconds=_STATEMENT_SECONDS
            ) as connection:
                await connection.execute(
                    self._sql["create_partitions"], table.table.name, list(missing)
                )
        except WriteConflict as error:
            _log.warning(
                "The table is locked; its partitions are made next time.",
                action="partitions.locked",
                reason=str(error),
            )
        except (RowRefused, StatementTooSlow, DatabaseError) as error:
            # A DDL trigger may raise anything; its error concerns no account.
            _log.warning(
                "Partitions could not be made; their rows wait.",
                action="partitions.refused",
                reason=str(error),
            )

    async def _reject(self, job: ApplyJob, days: Sequence[dt.date], reason: str) -> None:
        statement = self._sql.of("reject_days", job.table)
        await self._database.execute(statement, job.staged.fetch_id, list(days), reason)

    async def _reject_outside(self, job: ApplyJob, gaps: _Gaps) -> None:
        """Reject rows beyond the table's years, dropping their `gaps`.

        One year around existing partitions, and all since alltime's first trade, are allowed: an
        odd date creates no partition.
        """
        name = job.table.table.name
        row = await self._database.fetch_row(self._sql["get_partition_years"], name)
        if row is None or row["first_year"] is None:
            return
        first, last = row["first_year"] - 1, row["last_year"] + 1
        if any(day.year < first for days in gaps.values() for day in days):
            first = await self._first_year(job.table, first)
        reason = (
            f"{OUTSIDE}: {name} has the years {first + 1} to {last - 1}; if the"
            " date is meant, make a partition for it"
        )
        for gap, days in list(gaps.items()):
            outside = [day for day in days if not first <= day.year <= last]
            if outside:
                await self._reject(job, outside, reason)
                gaps[gap] = [day for day in days if day not in outside]
            if not gaps[gap]:
                del gaps[gap]

    async def _first_year(self, table: WarehouseTable, first: int) -> int:
        statement = self._sql.of("get_first_trade_year", table, first_trade=self._first_trade)
        return min(first, await self._database.fetch_value(statement) or first)

    async def _wanted(
        self, table: WarehouseTable, gap: tuple[dt.date, dt.date], days: Sequence[dt.date]
    ) -> str:
        """The missing partition with DDL, or the setting to change."""
        first, behind = gap
        name = table.table.name
        partition = f"{schema_of(table)}.{quote(_partition_name(name, first, behind))}"
        values = f"FOR VALUES FROM ('{first}') TO ('{behind}')"
        state = await self._database.fetch_row(self._sql["get_partition_state"], partition, [name])
        needed = " to ".join(str(day) for day in sorted({days[0], days[-1]}))
        lacking = f"{NO_PARTITION} of {name} takes {needed}"
        held_from = None if state is None else state["held_from"]
        # The history has one start and no gaps, so only a later start leaves out a month.
        leaves_out = self._sql.window.first is None and (held_from is None or first < held_from)
        if state is not None and state["is_there"]:
            begins = "auto" if leaves_out else str(behind)
            return _detached(lacking, table.raw, partition, values, begins)
        is_gone = held_from is not None and leaves_out
        return _not_made(lacking, table.raw, partition, values) + (
            f"; or set RECON_HISTORY_FROM=auto, if what was before {held_from} is gone for good"
            if is_gone
            else ""
        )


def _partition_name(table: str, first: dt.date, behind: dt.date) -> str:
    is_month = first.day == 1 and behind.day == 1
    return f"{table}_{str(first)[: 7 if is_month else 10].replace('-', '_')}"


def _detached(lacking: str, raw: str, partition: str, values: str, begins: str) -> str:
    return (
        f"{lacking}: {partition} is detached. If"
        f" it is to stay so, set RECON_HISTORY_FROM={begins}; otherwise let the owner run:"
        f" ALTER TABLE {raw} ATTACH PARTITION {partition} {values}"
    )


def _not_made(lacking: str, raw: str, partition: str, values: str) -> str:
    return (
        f"{lacking}, and trade-recon could not make one; let the owner run:"
        f" CREATE TABLE {partition} PARTITION OF {raw} {values}"
    )
