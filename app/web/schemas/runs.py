"""Runs over HTTP."""

import datetime as dt
import uuid
from typing import Any

from pydantic import BaseModel, Field

from app.web.schemas.common import AnyKind, AnyStatus
from app.web.schemas.leftovers import LEFT, LEFT_TOLD, NEEDS_SOMEBODY, RESTS_ON, RunLeft
from app.web.schemas.orders import GivenOrder
from app.web.schemas.results import ComparedRows, OpenTradesCompared


class RunAccounts(BaseModel):
    """Accounts of a run by outcome."""

    total: int
    unchanged: int = Field(description="There was nothing to heal.")
    healed: int = Field(description="Issues were there and none is left.")
    explained: int = Field(description="What is left is not the warehouse's to heal.")
    partial: int = Field(description="Some issues were closed, some that can be healed are left.")
    failed: int = Field(description="No issue was closed.")
    flapping: int = Field(
        description="Held back: the same issue opened again and again right after healing."
    )
    needs_confirmation: int = Field(
        description=(
            "Held: upstream suddenly has nothing for them, or healing would rewrite most of their"
            " rows; the run can be confirmed."
        )
    )
    gone: int = Field(
        description=(
            "Deleted from trade_recon by others while they waited; `gone_accounts` names some."
        )
    )
    found: int = Field(description="An inspection found issues that are more than information.")
    skipped: int = Field(
        description="Left out, since they are backing off after failures or held back."
    )
    waiting: int = Field(description="Not done yet; of a run that is over, those that are left.")
    postponed: int = Field(
        description=(
            "Read, or waiting to be read, a second time at the end of the run, since a fetch could"
            " not be completed."
        )
    )
    done: int


class RunRows(BaseModel):
    """Rows that a run wrote."""

    inserted: int
    updated: int
    moved: int
    removed: int
    set_aside: int = Field(
        description="Rows of upstream that the warehouse cannot hold as they are."
    )


class RunWait(BaseModel):
    """One reason why a run does not go on."""

    reason: str = Field(
        description=(
            "`upstream_down`, `upstream_throttles`, `quota`, `locks`, `accounts_held`,"
            " `preparation_held`, `unattended`, `turn`, `postponed`, `paused` or `guard`; a newer"
            " version may know others."
        )
    )
    message: str = Field(
        description=(
            "What the run waits for, since when, and when something changes or what to do, in a"
            " sentence."
        )
    )
    since: dt.datetime | None
    until: dt.datetime | None = Field(
        description="When it is tried again, or held accounts are free; null: not known."
    )
    accounts: int | None = Field(
        description="The accounts that it concerns, where it does not concern all."
    )


class UnderWay(BaseModel):
    """Progress of unrecorded batches; the run's own figures count their accounts as `waiting`."""

    accounts: int = Field(description="Accounts of these batches.")
    done: int = Field(
        description="Those of them of which nothing more is to be read, as far as is known by now."
    )
    requests: int = Field(description="Requests that were sent for them so far.")
    rows_written: int = Field(
        description="Rows that were inserted, overwritten, moved or removed for them so far."
    )


class Run(BaseModel):
    """A run's present state."""

    run_id: uuid.UUID
    kind: AnyKind
    status: AnyStatus
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    stop_at: dt.datetime | None = Field(description="When the run ends, whatever is left.")
    confirmed_at: dt.datetime | None = Field(description="When the run was confirmed.")
    history_from: dt.date | None = Field(
        description="The first date that the run compares, by RECON_HISTORY_FROM; null: all."
    )
    error: str | None = Field(
        description="Why the run ended early, and how many accounts are left."
    )
    under_way: UnderWay | None = Field(
        description="The batches that are worked on and not recorded yet; null where none is."
    )
    waiting_for: list[RunWait] = Field(
        description="Why the run does not go on; empty while it does, and once it is over."
    )
    request: Any = Field(
        description="What the run was asked to do, as the process that started it wrote it."
    )
    accounts: RunAccounts
    left: RunLeft | None = LEFT
    left_told: str | None = LEFT_TOLD
    needs_somebody: bool | None = NEEDS_SOMEBODY
    rests_on: str | None = RESTS_ON
    known_accounts: int | None = Field(
        description=(
            "The accounts that were known when those of the run were chosen; null: that was not"
            " yet, or by an earlier version."
        )
    )
    gone_accounts: list[str] = Field(
        description=(
            "Accounts that were deleted from trade_recon while they waited in the run, at most 20."
        )
    )
    total_processed: int
    fully_resolved: int
    partially_resolved: int
    failed: int
    skipped_due_to_previous_failure: int
    rows: RunRows
    values_nulled: int = Field(
        description=(
            "Values that cannot be stored as they were sent: NULL, or U+FFFD in a text, stands for"
            " them."
        )
    )
    requests: int = Field(description="Requests sent to upstream, retries included.")
    phases: dict[str, float] = Field(description="Seconds by phase, summed over workers.")
    api_stats: dict[str, Any] = Field(
        description="API statistics by worker process, endpoint and figure."
    )
    maintenance: dict[str, Any] = Field(description="What the maintenance before the run did.")
    orders: list[GivenOrder] = Field(
        description="What was ordered about the run, first to last, at most 100."
    )
    compared: ComparedRows | None = Field(
        description="What was compared row by row; null where only counts were."
    )
    open_trades: OpenTradesCompared | None = Field(
        description=(
            "The open trades of the named accounts against upstream's snapshot; null where they"
            " were not compared."
        )
    )


class ListedRun(BaseModel):
    """A run in a list."""

    run_id: uuid.UUID
    kind: AnyKind
    status: AnyStatus
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    stop_at: dt.datetime | None
    confirmed_at: dt.datetime | None
    history_from: dt.date | None
    error: str | None = Field(description="Why the run ended early, and what is to be done.")
    needs_somebody: bool | None = NEEDS_SOMEBODY
    total: int = Field(description="Accounts.")
    done: int
    healed: int
    failed: int
    needs_confirmation: int
    requests: int
    rows_written: int = Field(description="Rows that were inserted, overwritten, moved or removed.")


class RunList(BaseModel):
    """Runs, newest first."""

    runs: list[ListedRun]
    next_before: uuid.UUID | None = Field(
        description="Give it as `before` for older ones; null: there are none."
    )
