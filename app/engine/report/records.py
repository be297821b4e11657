"""Further rows of the store as types."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from app.engine.report.models.accounts import AccountEffort


class RequestNote(Struct, frozen=True, kw_only=True):
    """A run's request as stored; earlier versions left fields out."""

    account_ids: Sequence[str] | None = None
    depth: str | None = None
    changed_only: bool = False


class MaintenanceNote(Struct, frozen=True, kw_only=True):
    """Maintenance as reports read it."""

    money_dropped: Sequence[str] = ()


class ResultLevel(Struct, frozen=True, kw_only=True):
    """The level of a result's row: table, date or broker."""

    level: str


class OpenIssues(Struct, frozen=True, kw_only=True):
    """An account's open issues, as stored."""

    issues: Any


class RejectedRow(Struct, frozen=True, kw_only=True):
    """A row of upstream as rejected."""

    table: str
    reason: str
    row_text: str


class AttemptRow(AccountEffort, frozen=True, kw_only=True):
    """A run's attempt at an account."""

    outcome: str | None
    issues_found: Sequence[str] | None
    detail: str | None
    compared: Mapping[str, Mapping[str, int]] | None
