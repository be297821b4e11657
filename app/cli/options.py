"""Options of several commands."""

import datetime as dt
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer

LARGEST_ID = 2**63 - 1


class ListFormat(StrEnum):
    """How results are written."""

    TABLE = "table"
    JSON = "json"


Format = Annotated[ListFormat, typer.Option("--format", help="For people or for programs.")]
Reason = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Why, for the record; at most 500 characters."),
]
Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[
    int,
    typer.Option(
        min=0, max=65_535, help="The port to listen on; 0: any free one, named in the log."
    ),
]


def moment(value: str) -> dt.datetime:
    """Parse a time with a zone."""
    try:
        parsed = dt.datetime.fromisoformat(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is no time such as 2026-11-28T01:00-05:00") from None
    if parsed.tzinfo is None:
        raise typer.BadParameter(
            f"{value!r} does not say its zone: add Z for UTC, or an offset such as -05:00"
        )
    return parsed


def date_like(example: str) -> Callable[[str], dt.date]:
    """A parser of dates; errors name an example."""

    def parse(text: str) -> dt.date:
        try:
            return dt.date.fromisoformat(text)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is no date such as {example}") from None

    return parse
