"""Rows proven whole and dropped, as a test."""

from collections.abc import Sequence

import msgspec

from app.domain.contract.tables import Request


class _Named(msgspec.Struct):
    account_id: str | int | None = msgspec.field(name="accountId", default=None)
    login: str | int | None = None


class ProbeSink:
    """Counts distinct rows, and notices requested accounts."""

    def __init__(self, request: Request) -> None:
        self._asked = {each.lstrip("0") for each in request.logins or request.account_ids}
        self._by_login = bool(request.logins)
        self._rows: set[bytes] = set()

    async def reset(self) -> None:
        """Forget all rows."""
        self._rows.clear()

    async def add(self, rows: Sequence[bytes]) -> None:
        """Take rows."""
        self._rows.update(bytes(row) for row in rows)

    async def distinct_keys(self) -> int:
        """Distinct rows; keys do not matter."""
        return len(self._rows)

    async def is_of_asked(self) -> bool:
        """Whether a requested account has rows."""
        return any(self._name_of(row) in self._asked for row in self._rows)

    def _name_of(self, row: bytes) -> str:
        """The login or account id that the row names, without leading zeros."""
        try:
            named = msgspec.json.decode(row, type=_Named)
        except msgspec.MsgspecError:
            return ""
        return str(named.login if self._by_login else named.account_id).lstrip("0")
