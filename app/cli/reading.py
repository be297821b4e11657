"""For commands that only read."""

import contextlib
from typing import TYPE_CHECKING, TypeVar

from app.cli.options import ListFormat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rich.console import Console

    from app.engine.report.views import Readings

_Found = TypeVar("_Found")


@contextlib.asynccontextmanager
async def open_record() -> "AsyncIterator[Readings]":
    """The record, opened for SELECT alone.

    ConfigurationError, DatabaseUnavailable, DatabaseError.
    """
    from app.composition import open_readings, open_store
    from app.settings.load import load_settings

    settings = load_settings()
    async with open_store(settings, only_reads=True) as store:
        yield open_readings(settings, store)


def answer(found: _Found, format_: ListFormat, show: "Callable[[Console, _Found], object]") -> None:
    """Print as JSON or by `show`."""
    from app.cli.output.tables import results_console
    from app.cli.printed import print_json

    if format_ is ListFormat.JSON:
        print_json(found)
    else:
        show(results_console(), found)
