"""The rows of an audit's scan, as they come in."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import msgspec

from app.domain.contract.rows import RepairedRow, fields_of, flattened
from app.domain.contract.spelling import respelled
from app.store.runs.run_queue import Preparations
from app.store.staging.known_logins import KnownLogins

_ACCOUNT = "accountId"
_NAMED = 20
"""Accounts, and fields of each, in the sample."""


@dataclass(slots=True)
class Oddities:
    """Values and rows that a scan could not take as sent, with a sample of accounts."""

    fields: int = 0
    rows: int = 0
    named: dict[str, set[str]] = field(default_factory=dict)

    def note_fields(self, account_id: str, names: Collection[str]) -> None:
        """Fields of an account's row were repaired."""
        self.fields += len(names)
        self.name(account_id, names)

    def note_row(self, account_id: str, reason: str) -> None:
        """A row was left out."""
        self.rows += 1
        self.name(account_id, [reason])

    def name(self, account_id: str, what: Collection[str]) -> None:
        """Name an account with what is wrong with it."""
        if account_id in self.named or len(self.named) < _NAMED:
            self.named.setdefault(account_id, set()).update(what)

    @property
    def sample(self) -> dict[str, list[str]]:
        """Some of the accounts, each with a few of its fields."""
        return {account_id: sorted(what)[:_NAMED] for account_id, what in self.named.items()}


class ScanSink:
    """Where the API client puts the rows of a scan: each proves itself, a row that comes twice
    counts once.

    A figure that cannot be read counts as not sent, a row whose account or date cannot be read is
    left out; `oddities` tells of both.
    """

    def __init__(
        self,
        preparations: Preparations,
        logins: KnownLogins,
        run_id: uuid.UUID,
        note: str,
        oddities: Oddities,
    ) -> None:
        """`note` is the statement that notes rows and returns those left out."""
        self._preparations = preparations
        self._known_logins = logins
        self._run_id = run_id
        self._note = note
        self._oddities = oddities

    async def add(self, rows: Sequence[bytes]) -> None:
        """Note a page; ClaimLost once another worker prepares the run."""
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
        """The comparable row; None without an account."""
        if not isinstance(row, RepairedRow):
            return row
        account_id = str(msgspec.json.decode(fields_of(row).get(_ACCOUNT, b"null")))
        if _ACCOUNT in row.nulled | row.replaced:
            self._oddities.note_row(account_id, f"{_ACCOUNT} cannot be read")
            return None
        self._oddities.note_fields(account_id, row.nulled | row.replaced)
        return row.without_nulled()
