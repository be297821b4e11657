"""States of runs that no database holds."""

import datetime as dt
import uuid
from typing import Any

from msgspec.structs import replace

from app.engine.report.models.runs import RunAccounts, RunRows, RunState

_NONE = RunAccounts(
    total=0,
    unchanged=0,
    healed=0,
    explained=0,
    partial=0,
    failed=0,
    flapping=0,
    needs_confirmation=0,
    gone=0,
    found=0,
    skipped=0,
    waiting=0,
    postponed=0,
    done=0,
)
_QUEUED = RunState(
    run_id=uuid.UUID(int=0),
    kind="full",
    status="queued",
    created_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    started_at=None,
    finished_at=None,
    stop_at=None,
    confirmed_at=None,
    history_from=None,
    error=None,
    under_way=None,
    waiting_for=(),
    request={},
    accounts=_NONE,
    left=None,
    left_told=None,
    needs_somebody=None,
    rests_on=None,
    known_accounts=None,
    gone_accounts=(),
    total_processed=0,
    fully_resolved=0,
    partially_resolved=0,
    failed=0,
    skipped_due_to_previous_failure=0,
    rows=RunRows(inserted=0, updated=0, moved=0, removed=0, set_aside=0),
    values_nulled=0,
    requests=0,
    phases={},
    api_stats={},
    maintenance={},
    orders=(),
    compared=None,
    open_trades=None,
)


def run_state(accounts: dict[str, int] | None = None, **fields: Any) -> RunState:  # noqa: ANN401
    """A queued run, but for these fields."""
    return replace(_QUEUED, accounts=replace(_NONE, **(accounts or {})), **fields)
