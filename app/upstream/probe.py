"""Rows that are proven whole and dropped: they show whether an endpoint can be believed."""

from collections.abc import Sequence

import msgspec

from app.domain.contract.tables import Request


class _Named(msgspec.Struct):
    """By what a row names its account."""

    account_id: str | int | None = msgspec.field(name="accountId", default=None)
    login: str | int | None = None


class ProbeSink:
    """Counts distinct rows, and whether any is of an account that was asked for."""

    def __init__(self, request: Request) -> None:
        self._asked = {each.lstrip("0") for each in request.logins or request.account_ids}
        self._by_login = bool(request.logins)
        self._rows: set[bytes] = set()

    async def reset(self) -> None:
        """Forget all rows so far."""
        self._rows.clear()

    async def add(self, rows: Sequence[bytes]) -> None:
        """Take the next rows."""
        self._rows.update(bytes(row) for row in rows)

    async def distinct_keys(self) -> int:
        """Distinct rows; keys do not matter to a probe."""
        return len(self._rows)

    async def is_of_asked(self) -> bool:
        """Whether there is a row of anyone who was asked for."""
        return any(self._name_of(row) in self._asked for row in self._rows)

    def _name_of(self, row: bytes) -> str:
        """The row's id or login without leading zeros, as logins may come as numbers."""
        try:
            named = msgspec.json.decode(row, type=_Named)
        except msgspec.MsgspecError:
            return ""
        return str(named.login if self._by_login else named.account_id).lstrip("0")
