"""A run's request and idempotency key."""

import datetime as dt
import hashlib
from dataclasses import dataclass

import msgspec

from app.domain.ids import AccountId
from app.domain.states import Depth, RunKind


class RunRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run is asked to do: its kind, at most how many accounts, or which (None: all that need
    it), and until when (`stop_at`, aware).

    `changed_only` leaves out accounts of which no row was written since the last run over all.
    Named accounts are compared by rows, others by counts, unless `depth` says otherwise.
    """

    kind: RunKind = RunKind.FULL
    max_accounts: int | None = None
    account_ids: tuple[AccountId, ...] | None = None
    stop_at: dt.datetime | None = None
    changed_only: bool = False
    depth: Depth | None = None

    @property
    def compares_rows(self) -> bool:
        """Whether every row is compared with upstream."""
        if self.kind is RunKind.INSPECT:
            return False
        return self.account_ids is not None if self.depth is None else self.depth is Depth.ROWS

    @property
    def shares_reads(self) -> bool:
        """Whether batches may share reads of dates: not where accounts are named or read whole."""
        return (
            self.kind is not RunKind.INSPECT and self.account_ids is None and not self.compares_rows
        )

    @property
    def is_sole(self) -> bool:
        """Whether only one such run may be active."""
        return self.kind is RunKind.FULL and self.account_ids is None

    @property
    def digest(self) -> str:
        """A digest that is the same for equal requests."""
        fields: dict[str, object] = msgspec.to_builtins(self)
        if not self.changed_only:
            # As it was before there was this field: a key that was used then still names its
            # request.
            del fields["changed_only"]
        if self.depth is None:
            del fields["depth"]
        return hashlib.sha256(msgspec.json.encode(fields)).hexdigest()


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A caller's key and its request's digest."""

    key: str
    digest: str
