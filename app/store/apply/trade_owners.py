"""Resolves staged trades to accounts."""

from collections.abc import Mapping, Sequence

from app.domain.ids import AccountId, Login
from app.domain.wording.counts import choose, counted
from app.store.apply.parts import Parts
from app.store.database.pool import Database
from app.store.database.session import COMMAND_SECONDS
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.staging.staged_fetch import ANALYZED_ROWS, StagedFetch
from app.store.table_sql.statements import Statements


class TradeOwners:
    """Finds the single holder of a natural key at a date."""

    def __init__(
        self, database: Database, catalogue: Catalogue, parts: Parts, window: Window = ALL_DATES
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._parts = parts
        self._sql = Statements(database.queries("apply/trade_owners", window), catalogue, window)

    async def resolve(
        self, staged: StagedFetch, logins: Mapping[AccountId, Sequence[Login]]
    ) -> dict[AccountId, str]:
        """Assign unambiguous trades to accounts.

        Returns a sentence for accounts whose `logins` sent trades with unknown natural keys.
        """
        table = self._catalogue[staged.endpoint]
        given = await self._database.fetch(
            self._sql.of("resolve_staged_trades", table), staged.fetch_id, seconds=COMMAND_SECONDS
        )
        # A repeated statement only returns accounts that changed.
        staged.accounts = (
            {row["account_id"]: row["rows"] for row in given}
            if staged.accounts is None
            else await self._parts.count(staged)
        )
        if staged.rows >= ANALYZED_ROWS:
            # The statistics are from before any trade had an account.
            await self._database.execute(f"ANALYZE {table.stage} (account_id)")
        return await self._unknown_keys(staged, logins)

    async def _unknown_keys(
        self, staged: StagedFetch, logins: Mapping[AccountId, Sequence[Login]]
    ) -> dict[AccountId, str]:
        pairs = [(account_id, login) for account_id, held in logins.items() for login in held]
        rows = await self._database.fetch(
            self._sql.of("get_unknown_keys", self._catalogue[staged.endpoint]),
            staged.fetch_id,
            [pair[0] for pair in pairs],
            [pair[1] for pair in pairs],
        )
        return {
            row["account_id"]: (
                f"{counted(row['rows'], 'trade')} under its login"
                f" {choose(row['rows'], 'has', 'have')} a natural key that no account has, such as"
                f" {row['natural_key']}"
            )
            for row in rows
        }
