"""One transaction's share of a fetch, as the steps of a write hand it on."""

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
"""Accounts and dates; a date of None stands for all."""


class WrittenSinceError(Exception):
    """Trades of these accounts were stored under another date since the fetch began: nothing of the
    accounts is written by it.
    """

    def __init__(self, account_ids: frozenset[str]) -> None:
        super().__init__(
            f"trades of {counted(len(account_ids), 'account')} were written since the fetch began"
        )
        self.account_ids = account_ids


class UnfinishedSearchError(Exception):
    """The search for rows that the table refuses took too long; `found` are those that were found,
    with their reasons.
    """

    def __init__(self, found: Sequence[tuple[int, str]]) -> None:
        super().__init__(found[0][1] if found else "none was found yet")
        self.found = tuple(found)


@dataclass(slots=True)
class Search:
    """The search for rows that the table refuses, until a time of the monotonic clock."""

    until: float
    found: list[tuple[int, str]] = field(default_factory=list)

    def go_on(self) -> None:
        """Raise UnfinishedSearchError when the time is up."""
        if time.monotonic() > self.until:
            raise UnfinishedSearchError(self.found)


@dataclass(frozen=True, slots=True)
class PartWrite:
    """A part that is being written; `horizon` is from before its fetch. Without `search` a refused
    row undoes the whole part.
    """

    connection: Connection
    job: ApplyJob
    part: Part
    horizon: int
    search: Search | None

    @property
    def head(self) -> tuple[object, ...]:
        """The parameters that all statements begin with: fetch, accounts, dates."""
        return self.job.staged.fetch_id, list(self.part.account_ids), self.job.dates(self.part)

    @property
    def copied(self) -> tuple[object, ...]:
        """The parameters of copies that are kept: the run, and the table's name."""
        return self.job.context.run_id, self.job.table.table.name

    @property
    def is_of_trades(self) -> bool:
        """Whether the rows are trades."""
        return self.job.proven.endpoint.is_trades

    @property
    def is_empty(self) -> bool:
        """Whether no stored row can meet one of the fetch; trades may also be stored under other
        accounts.
        """
        return not self.is_of_trades and not self.part.stored

    @property
    def is_unsettled(self) -> bool:
        """Whether any of its dates may be unsettled."""
        dates = self.job.dates(self.part)
        return dates is None or max(dates) >= self.job.context.moving_from

    def reaches_unsettled(self, days: Iterable[dt.date | None]) -> bool:
        """Whether any of these dates is unsettled."""
        return any(day is not None and day >= self.job.context.moving_from for day in days)

    @property
    def must_verify(self) -> bool:
        """Whether rows are read again after the write: where triggers of the table may change them,
        or upstream is about to be blamed.
        """
        return (
            self.job.table.has_guards
            or self.job.evidence.is_trial
            or self.job.proven.endpoint is Endpoint.ALLTIME
        )

    async def check_constraints(self) -> None:
        """Check constraints with each statement from now on: at the commit no row could be
        blamed.
        """
        await self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")

    @contextlib.asynccontextmanager
    async def tolerating(self) -> AsyncIterator[None]:
        """Around what may be refused as a whole: undone by itself where the write goes on without
        it.
        """
        if self.search is None:
            yield
            return
        async with self.connection.savepoint():
            yield


Write = Callable[[PartWrite, list[int] | None], Awaitable[Written]]
"""A step that writes the staged rows with these ordinals; None: all."""


def only(ordinals: list[int] | None, number: int) -> tuple[str, tuple[list[int], ...]]:
    """The condition that limits a statement to staged rows with these ordinals, and its parameter,
    numbered `number`.
    """
    return (
        ("true", ()) if ordinals is None else (f"s.ordinal = ANY(${number}::bigint[])", (ordinals,))
    )


def arrays(days: Days) -> tuple[list[str], list[dt.date | None]]:
    """Accounts and dates as two arrays of equal length, as SQL takes them."""
    ordered = list(days)
    return [account_id for account_id, _ in ordered], [day for _, day in ordered]
