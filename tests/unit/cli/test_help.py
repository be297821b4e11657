from collections.abc import Iterator

import pytest
import typer
from typer._click import Command
from typer.testing import CliRunner

from app.cli.app import app

_LONGEST = 55


def _groups(command: Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    below = getattr(command, "commands", {})
    if below:
        yield words
    for name, each in below.items():
        yield from _groups(each, (*words, name))


@pytest.mark.parametrize("words", list(_groups(typer.main.get_command(app))), ids=" ".join)
def test_the_list_of_commands_cuts_no_summary_off(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"}).output
    summaries = [
        line.split(maxsplit=1)[1] for line in shown.partition("Commands:\n")[2].splitlines()
    ]
    assert summaries
    assert [each for each in summaries if each.endswith("...") or len(each) > _LONGEST] == []
