"""The machine's clock."""

import datetime as dt


def now() -> dt.datetime:
    """The time in UTC."""
    return dt.datetime.now(dt.UTC)
