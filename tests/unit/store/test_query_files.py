"""Each file of db/queries belongs to the module of the same path: app/store/apply/parts.py alone
loads db/queries/apply/parts.sql, and uses every statement of it.
"""

import ast
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import app
from app.store.database.queries import SQL_DIRECTORY, WRITTEN_SCHEMA, list_files, load_queries

_APP = Path(app.__file__).parent


@cache
def _loads() -> dict[str, set[str]]:
    """The modules of the store that load a file."""
    found: dict[str, set[str]] = {}
    for path in _APP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="queries") | ast.Name(id="load_queries"),
                    args=[ast.Constant(value=str(file)), *_],
                ):
                    module = path.relative_to(_APP / "store").with_suffix("").as_posix()
                    found.setdefault(file, set()).add(module)
    return found


def _texts(file: str) -> set[str]:
    tree = ast.parse((_APP / "store" / f"{file}.py").read_text(encoding="utf-8"))
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.parametrize("file", list_files())
def test_a_file_of_queries_is_loaded_by_the_module_of_its_path_alone(file: str) -> None:
    assert _loads().get(file) == {file}


@pytest.mark.parametrize("file", list_files())
def test_each_statement_of_a_file_is_used_by_its_module(file: str) -> None:
    assert set(load_queries(file, WRITTEN_SCHEMA)) <= _texts(file)


def test_no_file_of_queries_gives_a_name_twice() -> None:
    """The name would silently stand for the second one."""
    for file in list_files():
        text = (SQL_DIRECTORY / "queries" / f"{file}.sql").read_text(encoding="utf-8")
        names = Counter(line for line in text.splitlines() if line.startswith("-- name: "))
        assert [name for name, times in names.items() if times > 1] == [], file
