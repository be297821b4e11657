"""The part of a batch's needs that reads of the run bring."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.accounts.view import AccountView
from app.domain.contract.tables import Endpoint
from app.domain.planning.planned_request import PlannedRequest
from app.domain.planning.shared_reads import SharedRead, SharedReads

Wanted = Sequence[tuple[AccountView, Collection[dt.date] | None]]
"""Accounts and their needed dates; None: all."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Reads of the run, and accounts that are asked for by id all the same: their slices changed
    since such a read began.
    """

    reads: SharedReads = field(default_factory=dict)
    apart: Mapping[tuple[Endpoint, dt.date], Collection[str]] = field(default_factory=dict)

    @property
    def gaps(self) -> frozenset[dt.date]:
        """Dates that all accounts of the run probably lack."""
        return frozenset(day for (_, day), read in self.reads.items() if read.is_gap)

    def divide(self, endpoint: Endpoint, wanted: Wanted) -> tuple[list[PlannedRequest], Wanted]:
        """Requests that the run's reads answer, and what is left."""
        if not any(of is endpoint for of, _ in self.reads):
            return [], wanted
        by_read: dict[SharedRead, list[AccountView]] = {}
        left: list[tuple[AccountView, Collection[dt.date] | None]] = []
        for view, dates in wanted:
            covered = self._covered(endpoint, view, dates)
            for day in sorted(covered):
                by_read.setdefault(self.reads[endpoint, day], []).append(view)
            if dates is None:
                left.append((view, None))
            elif rest := [day for day in dates if day not in covered]:
                left.append((view, rest))
        return [_planned(read, views) for read, views in by_read.items()], left

    def _covered(
        self, endpoint: Endpoint, view: AccountView, dates: Collection[dt.date] | None
    ) -> set[dt.date]:
        if dates is None or view.by_login:
            return set()
        covered = {
            day
            for day in dates
            if (endpoint, day) in self.reads
            and view.account_id not in self.apart.get((endpoint, day), ())
        }
        # A range by id would run over dates that are shared, and two fetches of one slice disturb
        # each other.
        return covered if not endpoint.is_trades or len(covered) == len(dates) else set()


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
