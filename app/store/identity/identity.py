"""Identity: accounts of natural keys by date, and rows with missing or wrong ids.

Derived from daily rows and alltime. Rows are repaired only if exactly one account fits; other
findings are kept by natural key.
"""

import asyncio
import datetime as dt
from collections.abc import Sequence

from app.domain.accounts.counts import IdentityFinding
from app.domain.contract.tables import Endpoint
from app.domain.ids import AccountId, ClaimId, RunId
from app.store.change_feed import ChangeFeed
from app.store.database.pool import Database
from app.store.database.transaction import Connection
from app.store.database.window import ALL_DATES, Window
from app.store.identity.findings import Findings
from app.store.identity.give_back import GiveBack
from app.store.identity.given_back import GivenBack
from app.store.identity.holders import Holders
from app.store.identity.metrics_repair import MetricsRepairs
from app.store.identity.natural_keys import NaturalKeys
from app.store.identity.repair import IdRepair, Repaired
from app.store.schema.raw.catalogue import Catalogue
from app.store.write_pace import WritePace


class Identity:
    """Derives holders, finds wrong ids and repairs them.

    Rows before the window still prove who held a key, but keep their ids.
    """

    def __init__(
        self,
        database: Database,
        tables: Catalogue,
        feed: ChangeFeed,
        pace: WritePace,
        window: Window = ALL_DATES,
    ) -> None:
        self._database = database
        self._stand_ins_sql = database.queries("identity/identity")["get_stand_ins"]
        self._holders = Holders(database, tables, window)
        self._findings = Findings(database, tables, window)
        metrics = MetricsRepairs(database, tables, window)
        self._repair = IdRepair(database, tables, feed, pace, metrics, window)
        self._give_back = GiveBack(database, feed, metrics)

    async def refresh(self, account_ids: Sequence[str], today: dt.date) -> NaturalKeys:
        """Rebuild accounts' natural keys; returns keys to judge again."""
        return await self._holders.refresh(account_ids, today)

    async def find(self, keys: NaturalKeys, account_ids: Sequence[str], today: dt.date) -> None:
        """Find rows of keys with missing or wrong ids.

        Covers rows of `account_ids`, placeholders, no account, and earlier findings.
        """
        async with self._database.transaction() as connection:
            known = await self._findings.clear(connection, keys)
            # In a thread: sorting the ids of thousands of accounts would block the event loop.
            named = await asyncio.to_thread(lambda: sorted({*known, *keys.placeholders()}))
            holders = await asyncio.to_thread(lambda: sorted({*named, *account_ids}))
            stand_ins = await self._stand_ins(connection, named)
            await self._findings.find(connection, keys, holders, stand_ins, today)

    async def derive(self, connection: Connection, today: dt.date) -> list[str]:
        """Refresh and find everywhere, from a sweep; returns placeholders in metrics tables."""
        await self._holders.derive(connection, today)
        placeholders = await self._holders.placeholders(connection)
        await self._findings.find_all(connection, placeholders, today)
        return placeholders

    async def repair(
        self, keys: NaturalKeys, today: dt.date, run_id: RunId | None = None
    ) -> Repaired:
        """Assign rows of keys that exactly one account fits."""
        named = await asyncio.to_thread(keys.placeholders)
        stand_ins = await self._stand_ins(self._database, named)
        return await self._repair.repair(keys, stand_ins, today, run_id)

    async def repair_all(
        self, placeholders: Sequence[str], today: dt.date, run_id: RunId | None = None
    ) -> Repaired:
        """Assign rows of all keys that exactly one account fits."""
        return await self._repair.repair(None, placeholders, today, run_id)

    async def give_back(
        self,
        endpoint: Endpoint,
        unsent: Sequence[tuple[str, dt.date]],
        run_id: RunId,
        claim_id: ClaimId,
        lease_seconds: float,
    ) -> list[GivenBack]:
        """See `GiveBack`."""
        return await self._give_back.give_back(endpoint, unsent, run_id, claim_id, lease_seconds)

    async def unresolved(
        self, limit: int, connection: Connection | None = None
    ) -> tuple[list[IdentityFinding], int, int]:
        """See `Findings.unresolved`."""
        return await self._findings.unresolved(limit, connection)

    async def affected_accounts(self, codes: Sequence[str]) -> list[AccountId]:
        """See `Findings.affected_accounts`."""
        return await self._findings.affected_accounts(codes)

    async def _stand_ins(self, reader: Database | Connection, named: Sequence[str]) -> list[str]:
        """Ids that may stand for unknown accounts."""
        rows = await reader.fetch(self._stand_ins_sql, list(named))
        return [row["account_id"] for row in rows]
