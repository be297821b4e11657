"""Pages of the documentation whose commands print what the pages show.

`REWRITE_PAGES=1` puts what is printed now in place of what differs: read the difference before it
is committed.
"""

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import Server
from tests.support.commands import ROOT
from tests.support.console_pages import Likeness, Shell, steps, with_outputs
from tests.support.warehouses.building import new_database

_DAY = "2026-03-10"
"""The day on which the pages play, whatever the tests' day is."""


_SANDBOX = "trade-recon sandbox --accounts 40 --seed 7 --port 8100 &"
"""The upstream of each page; one that does not start it itself has it running."""


def _moved(command: str, ports: Mapping[str, str]) -> str:
    """The command with free ports in place of those of the page."""
    return re.sub(
        r"(?<=--port )\d+|(?<=127\.0\.0\.1:)\d+", lambda port: ports[port.group()], command
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize("name", ["README.md", "docs/quickstart.md", "docs/guides/a-day.md"])
async def test_the_commands_of_a_page_print_what_it_shows(
    name: str, postgres: Server, tmp_path: Path
) -> None:
    path = ROOT / name
    page = path.read_text(encoding="utf-8")
    printed: dict[int, tuple[str, ...]] = {}
    wrong: list[str] = []
    likeness = Likeness()
    ports = {"8000": str(_free_port()), "8100": str(_free_port())}
    async with new_database(postgres, "public") as place:
        here = {
            "DATABASE_URL": place.owner.dsn,
            "RISK_API_BASE_URL": f"http://127.0.0.1:{ports['8100']}",
        }
        run = Shell(tmp_path, {"TEST_TODAY": _DAY}, here)
        if _SANDBOX not in page:
            await run.run(_moved(_SANDBOX, ports))
        for step in steps(page):
            said = await run.run(_moved(likeness.translated(step.command), ports))
            difference = likeness.differs(step.shown, said)
            printed[step.line] = step.shown if difference is None else likeness.as_shown(said)
            if difference is not None:
                wrong.append(f"{path.name}:{step.line}: {step.command}\n  {difference}")
    if os.environ.get("REWRITE_PAGES"):
        path.write_text(with_outputs(page, printed), encoding="utf-8")
    assert not wrong, "\n".join(wrong)
