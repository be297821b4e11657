"""`python -m tools.rendered` writes db/rendered: each statement as a fresh install runs it (`make
sql`).
"""

from pathlib import Path

from app.store.database.queries import SQL_DIRECTORY, list_files
from tools.rendered.statements import rendered

_FOLDER: Path = SQL_DIRECTORY / "rendered"

for path in _FOLDER.rglob("*.sql"):
    path.unlink()
for file in list_files():
    target = _FOLDER / f"{file}.sql"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(rendered(file), encoding="utf-8")
