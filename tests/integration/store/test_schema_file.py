"""db/schema.sql is what the migrations make of an empty database."""

import os
import re
from pathlib import Path

import pytest

from tests.conftest import Database
from tools.schema.dump import dump_schema

_FILE = Path(__file__).parents[3] / "db" / "schema.sql"


@pytest.mark.skipif(
    "TEST_DATABASE_URL" in os.environ, reason="other versions of PostgreSQL print it otherwise"
)
def test_the_schema_file_is_what_migrations_make(database: Database) -> None:
    assert _FILE.read_text(encoding="utf-8") == dump_schema(database.dsn), "run `make schema`"


def test_the_map_at_the_head_names_each_table_and_view() -> None:
    text = _FILE.read_text(encoding="utf-8")
    made = set(re.findall(r"^CREATE (?:UNLOGGED )?TABLE \w+\.(\w+)", text, re.MULTILINE))
    made |= set(re.findall(r"^CREATE (?:MATERIALIZED )?VIEW \w+\.(\w+)", text, re.MULTILINE))
    head = text[: text.index("CREATE SCHEMA")]
    assert {name for name in made if not re.search(rf"\b{name}\b", head)} == {
        "recon_migrations",
        "recon_definitions",
    }
