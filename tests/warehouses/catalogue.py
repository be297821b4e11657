"""The catalogue of a warehouse's raw tables as data that can be compared: everything that a migration might have changed."""

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from app.domain.contract import TABLES

if TYPE_CHECKING:
    import asyncpg

Dump = Mapping[str, frozenset[str]]
"""Lines about each table and each partition, by its name."""

_RAW = """
WITH RECURSIVE raw AS (
    SELECT c.oid FROM pg_class AS c WHERE c.relnamespace = quote_ident($1)::regnamespace AND c.relname = ANY($2::text[])
    UNION
    SELECT i.inhrelid FROM pg_inherits AS i JOIN raw ON raw.oid = i.inhparent
)
"""
_LINES = (
    """
    SELECT c.oid AS relation, 'table' AS what, json_build_array(c.relkind, c.relpersistence, c.relowner::regrole, c.relacl,
        c.relrowsecurity, c.relforcerowsecurity, c.relreplident, c.reloptions,
        pg_get_expr(c.relpartbound, c.oid), pg_get_partkeydef(c.oid), c.reltablespace,
        obj_description(c.oid, 'pg_class'), (SELECT array_agg(inhparent::regclass) FROM pg_inherits WHERE inhrelid = c.oid),
        (SELECT array_agg(pubname ORDER BY 1) FROM pg_publication_tables WHERE schemaname = $1 AND tablename = c.relname))::text AS line
    FROM raw JOIN pg_class AS c USING (oid)
    """,
    """
    SELECT a.attrelid, 'column', json_build_array(a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
        a.attgenerated, a.attisdropped, pg_get_expr(d.adbin, d.adrelid), a.attcollation, a.attstorage, a.attcompression, a.attoptions,
        a.attstattarget, a.attacl, a.attislocal, col_description(a.attrelid, a.attnum))::text
    FROM raw JOIN pg_attribute AS a ON a.attrelid = raw.oid LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0
    """,
    """
    SELECT k.conrelid, 'constraint', json_build_array(k.conname, pg_get_constraintdef(k.oid), k.convalidated, k.condeferrable,
        k.condeferred, k.conislocal, k.connoinherit, obj_description(k.oid, 'pg_constraint'))::text
    FROM raw JOIN pg_constraint AS k ON k.conrelid = raw.oid
    """,
    """
    SELECT i.indrelid, 'index', json_build_array(pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisready, i.indisclustered,
        i.indisreplident, i.indisprimary, obj_description(i.indexrelid, 'pg_class'))::text
    FROM raw JOIN pg_index AS i ON i.indrelid = raw.oid
    """,
    """
    SELECT t.tgrelid, 'trigger', json_build_array(pg_get_triggerdef(t.oid), t.tgenabled)::text
    FROM raw JOIN pg_trigger AS t ON t.tgrelid = raw.oid WHERE NOT t.tgisinternal
    """,
    """
    SELECT p.polrelid, 'policy', json_build_array(p.polname, p.polpermissive, p.polcmd, p.polroles,
        pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))::text
    FROM raw JOIN pg_policy AS p ON p.polrelid = raw.oid
    """,
    "SELECT r.ev_class, 'rule', pg_get_ruledef(r.oid) FROM raw JOIN pg_rewrite AS r ON r.ev_class = raw.oid",
    "SELECT s.stxrelid, 'statistics', pg_get_statisticsobjdef(s.oid) FROM raw JOIN pg_statistic_ext AS s ON s.stxrelid = raw.oid",
)
_OBJECTS = """
SELECT 'relation', c.oid::bigint, c.relname, c.relkind::text, c.relfilenode::bigint, c.relacl::text FROM pg_class AS c
WHERE c.relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
UNION ALL
SELECT 'function', p.oid::bigint, p.proname, p.prosrc, 0, p.proacl::text FROM pg_proc AS p
WHERE p.pronamespace::regnamespace::text !~ '^(pg_|information_schema)'
UNION ALL
SELECT 'schema', n.oid::bigint, n.nspname, '', 0, n.nspacl::text FROM pg_namespace AS n WHERE n.nspname !~ '^pg_'
"""


async def dump_raw_tables(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> Dump:
    """Columns, types, defaults, constraints, indexes, triggers, policies, owners, rights, comments and bounds of all raw tables."""
    found: dict[str, set[str]] = defaultdict(set)
    union = " UNION ALL ".join(_LINES)
    statement = f"{_RAW} SELECT relation::regclass::text AS name, what, line FROM ({union}) AS lines"
    for row in await connection.fetch(statement, schema, [table.name for table in TABLES.values()]):
        found[row["name"].rpartition(".")[2].strip('"')].add(f"{row['what']} {row['line']}")
    return {name: frozenset(lines) for name, lines in found.items()}


async def dump_objects(connection: "asyncpg.Connection[asyncpg.Record]") -> frozenset[tuple[object, ...]]:
    """Every relation, function and schema of the database that is not PostgreSQL's own."""
    return frozenset(tuple(row) for row in await connection.fetch(_OBJECTS))
