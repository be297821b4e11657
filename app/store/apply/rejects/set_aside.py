"""Sets aside rows that could not be stored as sent."""

import datetime as dt
from collections.abc import Sequence

from app.domain.accounts.set_aside import NarrowRow
from app.store.apply.job import ApplyJob
from app.store.apply.rejects.reasons import NO_PARTITION, TOO_NARROW, WITHHELD
from app.store.apply.results import Applied
from app.store.database.pool import Database
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import Connection, Record
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.table_sql.statements import Statements


class SetAsideRows:
    """Writes recon_set_aside_rows."""

    def __init__(
        self, database: Database, catalogue: Catalogue, window: Window = ALL_DATES
    ) -> None:
        self._database = database
        sql = database.queries("apply/rejects/set_aside", window)
        self._sql = Statements(sql, catalogue, window)

    async def record(self, job: ApplyJob, applied: dict[str, Applied]) -> None:
        """Keep rejected rows, drop those stored since, report both."""
        asked = list(job.proven.account_ids)
        rejected = await self._database.fetch(
            self._sql.of("get_rejected", job.table), job.staged.fetch_id, asked, WITHHELD
        )
        settled = [account_id for account_id in asked if applied[account_id].is_settled]
        dates = None if job.proven.dates is None else list(job.proven.dates)
        async with self._database.transaction(statement_seconds=COMMAND_SECONDS) as connection:
            if rejected:
                await self._keep(connection, job, dates, applied)
            await connection.execute(
                self._sql.of("release_set_aside", job.table), job.table.table.name, settled, dates
            )
        for row in rejected:
            _report(job, row, applied)

    async def _keep(
        self,
        connection: Connection,
        job: ApplyJob,
        dates: Sequence[dt.date] | None,
        applied: dict[str, Applied],
    ) -> None:
        # Rows that other reads of the run brought are already counted.
        for row in await connection.fetch(
            self._sql.of("set_aside_rows", job.table),
            job.staged.fetch_id,
            list(job.proven.account_ids),
            job.table.table.name,
            job.context.run_id,
            NO_PARTITION,
            WITHHELD,
            dates,
        ):
            applied[row["owner"]].set_aside += row["rows"]
            applied[row["owner"]].values_nulled += row["nulled"]


def _report(job: ApplyJob, row: Record, applied: dict[str, Applied]) -> None:
    """Report to the accounts; rows of none to the empty id."""
    table, reason = job.table.table.name, row["refused"]
    owners = [owner for owner in row["owners"] if owner in job.proven.account_ids]
    for account_id in owners or [""]:
        done = applied[account_id]
        if reason is None and not account_id:
            # Such a row is not kept, so its account stays unknown.
            done.values_nulled += row["nulled"]
        if row["nulled"]:
            done.unheld.setdefault(table, set()).update(row["nulled_columns"].split(", "))
        if reason is None:
            continue
        if reason.startswith(TOO_NARROW):
            done.too_narrow += [
                NarrowRow(table, key, reason, job.beside.get(ordinal, {}))
                for ordinal, key in zip(row["ordinals"], row["keys"], strict=True)
            ]
        else:
            done.refused.add(table, reason, row["keys"])
