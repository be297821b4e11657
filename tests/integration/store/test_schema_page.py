"""docs/reference/schema.md names what migrations make, and nothing else."""

import re
from pathlib import Path

from tests.conftest import Database

_PAGE = Path(__file__).parents[3] / "docs" / "reference" / "schema.md"
_MADE = """
SELECT relname FROM pg_class
WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition
UNION
SELECT proname FROM pg_proc WHERE pronamespace = $1::regnamespace
"""
_NAME = re.compile(r"`((?:raw|recon|trade|v|mv|get|update)_\w+)`")


async def test_the_page_on_the_schema_names_each_table_view_and_function(
    database: Database,
) -> None:
    async with database.connect() as connection:
        made = {row["relname"] for row in await connection.fetch(_MADE, database.schema)}
    named = set(_NAME.findall(_PAGE.read_text(encoding="utf-8"))) - {"reconciliation_status"}
    assert sorted(made - named) == []
    assert sorted(name for name in named - made if name != "trades_recon_checksum") == []
