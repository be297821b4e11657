"""Lists of accounts by state."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.ids import AccountId, Login
from app.store.database.pool import Database
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import SWEEP_SECONDS, Connection, Record
from app.store.database.window import ALL_DATES, Window
from app.store.schema.state_entries import Entries


@dataclass(frozen=True, slots=True)
class WellAccount:
    """An agreeing account, with its last and quietest dates."""

    account_id: AccountId
    logins: tuple[Login, ...]
    day: dt.date
    quietest: dt.date


class AccountLists:
    """Finds and adds accounts."""

    def __init__(self, database: Database, window: Window = ALL_DATES) -> None:
        self._database = database
        self._entries = Entries(database)
        sql = database.queries("detect/account_lists", window)
        self._known, self._unknown = sql["get_known_accounts"], sql["get_unknown_accounts"]
        self._all = sql["get_all_accounts"]
        self._well, self._traded_days = sql["get_well_accounts"], sql["get_traded_days"]
        self._logins = sql["get_logins"]
        self._logins_of_placeholders = sql["get_logins_of_placeholders"]
        self._locked_accounts, self._refuted = (
            sql["get_locked_accounts"],
            sql["get_refuted_accounts"],
        )
        self._sample, self._sample_mismatched = sql["sample_accounts"], sql["sample_mismatched"]
        self._ask_again = sql["ask_again"]

    async def logins(self, connection: Connection, account_ids: Sequence[str]) -> dict[str, Record]:
        """Logins to request accounts by."""
        return {
            row["account_id"]: row
            for row in await connection.fetch(self._logins, list(account_ids))
        }

    async def add_accounts(self, account_ids: Sequence[str]) -> Mapping[str, str]:
        """Add upstream's accounts; returns rejected ones with reasons."""
        async with self._database.transaction(statement_seconds=COMMAND_SECONDS) as connection:
            return (
                await self._entries.add(
                    connection, "SELECT unnest($1::text[]) AS account_id", list(account_ids)
                )
            ).refused

    async def locked_accounts(self, account_ids: Sequence[str]) -> list[str]:
        """Accounts whose trade_recon rows are locked."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._locked_accounts, list(account_ids))
        ]

    async def logins_of_placeholders(
        self, account_ids: Sequence[str]
    ) -> dict[AccountId, tuple[Login, ...]]:
        """Logins of accounts known by login alone."""
        rows = await self._database.fetch(
            self._logins_of_placeholders, list(account_ids), seconds=SWEEP_SECONDS
        )
        return {row["account_id"]: tuple(row["logins"]) for row in rows}

    async def known_accounts(self, account_ids: Sequence[str]) -> list[AccountId]:
        """Ids present in trade_recon."""
        return [
            row["account_id"] for row in await self._database.fetch(self._known, list(account_ids))
        ]

    async def ask_again(
        self, account_ids: Sequence[str], days: Sequence[tuple[str, dt.date]]
    ) -> None:
        """Schedule accounts, and finer tables of `days`, for upstream."""
        await self._database.execute(
            self._ask_again, list(account_ids), [day[0] for day in days], [day[1] for day in days]
        )

    async def refuted_accounts(self, codes: Sequence[str]) -> list[AccountId]:
        """Backing-off accounts with count issues whose tables agree."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._refuted, list(codes), seconds=SWEEP_SECONDS)
        ]

    async def sample(self, most: int) -> list[str]:
        """Accounts of the warehouse, spread evenly."""
        rows = await self._database.fetch(self._sample, most, seconds=SWEEP_SECONDS)
        return [row["account_id"] for row in rows]

    async def sample_mismatched(self, most: int) -> tuple[int, list[str]]:
        """How many accounts a run takes, and some of them, spread evenly."""
        row = await self._database.fetch_row(self._sample_mismatched, most, seconds=SWEEP_SECONDS)
        return (0, []) if row is None else (int(row["accounts"]), list(row["sample"]))

    async def all_accounts(self) -> list[str]:
        """All known accounts."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._all, seconds=SWEEP_SECONDS)
        ]

    async def well_accounts(self, beside: Sequence[str]) -> list[WellAccount]:
        """Up to two accounts that agree, outside `beside`."""
        well = [
            row["account_id"]
            for row in await self._database.fetch(self._well, list(beside), seconds=SWEEP_SECONDS)
        ]
        if not well:
            return []
        logins = {
            row["account_id"]: tuple(row["logins"])
            for row in await self._database.fetch(self._logins, well)
        }
        days = await self._database.fetch(self._traded_days, well)
        return [
            WellAccount(
                row["account_id"], logins.get(row["account_id"], ()), row["last"], row["quietest"]
            )
            for row in days
        ]

    async def last_days(self, account_ids: Sequence[str]) -> dict[str, dt.date]:
        """Last trading dates of known accounts."""
        return {
            row["account_id"]: row["last"]
            for row in await self._database.fetch(self._traded_days, list(account_ids))
        }

    async def unknown_accounts(self, account_ids: Sequence[str]) -> list[AccountId]:
        """Ids without account."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._unknown, list(account_ids))
        ]
