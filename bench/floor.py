"""The fewest requests that a repair can need, from what really differs.

Per endpoint max(rows / 1000, accounts / ids in a request), rounded up. Rows are upstream's of each
affected account between its first and last affected date. Accounts are those whose rows differ, of
which upstream contradicts itself (alltime and daily are read anew), or with surplus rows (daily
decides on them). The pages of an audit's scan come on top.
"""

import bisect
import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from app.domain.contract.tables import PAGE_ROWS, TABLES, Endpoint
from app.sandbox.witness.comparison import Difference, DifferenceKind
from app.sandbox.world.rows import Contradiction
from app.sandbox.world.world import World

_ENDPOINT_OF = {table.name: endpoint for endpoint, table in TABLES.items()}
_FINER = (Endpoint.HOURLY, Endpoint.CLOSED)


@dataclass(slots=True)
class Need:
    """The first and the last affected date of one account at one endpoint; None: all of its
    dates.
    """

    first: dt.date | None
    last: dt.date | None

    def widen(self, day: dt.date | None) -> None:
        """Take a further date in."""
        if day is None or self.first is None or self.last is None:
            self.first = self.last = None
        else:
            self.first, self.last = min(self.first, day), max(self.last, day)


@dataclass(slots=True)
class Floor:
    """What each endpoint must be asked for, and the fewest requests for that."""

    requests: dict[Endpoint, int] = field(default_factory=dict)
    rows: dict[Endpoint, int] = field(default_factory=dict)
    accounts: dict[Endpoint, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """The fewest requests of all endpoints together."""
        return sum(self.requests.values())


def floor_of(
    world: World, differences: Iterable[Difference], *, max_ids: int, has_scan: bool
) -> Floor:
    """The floor of healing `differences`, which are all of a warehouse whose account ids are in
    order already.
    """
    needs = _needs(world, differences)
    floor = Floor()
    for endpoint, accounts in needs.items():
        rows = _Rows(world, endpoint)
        floor.accounts[endpoint] = len(accounts)
        floor.rows[endpoint] = sum(
            rows.between(account_id, need) for account_id, need in accounts.items()
        )
        floor.requests[endpoint] = max(
            -(-floor.rows[endpoint] // PAGE_ROWS), -(-len(accounts) // max_ids)
        )
    if has_scan:
        floor.requests[Endpoint.ALLTIME] = floor.requests.get(Endpoint.ALLTIME, 0) + -(
            -len(world.account_ids) // PAGE_ROWS
        )
    return floor


def _needs(world: World, differences: Iterable[Difference]) -> Mapping[Endpoint, dict[str, Need]]:
    needs: dict[Endpoint, dict[str, Need]] = defaultdict(dict)

    def add(endpoint: Endpoint, account_id: str, day: dt.date | None) -> None:
        needs[endpoint].setdefault(account_id, Need(day, day)).widen(day)

    known = set(world.account_ids)
    for difference in differences:
        endpoint = _ENDPOINT_OF[difference.table]
        if endpoint is Endpoint.OPEN:
            continue  # snapshots: never fetched
        for account_id in known.intersection(difference.account_ids):
            add(endpoint, account_id, difference.day)
            if difference.kind is DifferenceKind.SURPLUS and endpoint in _FINER:
                add(Endpoint.DAILY, account_id, difference.day)
    for account_id, contradiction in world.contradictions.items():
        add(Endpoint.ALLTIME, account_id, None)
        if contradiction is Contradiction.LAGGING_TODAY:
            add(Endpoint.DAILY, account_id, world.today)
        else:
            add(Endpoint.DAILY, account_id, None)
    return needs


class _Rows:
    """How many rows upstream has of an account between two dates."""

    def __init__(self, world: World, endpoint: Endpoint) -> None:
        self._days: dict[str, list[dt.date]] = defaultdict(list)
        for record in world.records(endpoint):
            self._days[record.account_id].append(record.day or dt.date.min)
        for days in self._days.values():
            days.sort()

    def between(self, account_id: str, need: Need) -> int:
        days = self._days.get(account_id, [])
        if need.first is None or need.last is None:
            return len(days)
        return bisect.bisect_right(days, need.last) - bisect.bisect_left(days, need.first)
