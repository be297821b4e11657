"""Receives the rows of a fetch."""

from collections.abc import Sequence

from app.domain.contract.spelling import AskedIds
from app.store.staging.staged_fetch import StagedFetch
from app.store.staging.staged_rows import StagedRows


class StageSink:
    """Binds a fetch to staging."""

    def __init__(
        self,
        rows: StagedRows,
        staged: StagedFetch,
        asked: Sequence[str],
        account_ids: Sequence[str],
        *,
        by_login: bool,
    ) -> None:
        self._rows = rows
        self._asked = asked
        self._account_ids = account_ids
        self._by_login = by_login
        self._ids = None if by_login else AskedIds(account_ids or asked)
        self._proven_rows, self._proven_keys = 0, 0
        self.staged = staged

    async def reset(self) -> None:
        """Drop rows of the current part, which restarts."""
        if self.staged.rows > self._proven_rows:
            await self._rows.clear(self.staged, self._proven_rows)

    async def end_part(self) -> bool:
        """End a proven part; returns whether its keys were all new."""
        earlier, self._proven_rows = self._proven_rows, self.staged.rows
        if self.staged.rows == earlier:
            return True
        keys = await self._rows.distinct_keys(self.staged)
        alone = await self._rows.distinct_keys(self.staged, behind=earlier)
        earlier_keys, self._proven_keys = self._proven_keys, keys
        return keys == earlier_keys + alone

    async def add(self, rows: Sequence[bytes]) -> None:
        """Stage rows."""
        await self._rows.add(self.staged, rows, self._asked if self._by_login else (), self._ids)

    async def distinct_keys(self) -> int:
        """Distinct keys of the current part."""
        return await self._rows.distinct_keys(self.staged, behind=self._proven_rows)

    async def is_of_asked(self) -> bool:
        """Whether any row is of those asked for."""
        by_id = bool(self._asked) and not self._by_login
        if self._by_login and not self.staged.endpoint.is_trades:
            await self._rows.part_shared_ids(self.staged)
        await self._rows.name_rows(
            self.staged, self._asked if by_id else self._account_ids, by_id=by_id
        )
        return await self._rows.holds_any(self.staged, self._asked, by_login=self._by_login)

    async def seal(self) -> None:
        """Prepare the proven fetch for applying."""
        await self._rows.seal(self.staged)

    async def forget(self) -> None:
        """Drop the fetch."""
        await self._rows.forget(self.staged)
