"""Rows that only have to be proven whole: what shows whether an endpoint can be believed, and is
kept nowhere.
"""

from collections.abc import Sequence

import msgspec

from app.domain.contract.tables import Request


class _Named(msgspec.Struct):
    """By what a row names its account."""

    account_id: str | int | None = msgspec.field(name="accountId", default=None)
    login: str | int | None = None


class ProbeSink:
    """Takes the rows of a read and forgets them, but for how many are distinct and whether any is
    of an account that was asked for.
    """

    def __init__(self, request: Request) -> None:
        """Expect rows of the accounts that the request names."""
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
        """Distinct rows: those of one key that differ are no matter of a probe."""
        return len(self._rows)

    async def is_of_asked(self) -> bool:
        """Whether there is a row of anyone who was asked for."""
        return any(self._name_of(row) in self._asked for row in self._rows)

    def _name_of(self, row: bytes) -> str:
        """The id in a row as far as it is compared here: logins come as numbers, too, without their
        leading zeros.
        """
        try:
            named = msgspec.json.decode(row, type=_Named)
        except msgspec.MsgspecError:
            return ""
        return str(named.login if self._by_login else named.account_id).lstrip("0")
