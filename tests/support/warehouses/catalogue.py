"""The catalogue of a warehouse's raw tables as data that can be compared: everything that a
migration might have changed.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from app.domain.contract.tables import TABLES

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
    (
        "SELECT r.ev_class, 'rule', pg_get_ruledef(r.oid) FROM raw JOIN pg_rewrite AS r ON"
        " r.ev_class = raw.oid"
    ),
    (
        "SELECT s.stxrelid, 'statistics', pg_get_statisticsobjdef(s.oid) FROM raw JOIN"
        " pg_statistic_ext AS s ON s.stxrelid = raw.oid"
    ),
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
    """Columns, types, defaults, constraints, indexes, triggers, policies, owners, rights, comments
    and bounds of all raw tables.
    """
    found: dict[str, set[str]] = defaultdict(set)
    union = " UNION ALL ".join(_LINES)
    statement = (
        f"{_RAW} SELECT relation::regclass::text AS name, what, line FROM ({union}) AS lines"
    )
    for row in await connection.fetch(statement, schema, [table.name for table in TABLES.values()]):
        found[row["name"].rpartition(".")[2].strip('"')].add(f"{row['what']} {row['line']}")
    return {name: frozenset(lines) for name, lines in found.items()}


async def dump_objects(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> frozenset[tuple[object, ...]]:
    """Every relation, function and schema of the database that is not PostgreSQL's own."""
    return frozenset(tuple(row) for row in await connection.fetch(_OBJECTS))


_SCHEMA_LINES = (
    """
    SELECT c.relname::text AS name, json_build_array('relation', c.relkind, c.relpersistence, c.relowner::regrole,
        ARRAY(SELECT unnest(c.reloptions) ORDER BY 1),
        c.relrowsecurity, obj_description(c.oid, 'pg_class'), pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid),
        CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
        ARRAY(SELECT concat_ws(' ', a.grantee::regrole, a.privilege_type, a.is_grantable)
              FROM aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) AS a
              ORDER BY 1))::text AS line
    FROM pg_class AS c WHERE c.relnamespace = quote_ident($1)::regnamespace AND c.relkind <> 'c'
    """,
    """
    SELECT c.relname, json_build_array('column', row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), a.attname,
        format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid), a.attoptions,
        a.attstattarget, a.attacl, a.attcollation::regcollation, a.attstorage, a.attcompression, col_description(c.oid, a.attnum))::text
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relnamespace = quote_ident($1)::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
    """,
    """
    SELECT c.relname, json_build_array('constraint', k.conname, pg_get_constraintdef(k.oid), k.convalidated,
        obj_description(k.oid, 'pg_constraint'))::text
    FROM pg_class AS c JOIN pg_constraint AS k ON k.conrelid = c.oid WHERE c.relnamespace = quote_ident($1)::regnamespace
    """,
    (
        "SELECT tablename, json_build_array('index', indexdef)::text FROM pg_indexes WHERE"
        " schemaname = $1"
    ),
    """
    SELECT c.relname, json_build_array('trigger', pg_get_triggerdef(t.oid), t.tgenabled)::text
    FROM pg_class AS c JOIN pg_trigger AS t ON t.tgrelid = c.oid AND NOT t.tgisinternal
    WHERE c.relnamespace = quote_ident($1)::regnamespace
    """,
    """
    SELECT c.relname, json_build_array('policy', p.polname, p.polpermissive, p.polcmd, pg_get_expr(p.polqual, p.polrelid))::text
    FROM pg_class AS c JOIN pg_policy AS p ON p.polrelid = c.oid WHERE c.relnamespace = quote_ident($1)::regnamespace
    """,
    """
    SELECT p.proname, json_build_array('function', CASE p.prokind WHEN 'a' THEN '' ELSE pg_get_functiondef(p.oid) END, p.proowner::regrole,
        obj_description(p.oid, 'pg_proc'),
        ARRAY(SELECT concat_ws(' ', a.grantee::regrole, a.privilege_type)
              FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a ORDER BY 1))::text
    FROM pg_proc AS p WHERE p.pronamespace = quote_ident($1)::regnamespace
    """,
    """
    SELECT n.nspname, json_build_array('schema', n.nspowner::regrole,
        ARRAY(SELECT concat_ws(' ', a.grantee::regrole, a.privilege_type)
              FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a ORDER BY 1))::text
    FROM pg_namespace AS n WHERE n.nspname = $1
    """,
    """
    SELECT c.relname, json_build_array('sequence', q.seqtypid::regtype, q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache,
        q.seqcycle)::text
    FROM pg_class AS c JOIN pg_sequence AS q ON q.seqrelid = c.oid WHERE c.relnamespace = quote_ident($1)::regnamespace
    """,
    """
    SELECT c.relname, json_build_array('identity of replicas', c.relreplident)::text
    FROM pg_class AS c WHERE c.relnamespace = quote_ident($1)::regnamespace AND c.relkind IN ('r', 'p')
    """,
    """
    SELECT s.stxname, json_build_array('statistics', pg_get_statisticsobjdef(s.oid))::text FROM pg_statistic_ext AS s
    WHERE s.stxnamespace = quote_ident($1)::regnamespace
    """,
)


async def dump_schema(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> Dump:
    """Everything that the schema holds, with owners, rights, comments and definitions, by the name
    of the relation or function.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for lines in _SCHEMA_LINES:
        for name, line in await connection.fetch(lines, schema):
            found[name].add(line)
    return {name: frozenset(lines) for name, lines in found.items()}
