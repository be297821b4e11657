"""Figures that holds show."""

from collections.abc import Mapping, Sequence

from app.domain.holds.account_holds import Sent
from app.domain.holds.run_guard import RunGuard
from app.store.apply.job import Part
from app.store.apply.limits.verdict import Verdict
from app.store.apply.results import Applied
from app.store.database.pool import Database
from app.store.database.transaction import Connection
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.table_sql.statements import Statements


class HoldFigureReader:
    """Counts inside the writing transaction."""

    def __init__(
        self, database: Database, catalogue: Catalogue, window: Window = ALL_DATES
    ) -> None:
        sql = database.queries("apply/limits/figures", window)
        self._sql = Statements(sql, catalogue, window)

    async def count_sent(
        self, connection: Connection, verdict: Verdict, account_ids: Sequence[str]
    ) -> None:
        """Count rows that upstream sent."""
        if account_ids:
            fetch_id = verdict.job.staged.fetch_id
            for row in await connection.fetch(
                self._sql.of("count_sent", verdict.job.table), fetch_id, list(account_ids)
            ):
                verdict.sent[row["account_id"]] = Sent(row["rows"], row["trades"], verdict.on)

    async def count_left(
        self, connection: Connection, part: Part, verdict: Verdict, account_ids: Sequence[str]
    ) -> None:
        """Count stored trades after the write."""
        if not account_ids:
            return
        job = verdict.job
        for row in await connection.fetch(
            self._sql.of("count_trades", job.table), list(account_ids)
        ):
            account_id, left = row["account_id"], row["trades"]
            falls_to = verdict.changed[account_id].falls_to
            left = left if falls_to is None else min(left, falls_to)
            if part.dates is not None:
                # For an account in several parts the whole fetch determines the result.
                outside = (
                    verdict.standing(account_id).totals.closed
                    - job.before.slices.get(account_id, (0, 0))[0]
                )
                left = min(left, max(0, outside) + (job.staged.accounts or {}).get(account_id, 0))
            verdict.left[account_id] = left

    async def find_rewritten(
        self,
        connection: Connection,
        guard: RunGuard,
        applied: Mapping[str, Applied],
        verdict: Verdict,
        many: Mapping[str, int],
    ) -> dict[str, int]:
        """Rows stored before rewriting, of accounts exceeding the limit."""
        found: dict[str, int] = {}
        if not many:
            return found
        statement = self._sql.of("count_rows", verdict.job.table)
        for row in await connection.fetch(statement, list(many)):
            account_id = row["account_id"]
            done, before = verdict.changed[account_id], applied[account_id]
            taken = done.removed + before.removed + verdict.standing(account_id).earlier.removed
            stored = row["rows"] + taken - done.inserted
            if guard.limits.is_too_much(many[account_id], stored):
                found[account_id] = stored
        return found
