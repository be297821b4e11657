"""The files of db/migrations, and which of them a database lacks.

The files of ``0200_baseline/`` make the whole schema in a database without it. ``replaced/`` keeps
the migrations whose work the baseline does, for databases that were migrated before it: those lack
some of them, or none, and the baseline is only recorded. Files beside the folders follow on both
ways. The record has the same names on both: the replaced ones, the baseline, the later ones.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from app.store.database.queries import SQL_DIRECTORY, for_schema

BASELINE = "0200_baseline"
_FOLDER = SQL_DIRECTORY / "migrations"
_CREATES = re.compile(r"^-- creates: (\w+)$", re.MULTILINE)


def baseline_files() -> list[Path]:
    """The files that make the schema, in order."""
    return sorted((_FOLDER / BASELINE).glob("*.sql"))


def replaced_files() -> list[Path]:
    """The migrations whose work the baseline does."""
    return sorted((_FOLDER / "replaced").glob("*.sql"))


def later_files() -> list[Path]:
    """The migrations after the baseline."""
    return sorted(_FOLDER.glob("*.sql"))


def names_of_baseline() -> list[str]:
    """The names that the record gets where the baseline was run."""
    return [*(path.stem for path in replaced_files()), BASELINE]


def steps() -> Mapping[str, Path | None]:
    """Each migration of a database that was migrated before, in order; the baseline has no file
    there.
    """
    return {
        **{path.stem: path for path in replaced_files()},
        BASELINE: None,
        **{path.stem: path for path in later_files()},
    }


def lacking(applied: Collection[str] | None) -> list[str]:
    """The migrations that a database lacks; `applied`: those of its record, None without one."""
    if applied is None:
        return [BASELINE, *(path.stem for path in later_files())]
    return [name for name in steps() if name not in applied]


def newer(applied: Collection[str] | None) -> list[str]:
    """Recorded migrations of a newer trade-recon than this one."""
    newest = [*steps()][-1]
    return sorted(name for name in applied or () if name > newest)


def statements_of(path: Path, schema: str) -> tuple[str, str | None]:
    """The SQL of a file for `schema`, and the table of the user's warehouse that it makes, which
    may stand there already.
    """
    sql = for_schema(path.read_text(encoding="utf-8"), schema)
    creates = _CREATES.search(sql)
    return sql, creates.group(1) if creates else None


def subject(name: str) -> str:
    """The name of a migration without its number."""
    return name.partition("_")[2]
