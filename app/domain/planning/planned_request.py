"""Planned requests, and how they are cut."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.domain.contract.tables import MAX_DATES, Endpoint, Request
from app.domain.ids import AccountId, Login
from app.domain.sequences import pieces

_HOURS, _HOUR_PARTS = 24, (4, 24)


@dataclass(frozen=True, slots=True)
class SharedRead:
    """Dates of a table that a run reads once for all of its batches: ascending, of trades without a
    break. Beyond `most_rows` ids are cheaper.

    No table has rows of `gaps`, so counts do not name them.
    """

    endpoint: Endpoint
    days: tuple[dt.date, ...]
    most_rows: int
    rows: int
    """Expected."""
    gaps: tuple[dt.date, ...] = ()

    @property
    def dates(self) -> tuple[dt.date, ...]:
        """Its slice: of trades first and last date."""
        return (self.days[0], self.days[-1]) if self.endpoint.is_trades else self.days

    @property
    def request(self) -> Request:
        """The scan."""
        if self.endpoint.is_trades:
            return Request(self.endpoint, date_from=self.days[0], date_to=self.days[-1])
        return Request(self.endpoint, dates=self.days)


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """A request, and the accounts whose slices it proves on its dates.

    A suspect names accounts that failed before, or is a part of a request that failed.
    """

    request: Request
    account_ids: tuple[AccountId, ...]
    logins: tuple[tuple[Login, ...], ...] = ()
    """By account; all are requested."""
    cost: float = 1.0
    """Expected requests."""
    most_rows: int | None = None
    """Of a scan: beyond, ids are cheaper."""
    is_trial: bool = False
    """In a second shape."""
    is_part: bool = False
    """It covers some dates of one account."""
    missing_is_empty: bool = False
    """A 404 means no rows."""
    hour_parts: int = 1
    is_suspect: bool = False
    shared: SharedRead | None = None
    """The read of the run that brings its rows."""

    @property
    def ids(self) -> int:
        """Ids named."""
        return max(len(self.request.account_ids), len(self.request.logins))

    @property
    def requests(self) -> tuple[Request, ...]:
        """The requests of one fetch."""
        if self.hour_parts == 1:
            return (self.request,)
        return tuple(
            replace(self.request, hours=tuple(part))
            for part in pieces(range(_HOURS), _HOURS // self.hour_parts)
        )

    def by_hours(self) -> tuple["PlannedRequest", ...]:
        """Ever smaller parts by hours, if possible."""
        if (
            self.request.endpoint is not Endpoint.HOURLY
            or len(self.account_ids) != 1
            or len(self.request.dates) != 1
        ):
            return ()
        return tuple(replace(self, hour_parts=parts) for parts in _HOUR_PARTS)

    @property
    def is_undated(self) -> bool:
        """Whether it covers all dates."""
        return not self.request.dates and self.request.date_from is None

    @property
    def by_login(self) -> tuple[AccountId, ...]:
        """Accounts whose metrics are requested by login."""
        if self.request.endpoint.is_trades:
            return ()
        return tuple(
            account_id
            for account_id, logins in zip(self.account_ids, self.logins, strict=False)
            if logins
        )

    @property
    def is_scan(self) -> bool:
        """Whether it names no ids."""
        return self.most_rows is not None

    def covers(self, day: dt.date | None) -> bool:
        """Whether it covers the date (None: undated)."""
        request = self.request
        if day is not None and request.date_from is not None and request.date_to is not None:
            return request.date_from <= day <= request.date_to
        return not request.dates or day in request.dates

    def halved(self, max_ids: int) -> tuple["PlannedRequest", ...]:
        """The same work in smaller requests: by id, accounts, then dates."""
        if self.is_scan:
            return tuple(part for group in self._groups() for part in group.in_pieces(max_ids))
        middle = len(self.account_ids) // 2
        if middle:
            return self._part(slice(None, middle)), self._part(slice(middle, None))
        return self.by_dates()

    def alone(self, number: int) -> "PlannedRequest":
        """The same work for one account."""
        return self._part(slice(number, number + 1))

    def by_dates(self, life: tuple[dt.date, dt.date] | None = None) -> tuple["PlannedRequest", ...]:
        """One account's work in halves by date; undated requests need `life`."""
        days = self._days(life)
        if len(days) < 2 and not (days and self.is_undated):  # noqa: PLR2004 - nothing is left to be cut in two
            return ()
        half = -(-len(days) // 2)
        return tuple(
            self._on(part)
            for part in pieces(
                days, half if self.request.endpoint.is_trades else min(half, MAX_DATES)
            )
        )

    def edges(self, life: tuple[dt.date, dt.date] | None = None) -> tuple["PlannedRequest", ...]:
        """Last and first date, each alone."""
        days = self._days(life)
        return (
            tuple(self._on([day]) for day in (days[-1], days[0]))
            if len(days) > 1 or (days and self.is_undated)
            else ()
        )

    def _days(self, life: tuple[dt.date, dt.date] | None) -> list[dt.date]:
        request = self.request
        first, last = (
            (request.date_from, request.date_to)
            if request.endpoint.is_trades
            else life or (None, None)
        )
        if request.dates or first is None or last is None or request.endpoint is Endpoint.ALLTIME:
            return sorted(request.dates)
        return [first + dt.timedelta(days=number) for number in range((last - first).days + 1)]

    def _on(self, days: Sequence[dt.date]) -> "PlannedRequest":
        if self.request.endpoint.is_trades:
            return replace(
                self,
                request=replace(self.request, date_from=days[0], date_to=days[-1]),
                is_part=True,
            )
        return replace(self, request=replace(self.request, dates=tuple(days)), is_part=True)

    def in_pieces(self, max_ids: int) -> tuple["PlannedRequest", ...]:
        """The same work by id, at most `max_ids` accounts each."""
        return tuple(
            self._part(slice(start, start + max_ids))
            for start in range(0, len(self.account_ids), max_ids)
        )

    def _groups(self) -> tuple["PlannedRequest", ...]:
        by_login = frozenset(self.by_login)
        if not by_login:
            return (self,)
        logins = dict(zip(self.account_ids, self.logins, strict=True))
        by_id = tuple(account_id for account_id in self.account_ids if account_id not in by_login)
        named = PlannedRequest(
            self.request, self.by_login, tuple(logins[account_id] for account_id in self.by_login)
        )
        return (*([PlannedRequest(self.request, by_id)] if by_id else []), named)

    def joined_by(self, account_ids: Sequence[AccountId]) -> "PlannedRequest":
        """The request with metrics of further accounts."""
        ids = (*self.account_ids, *account_ids)
        logins = (*self.logins, *[()] * len(account_ids)) if self.logins else ()
        request = self.request if self.is_scan else replace(self.request, account_ids=ids)
        return replace(self, account_ids=ids, logins=logins, request=request)

    def _part(self, part: slice) -> "PlannedRequest":
        ids, logins = self.account_ids[part], self.logins[part]
        asked = tuple(sorted({login for each in logins for login in each}))
        if self.request.endpoint.is_trades or asked:
            return PlannedRequest(
                replace(self.request, logins=asked), ids, logins, is_trial=self.is_trial
            )
        return PlannedRequest(replace(self.request, account_ids=ids), ids, is_trial=self.is_trial)
