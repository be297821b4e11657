"""Rows of upstream that the warehouse cannot hold: found before the write where that is known, and
kept with the reason after it.
"""

import contextlib
import datetime as dt
from collections import defaultdict
from collections.abc import Sequence

from app.errors import DatabaseError, RowRefused, StatementTooSlow, WriteConflict
from app.store.apply.model import Applied, Job
from app.store.apply.statements import Statements
from app.store.apply.violations import REFUSED, TOO_NARROW
from app.store.database.pool import Database
from app.store.database.queries import quote
from app.store.database.session import COMMAND_SECONDS
from app.store.identity.identity import first_trade
from app.store.schema.raw_tables import Catalogue, WarehouseTable
from app.store.staging.staging import StagedFetch
from app.store.staging.unsent import is_sent
from app.telemetry import get_logger

BOTH_SENT = f"{TOO_NARROW}: upstream sends"
"""Upstream sends both rows of which the table can hold one: no stored row stands for the other."""
WITHHELD = "withheld until its date is settled"
"""The reason of rows that would remove or lower something on dates that still move: they are
written once these are settled.
"""
_DOUBLED = f"{BOTH_SENT} several rows with this key"
_OUTSIDE = "outside of the partitions"
_NO_PARTITION = "no partition"
_PARTITION_SECONDS = 15.0
_log = get_logger(__name__)


class Rejects:
    """Marks rows in staging that have no place in the table, and keeps what was refused."""

    def __init__(self, database: Database, catalogue: Catalogue, sql: Statements) -> None:
        """`sql` are the statements of db/queries/changes.sql."""
        self._database = database
        self._catalogue = catalogue
        self._sql = sql
        self._note_missing = database.queries("runs")["note_missing_partitions"]

    async def find_doubled(self, job: Job) -> None:
        """Refuse rows of upstream that share a key of the table: it cannot hold them side by
        side.
        """
        if job.staged.is_distinct:
            return
        await self._database.execute(
            self._sql.of("refuse_doubled_rows", job.table), job.staged.fetch_id, _DOUBLED
        )

    async def find_pinned(self, staged: StagedFetch, of: WarehouseTable) -> None:
        """Refuse rows of upstream that meet pinned rows; a pin is taken off where upstream says
        what is stored.
        """
        table = of.table.name
        if await self._database.fetch_value(self._sql["has_pins"], table):
            equal = self._sql.of("release_equal_pins", of, has_unsent=staged.has_unsent)
            await self._database.execute(equal, staged.fetch_id, table)
            await self._database.execute(self._sql.of("refuse_pinned", of), staged.fetch_id, table)

    async def find_unfit(self, job: Job) -> int:
        """Refuse rows that a CHECK or NOT NULL of the table would refuse: all at once, instead of
        one by one at the write; their number.
        """
        refused = 0
        for check in job.table.checks:
            are_sent = (
                is_sent(job.table, check.columns or (), "") if job.staged.has_unsent else "true"
            )
            statement = self._sql.of(
                "refuse_unfit_rows", job.table, condition=check.condition, are_sent=are_sent
            )
            reason = f"{REFUSED}: {check.name} ({check.condition})"
            # A condition that fails on some value says nothing of the others: then the write tells.
            with contextlib.suppress(RowRefused, DatabaseError):
                refused += await self._database.execute(statement, job.staged.fetch_id, reason)
        return refused

    async def mark(self, job: Job, found: Sequence[tuple[int, str]]) -> None:
        """Note which rows the table refused in a write that was undone."""
        by_reason: dict[str, list[int]] = defaultdict(list)
        for ordinal, reason in found:
            by_reason[reason].append(ordinal)
        for reason, ordinals in by_reason.items():
            await self._database.execute(
                self._sql.of("refuse_rows", job.table), job.staged.fetch_id, ordinals, reason
            )

    async def find_partitions(self, job: Job, refused: int) -> None:
        """Make the partitions that the rows need, where we may; rows that have none are refused
        with what would make it.

        `refused` rows of the fetch need none: their dates may be anything.
        """
        table = job.table
        if not table.is_partitioned:
            return
        if job.staged.is_distinct and not refused:
            days = sorted(job.staged.days)
        else:
            staged = await self._database.fetch(
                self._sql.of("get_staged_days", table), job.staged.fetch_id
            )
            days = [row["day"] for row in staged]
        gaps = await self._gaps(table, days)
        if gaps:
            await self._refuse_outside(job, gaps)
        if gaps:
            missing = [day for days in gaps.values() for day in days]
            try:
                async with self._database.transaction(
                    statement_seconds=_PARTITION_SECONDS
                ) as connection:
                    await connection.execute(
                        self._sql["create_partitions"], table.table.name, missing
                    )
            except WriteConflict as error:
                _log.warning(
                    "The table is locked; its partitions are made next time.",
                    action="partitions.locked",
                    reason=str(error),
                )
            except (RowRefused, StatementTooSlow, DatabaseError) as error:
                # A trigger on DDL may say anything: it says nothing of these rows' accounts.
                _log.warning(
                    "Partitions could not be made; their rows wait.",
                    action="partitions.refused",
                    reason=str(error),
                )
            gaps = await self._gaps(table, missing)
        for gap, days in gaps.items():
            statement = self._sql.of("refuse_days", table)
            await self._database.execute(
                statement, job.staged.fetch_id, days, await self._partition_wanted(table, gap, days)
            )
            await self._database.execute(
                self._note_missing, job.writer.run_id, f"{table.table.name} {gap[0]:%Y-%m}"
            )

    async def _refuse_outside(
        self, job: Job, gaps: dict[tuple[dt.date, dt.date], list[dt.date]]
    ) -> None:
        """Refuse rows of years that the warehouse does not have; what is left in `gaps` may get a
        partition.

        A year before and one after those of its partitions are let in, and all since the first
        trade that alltime tells: one odd date must not make a partition that nobody else needs.
        """
        table = job.table
        row = await self._database.fetch_row(self._sql["get_partition_years"], table.table.name)
        if row is None or row["first_year"] is None:
            return
        first, last = row["first_year"] - 1, row["last_year"] + 1
        if any(day.year < first for days in gaps.values() for day in days):
            statement = self._sql.of(
                "get_first_trade_year", table, first_trade=first_trade(self._catalogue)
            )
            first = min(first, await self._database.fetch_value(statement) or first)
        for gap, days in list(gaps.items()):
            outside = [day for day in days if not first <= day.year <= last]
            if not outside:
                continue
            reason = (
                f"{_OUTSIDE}: {table.table.name} has the years {first + 1} to {last - 1}; if the"
                " date is meant, make a partition for it"
            )
            await self._database.execute(
                self._sql.of("refuse_days", table), job.staged.fetch_id, outside, reason
            )
            gaps[gap] = [day for day in days if day not in outside]
            if not gaps[gap]:
                del gaps[gap]

    async def _gaps(
        self, table: WarehouseTable, days: Sequence[dt.date]
    ) -> dict[tuple[dt.date, dt.date], list[dt.date]]:
        """The days that no partition takes, by the stretch (the end excluded) that one could
        take.
        """
        gaps: dict[tuple[dt.date, dt.date], list[dt.date]] = defaultdict(list)
        for row in await self._database.fetch(
            self._sql["get_partition_gaps"], table.table.name, list(days)
        ):
            gaps[row["gap_from"], row["gap_to"]].append(row["day"])
        return gaps

    async def _partition_wanted(
        self, table: WarehouseTable, gap: tuple[dt.date, dt.date], days: Sequence[dt.date]
    ) -> str:
        """Which partition is missing, and how to make it, or what is to be set where it is gone for
        good.
        """
        first, behind = gap
        is_month = first.day == 1 and behind.day == 1
        name = (
            f"{table.table.name}_{str(first)[:7].replace('-', '_')}"
            if is_month
            else f"{table.table.name}_{str(first).replace('-', '_')}"
        )
        schema = table.raw.split(".")[0]
        partition, values = (
            f"{schema}.{quote(name)}",
            f"FOR VALUES FROM ('{first}') TO ('{behind}')",
        )
        state = await self._database.fetch_row(
            self._sql["get_partition_state"], partition, [table.table.name]
        )
        needed = " to ".join(str(day) for day in sorted({days[0], days[-1]}))
        held_from = None if state is None else state["held_from"]
        # What is kept has one beginning and no gaps: a month behind it is only left out by a later
        # one.
        leaves_out = self._sql.window.first is None and (held_from is None or first < held_from)
        if state is not None and state["is_there"]:
            begins = "auto" if leaves_out else str(behind)
            return (
                f"{_NO_PARTITION} of {table.table.name} takes {needed}: {partition} is detached. If"
                f" it is to stay so, set RECON_HISTORY_FROM={begins}; otherwise let the owner run:"
                f" ALTER TABLE {table.raw} ATTACH PARTITION {partition} {values}"
            )
        told = (
            f"{_NO_PARTITION} of {table.table.name} takes {needed}, and trade-recon could not make"
            " one; let the owner run:"
        )
        told += f" CREATE TABLE {partition} PARTITION OF {table.raw} {values}"
        if held_from is not None and leaves_out:
            told += (
                f"; or set RECON_HISTORY_FROM=auto, if what was before {held_from} is gone for good"
            )
        return told

    async def record(self, job: Job, applied: dict[str, Applied]) -> None:
        """Keep the rows of a fetch that could not be held as they were sent, and tell their
        accounts why.
        """
        table, asked = job.table.table.name, list(job.proven.account_ids)
        rows = await self._database.fetch(
            self._sql.of("get_refused", job.table), job.staged.fetch_id, asked, WITHHELD
        )
        done_with = [account_id for account_id in asked if applied[account_id].is_settled]
        dates = None if job.proven.dates is None else list(job.proven.dates)
        async with self._database.transaction(statement_seconds=COMMAND_SECONDS) as connection:
            if rows:
                values = (
                    job.staged.fetch_id,
                    asked,
                    table,
                    job.writer.run_id,
                    _NO_PARTITION,
                    WITHHELD,
                    dates,
                )
                # Other reads of the run may have brought the same rows: what they brought is
                # counted already.
                for row in await connection.fetch(
                    self._sql.of("set_aside_rows", job.table), *values
                ):
                    applied[row["owner"]].set_aside += row["rows"]
                    applied[row["owner"]].values_nulled += row["nulled"]
            await connection.execute(
                self._sql.of("take_off_set_aside", job.table), table, done_with, dates
            )
        for row in rows:
            reason, keys = row["refused"], row["keys"]
            for account_id in [
                owner for owner in row["owners"] if owner in job.proven.account_ids
            ] or [""]:
                done = applied[account_id]
                if reason is None and not account_id:
                    # Nothing is kept of such a row, by which it could be known again.
                    done.values_nulled += row["nulled"]
                if row["nulled"]:
                    done.unheld.setdefault(table, set()).update(row["nulled_columns"].split(", "))
                if reason is None:
                    continue
                if reason.startswith(TOO_NARROW):
                    done.too_narrow += [
                        {
                            "table": table,
                            "key": key,
                            "reason": reason,
                            **job.beside.get(ordinal, {}),
                        }
                        for ordinal, key in zip(row["ordinals"], keys, strict=True)
                    ]
                else:
                    done.refused.add(table, reason, keys)
