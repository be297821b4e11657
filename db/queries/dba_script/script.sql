-- name: describe_place
-- The server's version, the database, the schema and its owner (null: no such schema).
SELECT
    current_setting('server_version_num')::integer AS version,
    current_database()::text AS database,
    (SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE nspname = 'prop_trading_model')
        AS schema_owner

-- name: list_tables
-- Those of the tables $1 that exist, each with all its partitions; a partition names its parent by
-- oid. Takes no lock on them.
WITH RECURSIVE tree AS (
    SELECT c.oid, c.oid AS root, NULL::oid AS parent
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'prop_trading_model' AND c.relname = ANY($1::text[])
        AND c.relkind IN ('r', 'p')
    UNION ALL
    SELECT i.inhrelid, tree.root, i.inhparent
    FROM tree
    JOIN pg_class AS c ON c.oid = tree.oid AND c.relkind = 'p'
    JOIN pg_inherits AS i ON i.inhparent = tree.oid AND NOT i.inhdetachpending
)
SELECT
    tree.oid, tree.parent, n.nspname::text AS schema, c.relname::text AS name,
    c.relkind::text AS kind,
    pg_get_userbyid(c.relowner)::text AS owner, c.relrowsecurity AS has_row_security,
    ARRAY(SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0
        AND NOT a.attisdropped ORDER BY a.attnum) AS columns
FROM tree
JOIN pg_class AS c ON c.oid = tree.oid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY n.nspname, c.relname

-- name: list_indexes
-- The indexes of the tables $1. Plain: on columns alone, compared as the columns themselves are.
SELECT
    i.indexrelid AS oid, i.indrelid AS "table", n.nspname::text AS schema, c.relname::text AS name,
    up.inhparent AS parent,
    i.indisvalid AND i.indisready AND i.indislive AS is_valid,
    i.indisunique AS is_unique,
    am.amname::text AS method,
    i.indexprs IS NULL AND NOT i.indisexclusion
        AND NOT EXISTS (
            SELECT FROM unnest(i.indclass::oid[]) AS used (oid)
            JOIN pg_opclass AS o ON o.oid = used.oid
            WHERE NOT EXISTS
                (SELECT FROM pg_opclass AS usual WHERE usual.opcfamily = o.opcfamily
                AND usual.opcdefault)
        )
        AND NOT EXISTS (
            SELECT FROM unnest(i.indkey::smallint[], i.indcollation::oid[])
                AS k (number, collation_oid)
            JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
            WHERE k.collation_oid <> a.attcollation
        ) AS is_plain,
    ARRAY(
        SELECT a.attname::text
        FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (number, place)
        JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
        ORDER BY k.place
    ) AS columns,
    i.indnkeyatts::integer AS key_length,
    pg_get_expr(i.indpred, i.indrelid) AS condition
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_am AS am ON am.oid = c.relam
LEFT JOIN pg_inherits AS up ON up.inhrelid = i.indexrelid
WHERE i.indrelid = ANY($1::oid[])
ORDER BY n.nspname, c.relname

-- name: list_names
-- Names of relations in the schemas $1: a new index needs another one.
SELECT n.nspname::text AS schema, c.relname::text AS name
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = ANY($1::text[])

-- name: list_objects
-- Objects that role $1 must own and does not: $2 of an earlier system and, after `migrate`, all of
-- ours. Arguments: types of a function's arguments.
WITH place AS (
    SELECT n.oid,
        EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid AND relname = 'recon_migrations')
        AS migrated
    FROM pg_namespace AS n
    WHERE n.nspname = 'prop_trading_model'
)
SELECT c.relkind::text AS kind, c.relname::text AS name, NULL AS arguments,
    pg_get_userbyid(c.relowner)::text AS owner, c.relrowsecurity AS has_row_security
FROM pg_class AS c
JOIN place ON place.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm')
    AND (c.relname = ANY($2::text[]) OR place.migrated AND c.relname ~ '^(v_)?recon_')
  AND pg_get_userbyid(c.relowner) <> $1
UNION ALL
SELECT 'function', p.proname::text, oidvectortypes(p.proargtypes),
    pg_get_userbyid(p.proowner)::text, false
FROM pg_proc AS p
JOIN place ON place.oid = p.pronamespace
WHERE p.prokind = 'f' AND (p.proname = ANY($2::text[]) OR place.migrated AND p.proname ~ '^recon_')
  AND pg_get_userbyid(p.proowner) <> $1
ORDER BY 1, 2, 3

-- name: list_sequences
-- Sequences used by defaults of the tables $1, which whoever inserts needs; identity columns need
-- no right.
SELECT DISTINCT n.nspname::text AS schema, s.relname::text AS name
FROM pg_attrdef AS d
JOIN pg_depend AS dep ON dep.classid = 'pg_attrdef'::regclass AND dep.objid = d.oid
    AND dep.refclassid = 'pg_class'::regclass
JOIN pg_class AS s ON s.oid = dep.refobjid AND s.relkind = 'S'
JOIN pg_namespace AS n ON n.oid = s.relnamespace
WHERE d.adrelid = ANY($1::oid[])
ORDER BY 1, 2

-- name: list_cautions
-- What no grant on the tables $1 covers: triggers, which act with the rights of the writing role,
-- and restrictive policies.
SELECT DISTINCT 'trigger' AS kind, t.tgname::text AS name, root.schema, root.name AS "table"
FROM unnest($1::oid[], $2::text[], $3::text[]) AS root (oid, schema, name)
JOIN pg_trigger AS t ON t.tgrelid = root.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'
JOIN pg_proc AS p ON p.oid = t.tgfoid AND NOT p.prosecdef
UNION
SELECT 'policy', p.polname::text, root.schema, root.name
FROM unnest($1::oid[], $2::text[], $3::text[]) AS root (oid, schema, name)
JOIN pg_policy AS p ON p.polrelid = root.oid AND NOT p.polpermissive
WHERE 0 = ANY(p.polroles)
ORDER BY 1, 4, 2
