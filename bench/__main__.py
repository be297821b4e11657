"""Every benchmark on a warehouse of a chosen size and on one a tenth as large, in one table: `make bench`, or `python -m bench`.

The warehouses are made by SQL in `--folder` and stay there: what was interrupted goes on where it was. Each part prints what it
measured when it is done. `--only` takes the names of parts; `--sizes 1` leaves the smaller warehouse out.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench import apply, claims, detection, memory, report, requests
from bench.table import Ratio

_REQUESTS_ACCOUNTS = 1500
"""The sandbox's world, which the requests are counted in, is made in Python: it does not grow further."""


@dataclass(frozen=True, slots=True)
class Size:
    """A warehouse to measure on: so many accounts, behind this DSN."""

    accounts: int
    dsn: str


_PARTS: dict[str, Callable[[Size], Awaitable[list[Ratio]]]] = {
    "detection": lambda size: detection.measure(size.dsn, size.accounts),
    "apply": lambda size: apply.measure(size.accounts),
    "requests": lambda size: requests.measure(min(size.accounts, _REQUESTS_ACCOUNTS)),
    "claims": lambda size: claims.measure(size.accounts),
    "report": lambda size: report.measure(size.accounts),
    "memory": lambda size: memory.measure(size.accounts),
}
