"""Names that users hold on to stay: commands, HTTP, SQL objects, issue codes, settings, metrics, log
actions.
"""

from pathlib import Path

from tests.support.public_names import public_names

_COMMITTED = Path(__file__).parent / "public_names.txt"


def test_public_names_are_those_of_the_list() -> None:
    listed = _COMMITTED.read_text(encoding="utf-8").splitlines()
    assert public_names() == listed, "names that go away break users; new ones go into the list"
