"""db/rendered shows the statements as a fresh install runs them (`make sql`): a reviewer reads SQL
and its changes, whatever composes it.
"""

import pytest

from app.store.database.queries import SQL_DIRECTORY, list_files
from tools.rendered.statements import rendered

_FOLDER = SQL_DIRECTORY / "rendered"


@pytest.mark.parametrize("file", list_files())
def test_a_rendered_file_is_what_the_code_composes(file: str) -> None:
    committed = (_FOLDER / f"{file}.sql").read_text(encoding="utf-8")
    assert committed == rendered(file), "run `make sql`"


def test_nothing_else_is_rendered() -> None:
    written = {
        path.relative_to(_FOLDER).with_suffix("").as_posix() for path in _FOLDER.rglob("*.sql")
    }
    assert written == set(list_files())
