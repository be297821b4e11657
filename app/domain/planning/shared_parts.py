"""The part of a batch's needs that reads of the run bring."""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.accounts.view import AccountView
from app.domain.contract.tables import Endpoint
from app.domain.planning.planned_request import PlannedRequest, SharedRead

Wanted = Sequence[tuple[AccountView, Collection[dt.date] | None]]
"""Accounts and their needed dates; None: all."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Reads of the run, and accounts `apart` that are asked for by id all the same: their slices
    changed since such a read began.
    """

    reads: Collection[SharedRead] = ()
    apart: Mapping[SharedRead, Collection[str]] = field(default_factory=dict)

    @property
    def gaps(self) -> frozenset[dt.date]:
        """Dates that all accounts of the run probably lack."""
        return frozenset(day for read in self.reads for day in read.gaps)

    def divide(self, endpoint: Endpoint, wanted: Wanted) -> tuple[list[PlannedRequest], Wanted]:
        """Requests that the run's reads answer, and what is left."""
        by_day = {
            day: read for read in self.reads if read.endpoint is endpoint for day in read.days
        }
        if not by_day:
            return [], wanted
        by_read: defaultdict[SharedRead, list[AccountView]] = defaultdict(list)
        left: list[tuple[AccountView, Collection[dt.date] | None]] = []
        for view, dates in wanted:
            covered = self._covered(by_day, view, dates)
            for read in {by_day[day]: None for day in sorted(covered)}:
                by_read[read].append(view)
            if dates is None:
                left.append((view, None))
            elif rest := [day for day in dates if day not in covered]:
                left.append((view, rest))
        return [_planned(read, views) for read, views in by_read.items()], left

    def _covered(
        self,
        by_day: Mapping[dt.date, SharedRead],
        view: AccountView,
        dates: Collection[dt.date] | None,
    ) -> set[dt.date]:
        if dates is None or view.by_login:
            return set()
        covered = {
            day
            for day in dates
            if (read := by_day.get(day)) and view.account_id not in self.apart.get(read, ())
        }
        # A range by id would run over dates that are shared, and two fetches of one slice disturb
        # each other.
        is_range = bool(covered) and by_day[min(covered)].endpoint.is_trades
        return covered if not is_range or len(covered) == len(dates) else set()


NONE_SHARED = Shared()


def _planned(read: SharedRead, views: Sequence[AccountView]) -> PlannedRequest:
    return PlannedRequest(
        read.request,
        tuple(view.account_id for view in views),
        tuple(view.logins for view in views) if read.endpoint.is_trades else (),
        cost=0.0,
        most_rows=read.most_rows,
        shared=read,
    )
