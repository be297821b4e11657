"""`python -m tools.reference` writes the pages of docs/reference that are made from the code (`make
docs`).
"""

from pathlib import Path

from tools.reference.pages import PAGES

_FOLDER = Path(__file__).parents[2] / "docs" / "reference"

for name, made in PAGES.items():
    (_FOLDER / name).write_text(made(), encoding="utf-8")
