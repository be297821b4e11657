import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from app.web.app import INTERFACE_VERSION

ROOT = Path(__file__).parents[2]
_REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))


def _run(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def tracked() -> dict[str, str]:
    """The text of every file that git tracks or would track."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    names = _run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    paths = {name: ROOT / name for name in names if name and (ROOT / name).is_file()}
    return {
        name: path.read_text(encoding="utf-8", errors="replace") for name, path in paths.items()
    }


def test_no_file_names_a_path_of_the_machine_it_was_written_on(tracked: dict[str, str]) -> None:
    machine_path = re.compile(r"(?<![\w.}/-])/(?:home|root|tmp|Users|work)/\w+/")
    assert [name for name, text in tracked.items() if machine_path.search(text)] == []


def test_no_file_names_a_package_index(tracked: dict[str, str]) -> None:
    index = re.compile(
        "|".join(
            (
                r"^\s*--(?:extra-)?index",
                r"^\s*--find-links",
                "^index-" + "url",
                "files.python" + "hosted",
            )
        ),
        re.MULTILINE,
    )
    assert [name for name, text in tracked.items() if index.search(text)] == []
    assert "uv.lock" not in tracked


def test_there_are_requirements_for_each_purpose() -> None:
    assert [path.stem for path in _REQUIREMENTS] == ["build", "dev", "runtime", "uv"]


@pytest.mark.parametrize("path", _REQUIREMENTS, ids=lambda path: path.stem)
def test_every_requirement_is_pinned_and_carries_hashes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "://" not in text
    requirements = re.split(
        r"\n(?=[A-Za-z0-9])", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).strip()
    )
    for requirement in requirements:
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+ ", requirement)
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement)


def test_what_runs_in_the_image_is_what_was_tested() -> None:
    pins = {
        path.stem: set(re.findall(r"^[\w.-]+==\S+", path.read_text(encoding="utf-8"), re.MULTILINE))
        for path in _REQUIREMENTS
    }
    assert pins["runtime"] <= pins["dev"]
    assert pins["build"] <= pins["dev"]


def test_make_alone_lists_the_targets() -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    listed = {line.split()[1] for line in _run("make", "--no-print-directory").splitlines()}
    assert {
        "demo",
        "test",
        "install",
        "serve",
        "fmt",
        "help",
        "lock",
        "lint",
        "clean",
        "openapi",
    } <= listed


def test_neither_git_nor_the_image_gets_the_env_file() -> None:
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()[1] == "*"
    assert "/.env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_version_stands_in_one_place_and_the_interface_has_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == INTERFACE_VERSION
