"""Upstream's figures for audits, and comparing them."""

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence

from app.domain.contract.tables import Endpoint
from app.domain.ids import AccountId
from app.domain.sequences import pieces, scattered
from app.store.database.errors import OF_ROWS
from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.database.transaction import SWEEP_SECONDS
from app.store.database.window import ALL_DATES, Window
from app.store.detect.account_lists import AccountLists
from app.store.detect.scan_sink import Oddities, ScanSink
from app.store.runs.run_queue import Preparations
from app.store.schema.raw.catalogue import Catalogue
from app.store.schema.raw.columns import FIGURES
from app.store.schema.raw.tables import WarehouseTable
from app.store.schema.state_entries import Entries
from app.store.staging.names.known_logins import KnownLogins
from app.store.staging.staging_sql import NATURAL_KEY, known_as

_FEW = 2
_STRIKES = 8
"""Failures without a success that blame no account."""


class Scans:
    """An audit's record of upstream, and its comparison.

    Writes raise ClaimLost once another worker prepares the run.
    """

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        preparations: Preparations,
        window: Window = ALL_DATES,
    ) -> None:
        self._database = database
        self._preparations = preparations
        self._known_logins = KnownLogins(database)
        sql = database.queries("detect/audit", window)
        self._note_alltime, self._clear = (
            fill(sql["note_alltime"], **_keys(catalogue[Endpoint.ALLTIME])),
            sql["clear_scan"],
        )
        self._note_days, self._clear_days = (
            fill(sql["note_days"], **_keys(catalogue[Endpoint.DAILY])),
            sql["clear_scan_days"],
        )
        self._entries, self._seen, self._unseen = (
            Entries(database),
            sql["seen_accounts"],
            sql["get_unseen_accounts"],
        )
        self._find_drift, self._count = (
            fill(sql["find_drift"], **_figures(catalogue)),
            sql["count_scan"],
        )
        self._note_stale = fill(sql["note_stale_alltime"], **_figures(catalogue))
        self._count_rekeyed = sql["count_rekeyed"]
        self._note_rekeyed = fill(
            sql["note_rekeyed"], **{each.name.lower(): catalogue[each].raw for each in Endpoint}
        )
        self._count_news, self._count_lowered = sql["count_news"], sql["count_lowered"]
        self._drifting, self._clear_drift = sql["get_drifting_accounts"], sql["clear_drift"]
        self._accounts = AccountLists(database, window)
        self._oddities: defaultdict[uuid.UUID, Oddities] = defaultdict(Oddities)

    def alltime_sink(self, run_id: uuid.UUID) -> ScanSink:
        """Receives alltime rows, adding to earlier ones."""
        return ScanSink(
            self._preparations,
            self._known_logins,
            run_id,
            self._note_alltime,
            self._oddities[run_id],
        )

    def days_sink(self, run_id: uuid.UUID) -> ScanSink:
        """Receives daily rows of unsettled dates."""
        return ScanSink(
            self._preparations, self._known_logins, run_id, self._note_days, self._oddities[run_id]
        )

    async def clear(self, run_id: uuid.UUID) -> None:
        """Discard an interrupted preparation."""
        self._oddities.pop(run_id, None)
        async with self._preparations.transaction(run_id) as connection:
            await connection.execute(self._clear, run_id, seconds=SWEEP_SECONDS)
            await connection.execute(self._clear_days, run_id, seconds=SWEEP_SECONDS)
            await connection.execute(self._clear_drift, run_id, None, seconds=SWEEP_SECONDS)

    def take_oddities(self, run_id: uuid.UUID) -> Oddities:
        """Oddities of the run's scans, once."""
        return self._oddities.pop(run_id, Oddities())

    async def count(self, run_id: uuid.UUID) -> int:
        """Number of accounts seen."""
        return int(await self._database.fetch_value(self._count, run_id))

    async def add_seen_accounts(self, run_id: uuid.UUID) -> Mapping[str, str]:
        """Add accounts that upstream shows; returns rejected ones with reasons."""
        async with self._database.transaction(statement_seconds=SWEEP_SECONDS) as connection:
            return (await self._entries.add(connection, self._seen, run_id)).refused

    async def unseen_accounts(
        self, run_id: uuid.UUID, account_ids: Sequence[str] | None
    ) -> list[AccountId]:
        """Stored accounts that upstream did not show."""
        ids = None if account_ids is None else list(account_ids)
        return [
            row["account_id"]
            for row in await self._database.fetch(self._unseen, run_id, ids, seconds=SWEEP_SECONDS)
        ]

    async def count_news(self, account_ids: Sequence[str]) -> int:
        """Unseen accounts not yet reported absent."""
        return int(
            await self._database.fetch_value(
                self._count_news, list(account_ids), seconds=SWEEP_SECONDS
            )
        )

    async def count_lowered(self, run_id: uuid.UUID) -> int:
        """Accounts that upstream lacks or lowered, unless held."""
        return int(
            await self._database.fetch_value(self._count_lowered, run_id, seconds=SWEEP_SECONDS)
        )

    async def find_drift(
        self, run_id: uuid.UUID, moving_from: dt.date, account_ids: Sequence[str] | None
    ) -> tuple[int, dict[str, str]]:
        """Record accounts (None: all) that differ or are absent upstream.

        Excludes figures from `moving_from` on. Returns their number, and accounts that fail to
        compare, with reasons; raises if all fail.
        """
        ids = None if account_ids is None else list(account_ids)
        async with self._preparations.transaction(run_id) as connection:
            await connection.execute(self._clear_drift, run_id, ids, seconds=SWEEP_SECONDS)
        try:
            return await self._compare(run_id, moving_from, ids), {}
        except OF_ROWS:
            ids = await self._accounts.all_accounts() if ids is None else ids
            if len(ids) < _FEW:
                raise
        found, failed = 0, dict[str, str]()
        waiting = list(pieces(scattered(ids), -(-len(ids) // 2)))
        while waiting:
            part = list(waiting.pop())
            came_through = len(ids) - sum(map(len, waiting)) - len(part) > len(failed)
            try:
                found += await self._compare(run_id, moving_from, part)
            except OF_ROWS as error:
                if len(part) > 1:
                    waiting += pieces(part, -(-len(part) // 2))
                    continue
                failed[part[0]] = str(error)
                if not came_through and (len(failed) >= _STRIKES or not waiting):
                    raise
        return found, failed

    async def _compare(self, run_id: uuid.UUID, moving_from: dt.date, ids: list[str] | None) -> int:
        async with self._preparations.transaction(run_id) as connection:
            return await connection.execute(
                self._find_drift, run_id, moving_from, ids, seconds=SWEEP_SECONDS
            )

    async def forget(self, run_id: uuid.UUID, account_ids: Sequence[str]) -> int:
        """Drop records of unanswered accounts; returns their number."""
        if not account_ids:
            return 0
        async with self._preparations.transaction(run_id) as connection:
            return await connection.execute(self._clear_drift, run_id, list(account_ids))

    async def note_stale_alltime(self, run_id: uuid.UUID) -> int:
        """Mark accounts with only alltime stale."""
        async with self._preparations.transaction(run_id) as connection:
            return await connection.execute(self._note_stale, run_id, seconds=SWEEP_SECONDS)

    async def count_rekeyed(self, run_id: uuid.UUID) -> int:
        """Accounts whose natural key changed upstream."""
        return int(
            await self._database.fetch_value(self._count_rekeyed, run_id, seconds=SWEEP_SECONDS)
        )

    async def note_rekeyed(self, run_id: uuid.UUID) -> int:
        """Schedule rekeyed accounts for full reading; returns dates."""
        async with self._preparations.transaction(run_id) as connection:
            return await connection.execute(self._note_rekeyed, run_id, seconds=SWEEP_SECONDS)

    async def drifting_accounts(self, run_id: uuid.UUID) -> list[AccountId]:
        """Differing accounts, without absent ones and stale alltime."""
        return [row["account_id"] for row in await self._database.fetch(self._drifting, run_id)]


def _keys(table: WarehouseTable) -> dict[str, str]:
    """Tokens: account and natural key, spelled as stored."""
    readers = table.raw.split(".")[0]
    there = {column.name: column for column in table.columns}
    parts = {
        part: f"({there[part].converted(part, readers)})::text" if part in there else "NULL::text"
        for part in NATURAL_KEY
    }
    return {
        **parts,
        "known_as": known_as(table, {part: part for part in NATURAL_KEY}, "sent_id", readers),
    }


def _figures(catalogue: Catalogue) -> dict[str, str]:
    """Tokens: compared figures, upstream's and stored."""
    alltime, daily = catalogue[Endpoint.ALLTIME], catalogue[Endpoint.DAILY]
    tokens = {"alltime": alltime.raw, "daily": daily.raw}
    for name in FIGURES:
        short = name.rpartition("_")[2]
        # Both tables, because unsettled dates are subtracted from alltime.
        compared = name in alltime.names and name in daily.names
        tokens[f"compares_{short}"] = "true" if compared else "false"
        tokens[f"stored_{short}"] = name if compared else "NULL"
        for level, table in (("alltime", alltime), ("daily", daily)):
            column = (
                next((each for each in table.columns if each.name == name), None)
                if compared
                else None
            )
            value = (
                "NULL" if column is None else column.capped(f"({column.converted(f's.{name}')})")
            )
            tokens[f"{level}_{short}"] = f"({value})"
    return tokens
