"""The day on which all tests play: worlds end on it, services believe in it, and the machine's own
date decides nothing.

`TEST_TODAY` (2028-02-29) names another day; `make test-dates` sets it, and the machine's clock with
it.
"""

import datetime as dt
import os


def _noon() -> dt.datetime:
    return dt.datetime.combine(
        dt.date.fromisoformat(os.environ.get("TEST_TODAY") or "2026-03-10"), dt.time(12), dt.UTC
    )


NOW = _noon()
TODAY = NOW.date()
SETTLED = TODAY - dt.timedelta(days=3)
"""The newest date on which nothing moves any more, whatever hours a day takes to settle here."""


def now() -> dt.datetime:
    """The clock of the services under test, which stands still.

    Leases, waits and records go by the database's own.
    """
    return NOW


def environments_now() -> dt.datetime:
    """The same in a process that another one was forked into, by its own environment."""
    return _noon()
