"""Mistakes on the command line, with suggestions."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from typer._click.exceptions import BadParameter, NoSuchOption, UsageError
from typer.core import TyperGroup

from app.domain.wording.nearest import nearest
from app.domain.wording.validation import RejectedValue

if TYPE_CHECKING:
    from typer._click import Command, Context

_OTHER_WORDS: Mapping[str, str] = {
    "audit": "reconcile --kind audit",
    "check": "doctor",
    "heal": "reconcile",
    "help": "--help",
    "init": "migrate",
    "retry": "reconcile --kind retry",
    "run": "reconcile",
    "start": "serve",
    "status": "report",
    "sync": "reconcile",
    "undo": "removed restore",
    "upgrade": "migrate",
    "version": "--version",
}
"""Other tools' words."""
_QUOTED = re.compile(r"'([^']*)'")


class SuggestingGroup(TyperGroup):
    """A group that suggests for unknown commands, options and choices."""

    def invoke(self, ctx: "Context") -> Any:  # noqa: ANN401 - whatever the command gives
        """Run the named command."""
        words = [
            *ctx._protected_args,  # noqa: SLF001 - the words of the command are kept nowhere else
            *ctx.args,
        ]
        try:
            return super().invoke(ctx)
        except UsageError as error:
            _explain(error, words)
            raise

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Read the options before the command."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except UsageError as error:
            _explain(error, words)
            raise

    def resolve_command(
        self, ctx: "Context", args: list[str]
    ) -> "tuple[str | None, Command | None, list[str]]":
        """The command of the first word."""
        try:
            return self._click_resolve_command(ctx, args)
        except NoSuchOption:
            raise
        except UsageError as error:
            error.message = f"No such command {args[0]!r}. {self._meant(ctx, args[0])}"
            raise

    def _meant(self, ctx: "Context", word: str) -> str:
        there = list(self.list_commands(ctx))
        elsewhere = {
            path.split()[-1]: path for path, _ in _commands(ctx.find_root()) if " " in path
        }
        plain = word.lower().replace("_", "-")
        found = (
            plain
            if plain in there
            else elsewhere.get(plain) or (_OTHER_WORDS.get(plain) if ctx.parent is None else None)
        )
        if found is None and (near := nearest(word, [*there, *elsewhere])) is not None:
            found = near if near in there else elsewhere[near]
        return f"Did you mean '{found}'?" if found else f"The commands are: {', '.join(there)}."


def _explain(error: UsageError, words: Sequence[str]) -> None:
    """Suggest, by the `words` after this group."""
    if isinstance(error, NoSuchOption):
        _explain_option(error, words)
    elif isinstance(error, BadParameter):
        _explain_value(error)


def _explain_option(error: NoSuchOption, words: Sequence[str]) -> None:
    context = error.ctx
    if context is None or not error.message.startswith("No such option"):
        return
    # Of a long option with one dash only its first letter is named.
    written = next(
        (
            word
            for word in words
            if word.startswith(error.option_name) and not word.startswith("--")
        ),
        error.option_name,
    )
    option = written.partition("=")[0]
    known = [name for name in _options(context.command) if name.startswith("--")]
    meant = nearest(option, known)
    elsewhere = [
        path
        for path, command in _commands(context.find_root())
        if option in _options(command) and command is not context.command
    ]
    error.possibilities = None
    error.message = f"No such option: {option}."
    if meant is None and elsewhere:
        error.message += (
            f" It is an option of {' and '.join(f'`{path}`' for path in elsewhere)}, and stands"
            " behind that."
        )
    elif meant is not None:
        error.message += f" Did you mean '{meant}'?"
    elif known:
        error.message += f" The options are: {', '.join(known)}."


def _explain_value(error: BadParameter) -> None:
    first = next(iter(getattr(error.__cause__, "errors", list)()), None)
    if first is None:
        return
    rejected = RejectedValue.read(first)
    if rejected.kind == "value_error":
        said = rejected.message.removeprefix("Value error, ")
        quoted = _QUOTED.findall(said)
        meant = nearest(quoted[0], quoted[1:]) if " is not one of " in said and quoted else None
        error.message = f"{said} Did you mean '{meant}'?" if meant else said
    else:
        error.message = f"{rejected.requirement}."


def _options(command: "Command") -> list[str]:
    return [
        name for parameter in command.params for name in parameter.opts if name.startswith("-")
    ] + ["--help"]


def _commands(root: "Context") -> "Iterator[tuple[str, Command]]":
    yield from _below(root.command, "")


def _below(command: "Command", path: str) -> "Iterator[tuple[str, Command]]":
    for name, each in getattr(command, "commands", {}).items():
        words = f"{path} {name}".strip()
        yield words, each
        yield from _below(each, words)
