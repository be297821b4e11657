"""Streams that outlive their readers."""

import io
from pathlib import Path

import pytest

from app.cli import early_end


@pytest.mark.parametrize("write_through", [False, True])
def test_a_line_of_the_log_is_in_the_file_as_soon_as_it_is_written(
    write_through: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    path = tmp_path / "log"
    with (
        io.TextIOWrapper(path.open("wb"), write_through=write_through) as stream,
        early_end.outlet(stream, by_line=True) as outlet,
    ):
        outlet.write("a line\n")
        assert path.read_text(encoding="utf-8") == "a line\n"
