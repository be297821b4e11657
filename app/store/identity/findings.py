"""Finds rows with missing or wrong account ids."""

import datetime as dt
from collections.abc import Sequence

from app.domain.accounts.counts import IdentityFinding
from app.domain.contract.tables import Table
from app.domain.ids import AccountId
from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.database.transaction import SWEEP_SECONDS, Connection
from app.store.database.window import ALL_DATES, Window
from app.store.identity.natural_keys import NaturalKeys
from app.store.identity.reach import EVERYWHERE, SOMEWHERE, ReachSql
from app.store.identity.tables import ALLTIME, DAILY, METRICS, TRADES, tokens_of
from app.store.schema.raw.catalogue import Catalogue
from app.store.table_sql.statements import values_of


class Findings:
    """Maintains recon_identity_findings."""

    def __init__(
        self, database: Database, catalogue: Catalogue, window: Window = ALL_DATES
    ) -> None:
        self._database = database
        sql = database.queries("identity/findings")

        def composed(name: str, reach: ReachSql, table: Table | None = None) -> str:
            tokens = values_of(reach)
            if table is not None:
                tokens |= tokens_of(catalogue, table, window)
            groups = sql["groups_as_swept" if reach is EVERYWHERE else "groups_of_holders"]
            return fill(
                sql[name], **tokens, groups=fill(groups, **tokens) if table in TRADES else ""
            )

        def each(name: str, tables: Sequence[Table]) -> dict[tuple[ReachSql, Table], str]:
            return {
                (reach, table): composed(name, reach, table)
                for reach in (EVERYWHERE, SOMEWHERE)
                for table in tables
            }

        self._clear, self._shared, self._alien = (
            {reach: composed(name, reach) for reach in (EVERYWHERE, SOMEWHERE)}
            for name in ("clear_findings", "find_shared_keys", "find_foreign_metrics")
        )
        self._null = each("find_null_ids", TRADES)
        self._foreign = each("find_foreign_ids", TRADES)
        self._metrics = each("find_placeholder_metrics", METRICS)
        self._summary, self._count = sql["get_findings_summary"], sql["count_findings"]
        self._affected = sql["get_affected_accounts"]

    async def clear(self, connection: Connection, keys: NaturalKeys) -> set[str]:
        """Delete findings of keys; returns their rows' ids."""
        statement = self._clear[SOMEWHERE] + " RETURNING holder"
        rows = await connection.fetch(statement, *keys.arrays)
        return {row["holder"] for row in rows if row["holder"]}

    async def find(
        self,
        connection: Connection,
        keys: NaturalKeys,
        holders: Sequence[str],
        stand_ins: Sequence[str],
        today: dt.date,
    ) -> None:
        """Find rows of keys under `holders` or none, and metrics under `stand_ins`."""
        arrays = keys.arrays
        await connection.execute(self._shared[SOMEWHERE], ALLTIME.name, *arrays)
        await connection.execute(self._alien[SOMEWHERE], DAILY.name, ALLTIME.name, *arrays)
        for table in TRADES:
            await connection.execute(self._null[SOMEWHERE, table], table.name, *arrays)
            await connection.execute(
                self._foreign[SOMEWHERE, table], table.name, *arrays, list(holders)
            )
        for table in METRICS:
            await connection.execute(
                self._metrics[SOMEWHERE, table], table.name, *arrays, list(stand_ins), today
            )

    async def find_all(
        self, connection: Connection, placeholders: Sequence[str], today: dt.date
    ) -> None:
        """Find everywhere, from a sweep."""
        await connection.execute(self._clear[EVERYWHERE])
        await connection.execute(self._shared[EVERYWHERE], ALLTIME.name, seconds=SWEEP_SECONDS)
        await connection.execute(
            self._alien[EVERYWHERE], DAILY.name, ALLTIME.name, seconds=SWEEP_SECONDS
        )
        for table in TRADES:
            for found in (self._null, self._foreign):
                await connection.execute(
                    found[EVERYWHERE, table], table.name, seconds=SWEEP_SECONDS
                )
        for table in METRICS if placeholders else ():
            await connection.execute(
                self._metrics[EVERYWHERE, table],
                table.name,
                list(placeholders),
                today,
                seconds=SWEEP_SECONDS,
            )

    async def unresolved(
        self, limit: int, connection: Connection | None = None
    ) -> tuple[list[IdentityFinding], int, int]:
        """Largest natural keys without a unique account, and numbers of unmatched and ambiguous."""
        reader = connection or self._database
        rows = await reader.fetch(self._summary, limit)
        counts = await reader.fetch_row(self._count)
        findings = [
            IdentityFinding(
                row["table_name"],
                row["login"],
                row["platform"],
                row["broker"],
                row["holder"],
                tuple(row["candidates"]),
                row["rows"],
                (),
            )
            for row in rows
        ]
        return findings, counts["unmatched"] if counts else 0, counts["ambiguous"] if counts else 0

    async def affected_accounts(self, codes: Sequence[str]) -> list[AccountId]:
        """Accounts with findings or open issues of these codes."""
        rows = await self._database.fetch(self._affected, list(codes), seconds=SWEEP_SECONDS)
        return [row["account_id"] for row in rows]
