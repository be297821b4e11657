"""A part being written."""

import contextlib
import datetime as dt
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from app.domain.contract.tables import Endpoint
from app.domain.wording.counts import counted
from app.store.apply.job import ApplyJob, Part
from app.store.apply.results import Written
from app.store.database.transaction import Connection

Days = Iterable[tuple[str, dt.date | None]]
"""A date of None means all."""


class WrittenSinceError(Exception):
    """Trades of these accounts were stored under another date since the fetch began."""

    def __init__(self, account_ids: frozenset[str]) -> None:
        super().__init__(
            f"trades of {counted(len(account_ids), 'account')} were written since the fetch began"
        )
        self.account_ids = account_ids


class UnfinishedSearchError(Exception):
    """The search for rejected rows took too long; `found` has those found, with reasons."""

    def __init__(self, found: Sequence[tuple[int, str]]) -> None:
        super().__init__(found[0][1] if found else "none was found yet")
        self.found = tuple(found)


@dataclass(slots=True)
class Search:
    """A search for rejected rows, `until` a monotonic time."""

    until: float
    found: list[tuple[int, str]] = field(default_factory=list)

    def go_on(self) -> None:
        """Raise UnfinishedSearchError after the deadline."""
        if time.monotonic() > self.until:
            raise UnfinishedSearchError(self.found)


@dataclass(frozen=True, slots=True)
class PartWrite:
    """A part being written; `horizon` precedes its fetch.

    Without `search`, a rejected row undoes all.
    """

    connection: Connection
    job: ApplyJob
    part: Part
    horizon: int
    search: Search | None

    @property
    def head(self) -> tuple[object, ...]:
        """Fetch, accounts, dates: the leading parameters."""
        return self.job.staged.fetch_id, list(self.part.account_ids), self.job.dates(self.part)

    @property
    def copied(self) -> tuple[object, ...]:
        """Run and table name, for copies."""
        return self.job.context.run_id, self.job.table.table.name

    @property
    def is_of_trades(self) -> bool:
        """Whether rows are trades."""
        return self.job.proven.endpoint.is_trades

    @property
    def is_empty(self) -> bool:
        """Whether no stored row can match; unknown for trades."""
        return not self.is_of_trades and not self.part.stored

    @property
    def is_unsettled(self) -> bool:
        """Whether any date may be unsettled."""
        dates = self.job.dates(self.part)
        return dates is None or max(dates) >= self.job.context.moving_from

    def reaches_unsettled(self, days: Iterable[dt.date | None]) -> bool:
        """Whether any given date is unsettled."""
        return any(day is not None and day >= self.job.context.moving_from for day in days)

    @property
    def must_verify(self) -> bool:
        """Whether to reread rows: triggers may change them, or upstream may be blamed."""
        return (
            self.job.table.has_guards
            or self.job.evidence.is_trial
            or self.job.proven.endpoint is Endpoint.ALLTIME
        )

    async def check_constraints(self) -> None:
        """Check constraints per statement; at commit no row could be identified."""
        await self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")

    @contextlib.asynccontextmanager
    async def tolerating(self) -> AsyncIterator[None]:
        """In a search, a savepoint around failing writes."""
        if self.search is None:
            yield
            return
        async with self.connection.savepoint():
            yield


Write = Callable[[PartWrite, list[int] | None], Awaitable[Written]]
"""Writes rows with these ordinals (None: all)."""


def only(ordinals: list[int] | None, number: int) -> tuple[str, tuple[list[int], ...]]:
    """The condition on ordinals and its parameter."""
    return (
        ("true", ()) if ordinals is None else (f"s.ordinal = ANY(${number}::bigint[])", (ordinals,))
    )


def arrays(days: Days) -> tuple[list[str], list[dt.date | None]]:
    """Accounts and dates as parallel arrays."""
    ordered = list(days)
    return [account_id for account_id, _ in ordered], [day for _, day in ordered]
