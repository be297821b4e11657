"""Consoles and tables."""

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

_PLAIN_WIDTH = 150
_WIDE = 240
_ID_WIDTH = 40


def results_console() -> Console:
    """Stdout, wide without a terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


def widened_console() -> Console:
    """Stdout, wide enough for whole ids."""
    console = results_console()
    if not console.is_terminal:
        console.width = _WIDE
    return console


def plain_table(title: str, *columns: str) -> Table:
    """Columns named with `#` hold figures; they and the first do not wrap."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for place, column in enumerate(columns):
        justify: JustifyMethod = "right" if column.startswith("#") else "left"
        table.add_column(
            column.removeprefix("#"), justify=justify, no_wrap=place == 0 or column.startswith("#")
        )
    return table


def id_cell(account_id: str) -> str:
    """An account id in bounded lines."""
    lines = [
        account_id[place : place + _ID_WIDTH] for place in range(0, len(account_id), _ID_WIDTH)
    ]
    return escape("\n".join(lines))


def add_figure(table: Table, name: str, figure: int) -> None:
    """A row, unless the figure is 0."""
    if figure:
        table.add_row(name, str(figure))
