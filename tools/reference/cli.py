"""docs/reference/cli.md: the help of each command, as a terminal shows it."""

import re
from collections.abc import Iterator

from typer.testing import CliRunner

from app.cli.app import app
from tools.reference.markdown import code, page, table

_WIDTH = "100"
_SUMMARY = re.compile(r"^Usage: .*\n(?: {7}.*\n)*\n  (\S.*(?:\n  \S.*)*)", re.MULTILINE)
_HEAD = """\
Results go to stdout, logs and progress to stderr. Each command has `--help`, which this page shows.
What exit code 1 stands for is told in [outcomes and statuses](outcomes-and-statuses.md)."""


def cli_page() -> str:
    """The page."""
    helps = dict(_helps(()))
    main = helps.pop(())
    rows = [
        [f"[`{' '.join(words)}`](#{_anchor(words)})", _summary(text)]
        for words, text in helps.items()
    ]
    parts = [f"## {code(_title(words))}\n\n```text\n{text}```" for words, text in helps.items()]
    return page(
        "Commands", _HEAD, f"```text\n{main}```", table(("command", "what it does"), rows), *parts
    )


def _helps(words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """A command and those below it, with their help; the list of those below is left out."""
    shown = CliRunner().invoke(
        app,
        [*words, "--help"],
        env={"COLUMNS": _WIDTH, "TERMINAL_WIDTH": _WIDTH},
        prog_name="trade-recon",
    )
    if shown.exit_code:
        raise RuntimeError(shown.output)
    text, _, commands = "".join(
        f"{line.rstrip()}\n" for line in shown.output.splitlines()
    ).partition("\nCommands:\n")
    yield words, text
    for name in re.findall(r"^  (\S+)", commands, re.MULTILINE):
        yield from _helps((*words, name))


def _title(words: tuple[str, ...]) -> str:
    return " ".join(("trade-recon", *words))


def _anchor(words: tuple[str, ...]) -> str:
    return _title(words).replace(" ", "-")


def _summary(text: str) -> str:
    """The first paragraph of a command's help."""
    found = _SUMMARY.search(text)
    if found is None:
        raise RuntimeError(f"no summary in {text!r}")
    return found.group(1)
