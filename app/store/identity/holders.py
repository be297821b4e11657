"""Holders of natural keys by date, from daily rows; present ones from alltime."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from app.domain.contract.tables import Endpoint
from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.database.transaction import SWEEP_SECONDS, Connection
from app.store.database.window import ALL_DATES, Window
from app.store.identity.natural_keys import NaturalKeys, first_trade
from app.store.identity.reach import ACCOUNT_RANK, EVERYWHERE, SOMEWHERE, ReachSql
from app.store.schema.raw.catalogue import Catalogue
from app.store.table_sql.statements import values_of


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldSql:
    """Parts of refresh_identity."""

    held: str
    """The query of holders, present and past."""
    replaced: str
    """A CTE of placeholders whose key another account got; empty for a sweep."""
    and_replaced: str
    """Adds the rows of that CTE."""

    @classmethod
    def of(cls, sql: Mapping[str, str], first_trade: str, reach: ReachSql, window: Window) -> Self:
        """The parts for one reach and window."""
        before = "" if window.first is None else "\n" + fill(sql["held_before"], **values_of(reach))
        held = sql["held_as_swept" if reach is EVERYWHERE else "held_by_accounts"]
        # A sweep knows all holders, without placeholders whose key another account has.
        is_known = reach is EVERYWHERE
        return cls(
            held=fill(held, first_trade=first_trade, rank=ACCOUNT_RANK, held_before=before),
            replaced="" if is_known else f"replaced AS (\n{sql['replaced_placeholders']}\n), ",
            and_replaced="" if is_known else " UNION ALL SELECT * FROM replaced",
        )


class Holders:
    """Maintains recon_identity."""

    def __init__(
        self, database: Database, catalogue: Catalogue, window: Window = ALL_DATES
    ) -> None:
        self._database = database
        sql = database.queries("identity/holders", window)
        trade = first_trade(catalogue[Endpoint.ALLTIME])
        self._create = (
            fill(sql["create_swept_placeholders"], rank=ACCOUNT_RANK),
            sql["forget_upstream_holders"],
            sql["create_swept_keys"],
        )
        self._placeholders = sql["get_placeholders"]
        self._natural_keys = sql["get_natural_keys"]
        self._refresh, self._foreign, self._validity = (
            {
                reach: fill(
                    sql[name],
                    **values_of(reach, HeldSql.of(sql, trade, reach, window)),
                )
                for reach in (EVERYWHERE, SOMEWHERE)
            }
            for name in ("refresh_identity", "refresh_foreign_metrics", "refresh_validity")
        )

    async def refresh(self, account_ids: Sequence[str], today: dt.date) -> NaturalKeys:
        """Rebuild accounts' natural keys; returns keys to judge again."""
        changed = await self._database.fetch(self._refresh[SOMEWHERE], list(account_ids))
        held = await self._database.fetch(self._natural_keys, list(account_ids))
        keys = NaturalKeys.of({tuple(row) for row in (*changed, *held)})
        alien = await self._database.fetch(self._foreign[SOMEWHERE], *keys.arrays)
        moved = NaturalKeys.of({tuple(row) for row in (*changed, *alien)})
        await self._database.execute(self._validity[SOMEWHERE], *moved.arrays, today)
        return keys

    async def derive(self, connection: Connection, today: dt.date) -> None:
        """Rebuild all, from a sweep."""
        for statement in (*self._create, self._refresh[EVERYWHERE], self._foreign[EVERYWHERE]):
            await connection.execute(statement, seconds=SWEEP_SECONDS)
        await connection.execute(self._validity[EVERYWHERE], today, seconds=SWEEP_SECONDS)

    async def placeholders(self, connection: Connection) -> list[str]:
        """Placeholders of unknown accounts in swept metrics."""
        rows = await connection.fetch(self._placeholders, seconds=SWEEP_SECONDS)
        return [row["account_id"] for row in rows]
