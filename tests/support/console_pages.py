"""Plays the console blocks of a Markdown page: each command runs, and what it prints is what the
page shows.

Run ids, times of day and durations differ from run to run: `Likeness` takes them for equal where
they stand in the same places, and an id of the page for the id that this time has in its place, in
later commands too. Logs are left out, errors are shown.
"""

import functools
import json
import operator
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx2

from tests.support.commands import Command, Ended, run_command

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMPT = "$ "
MORE = "..."
"""A line of a page that stands for any number of lines."""

_ID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_MOVING = (
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?"), "TIME"),
    (re.compile(r"\b\d+(\.\d+)? (s|seconds)\b"), "DURATION"),
    # What waits for the quota asks once more on a busy machine.
    (re.compile(r"\b\d+ requests in DURATION|DURATION and \d+ requests"), "EFFORT"),
    (re.compile(r"^(seconds +)[\d.]+$"), r"\1N"),
    (re.compile(r"TIME +\d+\.\d\b"), "TIME N"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a page, what the page shows below it, and the line where it stands."""

    command: str
    shown: tuple[str, ...]
    line: int


@dataclass(slots=True)
class Likeness:
    """Which id of this time stands for which of the page."""

    ids: dict[str, str] = field(default_factory=dict)

    def translated(self, command: str) -> str:
        """The command with the ids of this time."""
        return _ID.sub(lambda found: self.ids.get(found.group(), found.group()), command)

    def as_shown(self, printed: tuple[str, ...]) -> tuple[str, ...]:
        """What was printed, with the ids of the page where it has them."""
        there = {here: there for there, here in self.ids.items()}
        return tuple(
            _ID.sub(lambda found: there.get(found.group(), found.group()), line) for line in printed
        )

    def differs(self, shown: tuple[str, ...], printed: tuple[str, ...]) -> str | None:
        """How what was printed differs from what the page shows; None if it does not."""
        place = 0
        skipping = False
        for line in shown:
            if line == MORE:
                skipping = True
                continue
            while skipping and place < len(printed) and not self._alike(line, printed[place]):
                place += 1
            if place == len(printed):
                return f"the page shows {line!r}, and no such line was printed"
            if not self._alike(line, printed[place]):
                return f"the page shows {line!r}, and {printed[place]!r} was printed"
            self._learn(line, printed[place])
            skipping = False
            place += 1
        if not skipping and place < len(printed):
            return f"{printed[place]!r} was printed, which the page does not show"
        return None

    def _alike(self, shown: str, printed: str) -> bool:
        if _without_moving(shown) != _without_moving(printed):
            return False
        known = {here: there for there, here in self.ids.items()}
        pairs = zip(_ID.findall(shown), _ID.findall(printed), strict=True)
        return all(
            self.ids.get(there, here) == here and known.get(here, there) == there
            for there, here in pairs
        )

    def _learn(self, shown: str, printed: str) -> None:
        self.ids.update(zip(_ID.findall(shown), _ID.findall(printed), strict=True))


def _without_moving(line: str) -> str:
    line = _ID.sub("ID", line)
    for pattern, stands_for in _MOVING:
        line = pattern.sub(stands_for, line)
    # A duration of another length moves the columns beside it.
    return re.sub(r"\s+", " ", line).strip()


def steps(page: str) -> list[Step]:
    """The commands of a page's console blocks, in order."""
    found: list[Step] = []
    for block in _BLOCK.finditer(page):
        first = page.count("\n", 0, block.start(1)) + 1
        lines = block.group(1).splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith(_PROMPT)]
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            after = start + 1
            command = lines[start].removeprefix(_PROMPT)
            while command.endswith("\\"):
                command = command.removesuffix("\\") + lines[after].strip()
                after += 1
            shown = [line.rstrip() for line in lines[after:end]]
            while shown and not shown[-1]:
                shown.pop()
            found.append(Step(command, tuple(shown), first + start))
    return found


@dataclass(slots=True)
class Shell:
    """Runs the commands of a page in one folder; `variables` are what it exports, and what stands
    for them here.
    """

    folder: Path
    variables: dict[str, str]
    here: Mapping[str, str]
    """Variables whose values on the page are examples, with the values that they have here."""

    async def run(self, command: str) -> tuple[str, ...]:
        """What the command prints: stdout, errors for people, and the exit code where `; echo $?`
        asks for it or it is an error's.
        """
        ordered = command.removesuffix("; echo $?")
        asked, _, filter_ = ordered.partition(" | ")
        words = shlex.split(self._filled(asked))
        match words:
            case ["make", "demo"]:
                return self._printed(
                    await run_command(self.folder, self.variables, "demo"), asked=False
                )
            case ["curl", "-s", *rest]:
                return await _called(rest, filter_)
            case ["export", *pairs]:
                exported = dict(pair.split("=", 1) for pair in pairs)
                self.variables.update(
                    {name: self.here.get(name, value) for name, value in exported.items()}
                )
                return ()
            case ["trade-recon", *rest, "&"]:
                started = await Command.start(self.folder, self.variables, *rest)
                await started.line_with("serves")
                return ()
            case ["psql", "-q", dsn, "-c", sql]:
                connection = await asyncpg.connect(dsn)
                try:
                    await connection.execute(sql)
                finally:
                    await connection.close()
                return ()
            case ["trade-recon", *rest]:
                return self._printed(
                    await run_command(self.folder, self.variables, *rest), asked=ordered != command
                )
            case _:
                raise AssertionError(f"pages have no such command: {command}")

    def _printed(self, ended: Ended, *, asked: bool) -> tuple[str, ...]:
        errors = [line for line in ended.stderr.splitlines() if line.startswith("trade-recon: ")]
        printed = [*(line.rstrip() for line in ended.stdout.splitlines()), *errors]
        while printed and not printed[-1]:
            printed.pop()
        if asked:
            return (*printed, str(ended.code))
        # A page that does not ask for the code promises success: it shows no such line.
        return (*printed, f"(exit code {ended.code})") if ended.code else tuple(printed)

    def _filled(self, command: str) -> str:
        return re.sub(r"\$([A-Z_]+)", lambda found: self.variables[found.group(1)], command)


async def _called(words: Sequence[str], filter_: str) -> tuple[str, ...]:
    """What curl prints of a call, through `jq` where the page has it: `jq` alone, with one field or
    with several.
    """
    options = {
        words[place]: words[place + 1] for place, word in enumerate(words) if word.startswith("-")
    }
    [url] = [
        word
        for place, word in enumerate(words)
        if not word.startswith("-") and (place == 0 or not words[place - 1].startswith("-"))
    ]
    headers = dict(value.split(": ", 1) for word, value in options.items() if word == "-H")
    async with httpx2.AsyncClient() as client:
        answer = await client.request(
            options.get("-X", "GET"), url, content=options.get("-d"), headers=headers
        )
    match shlex.split(filter_):
        case []:
            return tuple(answer.text.splitlines())
        case ["jq"]:
            shown = answer.json()
        case ["jq", names] if names.startswith("{"):
            whole = answer.json()
            shown = {name: whole[name] for name in names.strip("{}").split(", ")}
        case ["jq", path]:
            shown = functools.reduce(
                operator.getitem, path.removeprefix(".").split("."), answer.json()
            )
        case _:
            raise AssertionError(f"pages have no such filter: {filter_}")
    return tuple(json.dumps(shown, indent=2, ensure_ascii=False).splitlines())


def with_outputs(page: str, printed: Mapping[int, tuple[str, ...]]) -> str:
    """The page with what each command, by its line, printed this time in place of what it shows."""
    lines = page.splitlines()
    result: list[str] = []
    by_line = {step.line: step for step in steps(page)}
    number = 0
    while number < len(lines):
        step = by_line.get(number + 1)
        result.append(lines[number])
        number += 1
        if step is None:
            continue
        while result[-1].endswith("\\"):
            result.append(lines[number])
            number += 1
        result.extend(printed[step.line])
        blank = 0
        while lines[number] != "```" and not lines[number].startswith(_PROMPT):
            blank = 0 if lines[number].strip() else blank + 1
            number += 1
        result.extend([""] * blank)
    return "\n".join(result) + "\n"
