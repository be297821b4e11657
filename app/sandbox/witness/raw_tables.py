"""The raw tables of one warehouse."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.domain.contract.tables import TABLES, Endpoint, Table
from app.sandbox.witness.columns import RowReader
from app.sandbox.witness.raw_sql import quoted

if TYPE_CHECKING:
    import asyncpg

_COLUMNS = """
SELECT column_name::text AS name, is_nullable = 'YES' AS nullable,
       is_generated = 'NEVER' AND coalesce(identity_generation, '') <> 'ALWAYS' AS writable,
       CASE
           WHEN data_type = 'numeric' AND numeric_precision IS NOT NULL
             THEN format('numeric(%s,%s)', numeric_precision, numeric_scale)
           WHEN data_type = 'USER-DEFINED' THEN format('%I.%I', udt_schema, udt_name)
           WHEN data_type IN ('character varying', 'character') THEN 'text'
           ELSE data_type
       END AS type,
       (
           SELECT array_agg(label.enumlabel::text)
           FROM pg_enum AS label
           JOIN pg_type AS kind ON kind.oid = label.enumtypid
           WHERE kind.typname = udt_name
             AND kind.typnamespace = quote_ident(udt_schema)::regnamespace
       ) AS labels
FROM information_schema.columns
WHERE table_schema = $1 AND table_name = $2
ORDER BY ordinal_position
"""


@dataclass(frozen=True, slots=True)
class RawTable:
    """Writable columns have types below domains."""

    table: Table
    target: str
    types: Mapping[str, str]
    nullable: frozenset[str]
    reader: RowReader

    @property
    def api_columns(self) -> list[str]:
        """API columns, and the account id."""
        wanted = dict.fromkeys([*(field.column for field in self.table.fields), "account_id"])
        return [column for column in wanted if column in self.types]

    def same_key(self, left: str, right: str) -> str:
        """NULL equals NULL."""
        return " AND ".join(
            f"{left}.{quoted(column)} {'IS NOT DISTINCT FROM' if column in self.nullable else '='}"
            f" {right}.{quoted(column)}"
            for column in self.table.key
        )


async def read_table(
    connection: "asyncpg.Connection[asyncpg.Record]", schema: str, endpoint: Endpoint
) -> RawTable:
    """The raw table as the connection's role sees it."""
    table = TABLES[endpoint]
    rows = await connection.fetch(_COLUMNS, schema, table.name)
    written = [row for row in rows if row["writable"]]
    types = {row["name"]: row["type"] for row in written}
    labels = {row["name"]: frozenset(row["labels"]) for row in written if row["labels"] is not None}
    nullable = frozenset(row["name"] for row in rows if row["nullable"])
    target = f"{quoted(schema)}.{quoted(table.name)}"
    return RawTable(table, target, types, nullable, RowReader(endpoint, types, labels))
