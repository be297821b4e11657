"""Lists of accounts, by what is known of them."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.store.database.pool import Database
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import SWEEP_SECONDS, Connection, Record
from app.store.database.window import ALL_DATES, Window
from app.store.schema.state_entries import Entries


@dataclass(frozen=True, slots=True)
class WellAccount:
    """An account that agrees, its last date with trades, and the date with the fewest."""

    account_id: str
    logins: tuple[str, ...]
    day: dt.date
    quietest: dt.date


class AccountLists:
    """Finds accounts by state, and makes accounts known."""

    def __init__(self, database: Database, window: Window = ALL_DATES) -> None:
        """Read the statements; a missing one fails here. Only the dates of the window are seen."""
        self._database = database
        self._entries = Entries(database)
        sql = database.queries("detect/account_lists", window)
        self._known, self._unknown = sql["get_known_accounts"], sql["get_unknown_accounts"]
        self._all, self._mismatched = sql["get_all_accounts"], sql["get_mismatched_accounts"]
        self._well, self._traded_days = sql["get_well_accounts"], sql["get_traded_days"]
        self._logins = sql["get_logins"]
        self._logins_of_placeholders = sql["get_logins_of_placeholders"]
        self._locked_accounts, self._refuted = (
            sql["get_locked_accounts"],
            sql["get_refuted_accounts"],
        )
        self._ask_again = sql["ask_again"]

    async def logins(self, connection: Connection, account_ids: Sequence[str]) -> dict[str, Record]:
        """The logins under which upstream is asked for accounts (`logins`, `by_login`)."""
        return {
            row["account_id"]: row
            for row in await connection.fetch(self._logins, list(account_ids))
        }

    async def add_accounts(self, account_ids: Sequence[str]) -> Mapping[str, str]:
        """Add accounts that only upstream has; those that trade_recon refuses, with reasons."""
        async with self._database.transaction(statement_seconds=COMMAND_SECONDS) as connection:
            return (
                await self._entries.add(
                    connection, "SELECT unnest($1::text[]) AS account_id", list(account_ids)
                )
            ).refused

    async def locked_accounts(self, account_ids: Sequence[str]) -> list[str]:
        """Those of the accounts whose rows in trade_recon somebody holds now."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._locked_accounts, list(account_ids))
        ]

    async def logins_of_placeholders(
        self, account_ids: Sequence[str]
    ) -> dict[str, tuple[str, ...]]:
        """Logins of the accounts that upstream knows by login alone."""
        rows = await self._database.fetch(
            self._logins_of_placeholders, list(account_ids), seconds=SWEEP_SECONDS
        )
        return {row["account_id"]: tuple(row["logins"]) for row in rows}

    async def known_accounts(self, account_ids: Sequence[str]) -> list[str]:
        """Those of the ids that trade_recon knows."""
        return [
            row["account_id"] for row in await self._database.fetch(self._known, list(account_ids))
        ]

    async def ask_again(
        self, account_ids: Sequence[str], days: Sequence[tuple[str, dt.date]]
    ) -> None:
        """Let the next run ask upstream about the accounts, and the finer tables of `days`."""
        await self._database.execute(
            self._ask_again, list(account_ids), [day[0] for day in days], [day[1] for day in days]
        )

    async def refuted_accounts(self, codes: Sequence[str]) -> list[str]:
        """Accounts that back off with open count issues, though their tables agree by now."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._refuted, list(codes), seconds=SWEEP_SECONDS)
        ]

    async def all_accounts(self) -> list[str]:
        """All accounts that are known."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._all, seconds=SWEEP_SECONDS)
        ]

    async def mismatched_accounts(self) -> list[str]:
        """Accounts whose tables disagree, or that have open issues."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._mismatched, seconds=SWEEP_SECONDS)
        ]

    async def well_accounts(self, beside: Sequence[str]) -> list[WellAccount]:
        """At most two accounts that agree and are not in `beside`."""
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
        """The last date with trades of each account; unknown ones are left out."""
        return {
            row["account_id"]: row["last"]
            for row in await self._database.fetch(self._traded_days, list(account_ids))
        }

    async def unknown_accounts(self, account_ids: Sequence[str]) -> list[str]:
        """Those of the ids that no account has."""
        return [
            row["account_id"]
            for row in await self._database.fetch(self._unknown, list(account_ids))
        ]
