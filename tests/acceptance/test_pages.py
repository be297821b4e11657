"""Pages of the documentation whose commands print what the pages show.

`REWRITE_PAGES=1` puts what is printed now into the pages: read the difference before it is committed.
"""

import os
import socket
from pathlib import Path

import pytest

from tests.commands import ROOT
from tests.conftest import Server
from tests.console_pages import MORE, Likeness, Shell, steps, with_outputs
from tests.warehouses.building import new_database

_DAY = "2026-03-10"
"""The day on which the pages play, whatever the tests' day is."""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize("name", ["guides/a-day.md"])
async def test_the_commands_of_a_page_print_what_it_shows(name: str, postgres: Server, tmp_path: Path) -> None:
    path = ROOT / "docs" / name
    page = path.read_text(encoding="utf-8")
    printed: dict[int, tuple[str, ...]] = {}
    wrong: list[str] = []
    likeness = Likeness()
    port = _free_port()
    async with new_database(postgres, "public") as place:
        here = {"DATABASE_URL": place.owner.dsn, "RISK_API_BASE_URL": f"http://127.0.0.1:{port}"}
        run = Shell(tmp_path, {"TEST_TODAY": _DAY}, here)
        for step in steps(page):
            command = likeness.translated(step.command)
            said = await run.run(command.replace("--port 8100", f"--port {port}"))
            difference = likeness.differs(step.shown, said)
            # What the page leaves out stays left out; all else is written as one run of it printed it.
            printed[step.line] = step.shown if difference is None and MORE in step.shown else said
            if difference is not None:
                wrong.append(f"{path.name}:{step.line}: {step.command}\n  {difference}")
    if os.environ.get("REWRITE_PAGES"):
        path.write_text(with_outputs(page, printed), encoding="utf-8")
    assert not wrong, "\n".join(wrong)
