-- name: set_path
-- For the transaction, have all names written with their schemas, whatever the role's path, and let
-- functions be made before what they read.
SELECT set_config('search_path', 'pg_catalog', true),
    set_config('check_function_bodies', 'off', true)

-- name: list_present
-- Functions named $2, relations named $1, the columns $3 of trade_recon, and triggers of the tables
-- $4, as they stand: name as it is kept, plain name, identity for statements, definition, the
-- statements that give comment and grants back, and an order in which they can be made.
WITH place AS (
    SELECT oid FROM pg_namespace WHERE nspname = 'prop_trading_model'
), objects AS (
    SELECT
        'function' AS kind, format('%s(%s)', p.proname, oidvectortypes(p.proargtypes)) AS name,
        p.proname::text AS plain,
        p.oid::regprocedure::text AS identity, CASE p.prokind
            WHEN 'f' THEN pg_get_functiondef(p.oid) END AS definition, p.oid::bigint AS made,
        'FUNCTION' AS granted_as, p.oid, 'pg_proc' AS catalogue, p.proacl AS acl,
        p.proowner AS owner
    FROM pg_proc AS p JOIN place ON place.oid = p.pronamespace
    WHERE p.proname = ANY($2::text[])
    UNION ALL
    SELECT
        CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
            WHEN 'S' THEN 'sequence' WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' ELSE 'table' END,
        c.relname::text, c.relname::text, c.oid::regclass::text, CASE
            WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END, c.oid::bigint,
        'TABLE', c.oid, 'pg_class', c.relacl, c.relowner
    FROM pg_class AS c JOIN place ON place.oid = c.relnamespace
    WHERE c.relname = ANY($1::text[]) AND c.relkind IN ('v', 'm', 'r', 'p', 'S', 'i', 'I')
)
SELECT
    kind, name, plain, identity, definition, made,
    array_remove(
        ARRAY[format('COMMENT ON %s %s IS %L', upper(kind), identity,
            obj_description(oid, catalogue))]
        || ARRAY(
            SELECT format('GRANT %s ON %s %s TO %s', a.privilege_type, granted_as, identity,
                CASE a.grantee WHEN 0 THEN 'PUBLIC'
                ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
            FROM aclexplode(acl) AS a WHERE a.grantee <> owner
            ORDER BY 1
        ),
        NULL
    ) AS beside
FROM objects
UNION ALL
SELECT 'index', c.relname::text, c.relname::text, c.oid::regclass::text, pg_get_indexdef(c.oid),
    c.oid::bigint, '{}'
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_class AS list ON list.oid = i.indrelid AND list.relkind = 'm'
JOIN place ON place.oid = list.relnamespace
WHERE list.relname = ANY($1::text[]) AND i.indisunique
UNION ALL
SELECT
    'column', a.attname::text, a.attname::text, a.attname::text,
    json_build_object('type', format_type(a.atttypid, a.atttypmod), 'not_null', a.attnotnull,
        'default', pg_get_expr(d.adbin, d.adrelid))::text,
    a.attnum, '{}'
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid AND c.relname = 'trade_recon'
JOIN place ON place.oid = c.relnamespace
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attname = ANY($3::text[]) AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'trigger', format('%s on %s', t.tgname, c.relname), t.tgname::text, t.tgname::text,
    pg_get_triggerdef(t.oid), t.oid::bigint, '{}'
FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid AND c.relname = ANY($4::text[])
JOIN place ON place.oid = c.relnamespace
WHERE NOT t.tgisinternal AND t.tgparentid = 0

-- name: get_kept
-- Definitions as the last migrate recorded them, in an order in which they can be made.
SELECT kind, name, definition, beside, server FROM prop_trading_model.recon_definitions
ORDER BY array_position(ARRAY['function', 'view', 'materialized view', 'index', 'column',
    'trigger'], kind), made

-- name: keep
-- Record the present definitions of objects, replacing the earlier record.
WITH present AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1::text::jsonb)
        AS p (kind text, name text, definition text, beside text[], made bigint)
), gone AS (
    DELETE FROM prop_trading_model.recon_definitions AS d
        WHERE NOT EXISTS (SELECT FROM present AS p WHERE (p.kind, p.name) = (d.kind, d.name))
)
INSERT INTO prop_trading_model.recon_definitions (kind, name, definition, beside, made, server)
SELECT kind, name, definition, beside, made, $2 FROM present
ON CONFLICT (kind, name) DO UPDATE
SET definition = excluded.definition, beside = excluded.beside, made = excluded.made,
    server = excluded.server
WHERE (recon_definitions.definition, recon_definitions.beside, recon_definitions.made,
    recon_definitions.server)
      IS DISTINCT FROM (excluded.definition, excluded.beside, excluded.made, excluded.server)

-- name: is_taken_over
-- Whether the migration was applied that puts the earlier system's functions, view and list aside
-- and makes ours.
SELECT EXISTS (
    SELECT FROM pg_proc WHERE pronamespace = to_regnamespace(quote_ident('prop_trading_model'))
        AND proname = 'recon_create_partitions'
)
