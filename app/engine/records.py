"""Rows of runs as types; columns are read by name only here."""

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any, TypeVar

from msgspec import Struct

from app.domain.ids import RunId
from app.store.database.transaction import Record

_Model = TypeVar("_Model", bound=Struct)


def read(kind: type[_Model], row: Mapping[str, Any] | Record, **others: object) -> _Model:
    """A row as a struct of its columns and `others`."""
    columns = {name: row[name] for name in kind.__struct_fields__ if name in row}
    return kind(**{**columns, **others})


class EndedRunRow(Struct, frozen=True, kw_only=True):
    """The end of a run, with accounts held now."""

    run_id: RunId
    kind: str
    status: str
    finished_at: dt.datetime | None
    confirmed_at: dt.datetime | None
    error: str | None
    needs_confirmation: int
    newly_held: int
    held_since: Any
    left_over: Mapping[str, Any] | None
    still_held: int = 0
    requests: int = 0
    api: Mapping[str, Any] = {}


class ListedRunRow(EndedRunRow, frozen=True, kw_only=True):
    """A run in a list."""

    created_at: dt.datetime
    started_at: dt.datetime | None
    stop_at: dt.datetime | None
    history_from: dt.date | None
    total: int
    unchanged: int
    healed: int
    explained: int
    partial: int
    failed: int
    flapping: int
    gone: int
    found: int
    skipped: int
    rows_inserted: int
    rows_updated: int
    rows_moved: int
    rows_removed: int
    rows_set_aside: int

    @property
    def compared_accounts(self) -> int:
        """Accounts compared."""
        return (
            self.unchanged
            + self.healed
            + self.explained
            + self.partial
            + self.flapping
            + self.needs_confirmation
            + self.found
        )

    @property
    def done(self) -> int:
        """Accounts with an outcome."""
        return self.compared_accounts + self.failed + self.gone


class RunRow(ListedRunRow, frozen=True, kw_only=True):
    """All columns of a run."""

    prepared_at: dt.datetime | None
    prepared_by: uuid.UUID | None
    paused_at: dt.datetime | None
    request: Any
    waiting: int
    untried: int
    postponed: int
    known_accounts: int | None
    values_nulled: int
    phases: Mapping[str, float]
    maintenance: Mapping[str, Any]
    compared: Mapping[str, Mapping[str, int]] | None
    named_open_trades: Mapping[str, Any] | None
