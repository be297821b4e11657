"""Receives an audit's scan."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import msgspec

from app.domain.contract.rows import RepairedRow, fields_of, flattened
from app.domain.contract.spelling import respelled
from app.store.runs.run_queue import Preparations
from app.store.staging.names.known_logins import KnownLogins

_ACCOUNT = "accountId"
_NAMED = 20
"""Accounts, and fields of each."""


@dataclass(slots=True)
class Oddities:
    """Unreadable values and rows of a scan, with sample accounts."""

    fields: int = 0
    rows: int = 0
    named: dict[str, set[str]] = field(default_factory=dict)

    def note_fields(self, account_id: str, names: Collection[str]) -> None:
        """Count repaired fields."""
        self.fields += len(names)
        self.name(account_id, names)

    def note_row(self, account_id: str, reason: str) -> None:
        """Count a row left out."""
        self.rows += 1
        self.name(account_id, [reason])

    def name(self, account_id: str, what: Collection[str]) -> None:
        """Add an account to the sample."""
        if account_id in self.named or len(self.named) < _NAMED:
            self.named.setdefault(account_id, set()).update(what)

    @property
    def sample(self) -> dict[str, list[str]]:
        """Sample accounts and fields."""
        return {account_id: sorted(what)[:_NAMED] for account_id, what in self.named.items()}


class ScanSink:
    """Records scanned rows, each once.

    Unreadable figures count as unsent; rows without account or date are dropped; `oddities` has
    both.
    """

    def __init__(
        self,
        preparations: Preparations,
        logins: KnownLogins,
        run_id: uuid.UUID,
        note: str,
        oddities: Oddities,
    ) -> None:
        """`note` is the recording statement, which returns rows left out."""
        self._preparations = preparations
        self._known_logins = logins
        self._run_id = run_id
        self._note = note
        self._oddities = oddities

    async def add(self, rows: Sequence[bytes]) -> None:
        """Record a page; raises ClaimLost."""
        restored = await self._known_logins.restored([respelled(flattened(row)) for row in rows])
        readable = [
            sent
            for row in restored
            if row is not None and (sent := self._readable(row)) is not None
        ]
        if lost := restored.count(None):
            self._oddities.rows += lost
            self._oddities.name(
                "", ["a login sent as a number may stand for several that differ in leading zeros"]
            )
        if readable:
            async with self._preparations.transaction(self._run_id) as connection:
                page = (b"[" + b",".join(readable) + b"]").decode("utf-8", "replace")
                left_out = await connection.fetch(self._note, self._run_id, page)
            for row in left_out:
                self._oddities.note_row(row["account_id"], row["reason"])

    def _readable(self, row: bytes) -> bytes | None:
        """The row without unreadable fields; None if its account cannot be read."""
        if not isinstance(row, RepairedRow):
            return row
        account_id = str(msgspec.json.decode(fields_of(row).get(_ACCOUNT, b"null")))
        if _ACCOUNT in row.nulled | row.replaced:
            self._oddities.note_row(account_id, f"{_ACCOUNT} cannot be read")
            return None
        self._oddities.note_fields(account_id, row.nulled | row.replaced)
        return row.without_nulled()
