"""Reads one account in parts where its answer is too large.

Dates are cut once one alone was answered, hourly rows by hours.
"""

import datetime as dt
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import msgspec

from app.domain.planning.planned_request import PlannedRequest
from app.domain.wording.counts import counted
from app.engine.isolation.budget import SearchBudget, stopped
from app.engine.isolation.control_requests import Controls
from app.engine.isolation.reader import Reader
from app.engine.isolation.spoiled import SPOILED, Spoiled, may_be_too_large, may_pass
from app.errors import FetchFailed, IncompleteFetch, RequestTooLarge

_MOST_BAD_DATES = 5
"""Unreadable dates before an account fails."""


class DateCuts:
    """Cuts dates; `read` reads one request, `search` several."""

    def __init__(
        self,
        controls: Controls,
        reader: Reader,
        budget: SearchBudget,
        *,
        until: dt.date,
        read: Callable[[PlannedRequest], Awaitable[int | None]],
        search: Callable[[Sequence[PlannedRequest]], Awaitable[int | None]],
    ) -> None:
        """Rows are asked for up to `until`."""
        self._controls = controls
        self._reader = reader
        self._budget = budget
        self._until = until
        self._read = read
        self._search = search
        self._bad_dates: Counter[str] = Counter()

    async def are_too_many(self, planned: PlannedRequest, failure: Spoiled) -> bool:
        """Whether fewer dates can be read."""
        if (
            not may_be_too_large(failure)
            or self._bad_dates[planned.account_ids[0]] >= _MOST_BAD_DATES
        ):
            return False
        if planned.is_part or (isinstance(failure, FetchFailed) and failure.skip):
            return True
        # A failure that may pass is cut only in the run's second pass.
        if may_pass(failure) and self._reader.can_wait(planned):
            return False
        return await self._reads_one_date(planned, failure)

    async def _reads_one_date(self, planned: PlannedRequest, failure: Spoiled) -> bool:
        life = None if not planned.is_undated else await self._life(planned)
        edges = planned.edges(life)
        # Failures that may pass took several attempts already: one date is enough.
        for part in edges[:1] if may_pass(failure) else edges:
            try:
                with self._budget.paying_if_spoiled(planned):
                    return await self._read(replace(part, is_suspect=True)) is not None
            except SPOILED:
                continue
        return False

    async def cut(self, planned: PlannedRequest, failure: Spoiled) -> int | None:
        """Read the account in parts."""
        life = await self._life(planned) if planned.is_undated else None
        parts = planned.by_dates(life)
        if not parts:
            if (rows := await self.read_by_hours(planned, failure)) is not None:
                return rows
            self._bad_dates[planned.account_ids[0]] += 1
            self._reader.failed(planned, failure)
            return None
        if self._budget.is_spent(planned):
            self._reader.untried(planned, stopped(failure))
            return None
        rows = await self._search(parts)
        if not planned.is_undated or rows is None:
            return rows
        total = (await self._sample(planned))[0]
        if total is None or total > rows:
            shown = "an unknown number" if total is None else total
            self._reader.failed(
                planned,
                IncompleteFetch(
                    f"It was read in parts, which brought {counted(rows, 'row')} of {shown}."
                    f" Reason for the parts: {failure}"
                ),
            )
            return None
        self._reader.read_in_parts(planned)
        return rows

    async def read_by_hours(self, planned: PlannedRequest, failure: Spoiled) -> int | None:
        """Read a date by hours; None on failure."""
        if not isinstance(failure, FetchFailed | RequestTooLarge) or not may_be_too_large(failure):
            return None
        # As with dates: a failure that may pass is cut only in the second pass.
        if not planned.is_part and may_pass(failure) and self._reader.can_wait(planned):
            return None
        for parts in planned.by_hours():
            if self._budget.is_spent(planned):
                return None
            try:
                with self._budget.paying_if_spoiled(planned):
                    return await self._read(replace(parts, is_suspect=True))
            except SPOILED:
                continue
        return None

    async def _life(self, planned: PlannedRequest) -> tuple[dt.date, dt.date] | None:
        """Dates that may have rows; the total shows missed ones."""
        known = self._reader.first_day(planned)
        first = (await self._sample(planned))[1]
        days = [day for day in (known, first) if day is not None]
        return (min(days), self._until) if days and min(days) <= self._until else None

    async def _sample(self, planned: PlannedRequest) -> tuple[int | None, dt.date | None]:
        """Announced rows, and the first date."""
        try:
            answer = await self._controls.sample(planned.request)
        except (FetchFailed, RequestTooLarge):
            self._budget.pay(planned, 1)
            return None, None
        return answer.total, _date_of(answer.rows[0]) if answer.rows else None


class _Dated(msgspec.Struct):
    date: str | int | None = None
    trade_date: str | int | None = msgspec.field(name="tradeDate", default=None)


def _date_of(row: bytes) -> dt.date | None:
    try:
        dated = msgspec.json.decode(row, type=_Dated)
        text = str(dated.date or dated.trade_date or "").replace("-", "")[:8]
        return dt.datetime.strptime(text, "%Y%m%d").replace(tzinfo=dt.UTC).date()
    except (msgspec.MsgspecError, ValueError):
        return None
