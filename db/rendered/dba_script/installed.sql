-- name: describe_place
-- The database, the owner of the raw tables, whether trade-recon is here, and whether trade_recon
-- stood before it.
WITH place AS (SELECT oid FROM pg_namespace WHERE nspname = 'prop_trading_model')
SELECT
    current_database()::text AS database,
    (
        SELECT pg_get_userbyid(c.relowner)::text FROM pg_class AS c JOIN place
            ON place.oid = c.relnamespace
        WHERE c.relname = ANY($1::text[]) AND c.relkind IN ('r', 'p')
            ORDER BY array_position($1::text[], c.relname::text) LIMIT 1
    ) AS raw_owner,
    to_regclass(quote_ident('prop_trading_model') || '.recon_migrations') IS NOT NULL
        AS is_migrated,
    -- An earlier version kept no copy: what was there before the first table of ours has a lower
    -- number.
    (SELECT c.oid FROM pg_class AS c JOIN place ON place.oid = c.relnamespace
        WHERE c.relname = 'trade_recon')
        < (SELECT c.oid FROM pg_class AS c JOIN place ON place.oid = c.relnamespace
            WHERE c.relname = 'recon_migrations') AS stood_before,
    to_regclass(quote_ident('prop_trading_model') || '.recon_earlier') IS NOT NULL AS is_kept

-- name: list_made_tables
-- Raw tables that migrations created, as they were missing.
SELECT right(name, -5) AS name FROM "prop_trading_model".recon_migrations
    WHERE right(name, -5) = ANY($1::text[]) AND NOT adopted ORDER BY name

-- name: get_earlier
-- Recorded facts about trade_recon as it was before trade-recon.
SELECT facts::text FROM "prop_trading_model".recon_earlier WHERE name = 'trade_recon'

-- name: list_own
-- Our present relations (of the names $1) and functions ($2), each with its identity for
-- statements.
SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
    ELSE 'TABLE' END AS kind, c.relname::text AS name, c.oid::regclass::text AS identity
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
    AND c.relname = ANY($1::text[]) AND c.relkind IN ('r', 'p', 'v', 'm')
UNION ALL
SELECT 'FUNCTION', format('%s(%s)', p.proname, oidvectortypes(p.proargtypes)),
    p.oid::regprocedure::text
FROM pg_proc AS p
WHERE p.pronamespace = to_regnamespace(quote_ident('prop_trading_model'))
    AND p.proname = ANY($2::text[])
ORDER BY 1, 2

-- name: list_aside
-- Objects that migrations put aside: their former name (of an index: its relation), and whether
-- each equals one put aside before.
WITH aside AS (
    SELECT
        CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'i' THEN 'INDEX'
            ELSE 'TABLE' END AS kind, c.oid,
        c.relname::text AS name, '' AS arguments, c.oid::regclass::text AS identity,
        i.indrelid::regclass::text AS of_relation,
        CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) ELSE c.oid::text END AS form,
            pg_get_userbyid(c.relowner)::text AS owner
    FROM pg_class AS c LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
    WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
        AND c.relkind IN ('v', 'm', 'i', 'r', 'p')
    UNION ALL
    SELECT 'ROUTINE', p.oid, p.proname::text, oidvectortypes(p.proargtypes),
        p.oid::regprocedure::text, NULL,
           CASE p.prokind WHEN 'a' THEN p.oid::text
               ELSE concat_ws(' ', p.prosrc, pg_get_function_sqlbody(p.oid), p.prorettype,
               p.prolang, p.proretset) END,
           pg_get_userbyid(p.proowner)::text
    FROM pg_proc AS p
    WHERE p.pronamespace = to_regnamespace(quote_ident('prop_trading_model'))
), named AS (
    SELECT aside.*, match[1] AS former, coalesce(nullif(match[2], '')::integer, 1) AS number
    FROM aside CROSS
        JOIN LATERAL regexp_match(name, '^(.+)_before_trade_recon(?:_(\d+))?$') AS match
    WHERE match IS NOT NULL
)
SELECT kind, name, former, arguments, identity, of_relation, owner,
       -- Overloads have one name, and so numbers that follow each other, but nothing in common.
       row_number() OVER same AS place, form = first_value(form) OVER same AS is_same
FROM named
WINDOW same AS (PARTITION BY kind, former, arguments ORDER BY number)
ORDER BY kind = 'INDEX', kind, former, arguments, number

-- name: list_returned
-- Functions and views that stand under their own name again, exactly as the first of that name was
-- put aside.
WITH objects AS (
    SELECT p.oid, p.proname::text AS name, oidvectortypes(p.proargtypes) AS arguments,
           concat_ws(' ', p.prosrc, pg_get_function_sqlbody(p.oid), p.prorettype, p.prolang,
               p.proretset) AS form
    FROM pg_proc AS p
    WHERE p.pronamespace = to_regnamespace(quote_ident('prop_trading_model')) AND p.prokind <> 'a'
    UNION ALL
    SELECT c.oid, c.relname::text, c.relkind::text, pg_get_viewdef(c.oid)
    FROM pg_class AS c
    WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
        AND c.relkind IN ('v', 'm')
), aside AS (
    SELECT DISTINCT ON (match[1], arguments) match[1] AS former, arguments, form
    FROM objects CROSS
        JOIN LATERAL regexp_match(name, '^(.+)_before_trade_recon(?:_(\d+))?$') AS match
    WHERE match IS NOT NULL
    ORDER BY match[1], arguments, coalesce(nullif(match[2], '')::integer, 1)
)
SELECT o.oid::bigint AS oid FROM objects AS o JOIN aside
    ON (aside.former, aside.arguments, aside.form) = (o.name, o.arguments, o.form)

-- name: describe_state
-- Columns of trade_recon as they stand, its options and owner, and what of the owner's acts on its
-- rows: forced policies, enabled triggers and rules, and constraints that rows may violate.
SELECT json_build_object(
    'owner', pg_get_userbyid(c.relowner), 'options', coalesce(to_json(c.reloptions), '[]'),
    'is_forced', c.relforcerowsecurity,
    'firing', (
        SELECT coalesce(json_agg(json_build_object('kind', kind, 'name', name, 'enabled', enabled)
            ORDER BY kind, name), '[]')
        FROM (
            SELECT 'TRIGGER' AS kind, tgname AS name, tgenabled AS enabled FROM pg_trigger
                WHERE tgrelid = c.oid AND NOT tgisinternal
            UNION ALL
            SELECT 'RULE', rulename, ev_enabled FROM pg_rewrite WHERE ev_class = c.oid
        ) AS acting
        WHERE enabled <> 'D'
    ),
    'unproven', (
        SELECT coalesce(json_agg(json_build_object(
            'name', k.conname, 'definition', pg_get_constraintdef(k.oid), 'comment',
            obj_description(k.oid, 'pg_constraint')
        ) ORDER BY k.conname), '[]')
        FROM pg_constraint AS k
        WHERE k.conrelid = c.oid AND NOT k.convalidated
    ),
    'columns', (
        SELECT json_agg(json_build_object(
            'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'not_null',
            a.attnotnull, 'generated', a.attgenerated <> '',
            'is_always_identity', a.attidentity = 'a', 'default', pg_get_expr(d.adbin, d.adrelid),
            'comment', col_description(c.oid, a.attnum)
        ) ORDER BY a.attnum)
        FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid
            AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    )
)::text
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
    AND c.relname = 'trade_recon'

-- name: list_indexes
-- Indexes of raw tables that the script of `migrate --print` built, by their comments.
SELECT c.oid::regclass::text AS identity
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_class AS raw ON raw.oid = i.indrelid
    AND raw.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
    AND raw.relname = ANY($1::text[])
WHERE starts_with(obj_description(c.oid, 'pg_class'), 'trade-recon: ')
ORDER BY 1

-- name: list_dependents
-- Objects of others that depend on what the script drops: our relations ($1), functions ($2), and
-- columns $3 of trade_recon. Some are dropped with these, others must be dropped or changed by
-- their owner first.
WITH own AS (
    SELECT 'pg_class'::regclass AS catalogue, c.oid, 0 AS part FROM pg_class AS c
    WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
        AND c.relname = ANY($1::text[])
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid, 0 FROM pg_proc AS p
    WHERE p.pronamespace = to_regnamespace(quote_ident('prop_trading_model'))
        AND p.proname = ANY($2::text[])
), gone AS (
    SELECT * FROM own
    UNION ALL
    SELECT 'pg_class'::regclass, a.attrelid, a.attnum FROM pg_attribute AS a JOIN pg_class AS c
        ON c.oid = a.attrelid
    WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
        AND c.relname = 'trade_recon' AND a.attname = ANY($3::text[])
), depending AS (
    SELECT DISTINCT d.classid, d.objid, d.objsubid, d.deptype = 'a' AS goes
    FROM gone
    JOIN pg_depend AS d ON d.refclassid = gone.catalogue AND d.refobjid = gone.oid
        AND (gone.part = 0 OR d.refobjsubid = gone.part)
      -- With a table of ours everything on it goes, whosever it is.
      AND (d.deptype = 'n' OR d.deptype = 'a' AND gone.part > 0)
), described AS (
    SELECT
        d.goes,
        -- The relation that it is, or is of.
        coalesce(r.ev_class, t.tgrelid, k.conrelid, p.polrelid, e.adrelid, i.indrelid, x.stxrelid)
            AS relation, f.oid AS function,
        CASE
            WHEN r.rulename = '_RETURN' THEN r.ev_class::regclass::text
            WHEN r.oid IS NOT NULL
                THEN format('the rule %I on %s', r.rulename, r.ev_class::regclass)
            WHEN f.oid IS NOT NULL THEN f.oid::regprocedure::text
            WHEN t.oid IS NOT NULL
                THEN format('the trigger %I on %s', t.tgname, t.tgrelid::regclass)
            WHEN k.contype = 'f'
                THEN format('the foreign key %I of %s', k.conname, k.conrelid::regclass)
            WHEN k.oid IS NOT NULL
                THEN format('the constraint %I of %s', k.conname, k.conrelid::regclass)
            WHEN p.oid IS NOT NULL
                THEN format('the policy %I on %s', p.polname, p.polrelid::regclass)
            WHEN e.oid IS NOT NULL
                THEN format('the column %I of %s', a.attname, e.adrelid::regclass)
            WHEN i.indexrelid IS NOT NULL THEN format('the index %s', i.indexrelid::regclass)
            WHEN x.oid IS NOT NULL THEN format('the statistics %I', x.stxname)
            WHEN l.oid IS NOT NULL THEN format('the publication %I', l.pubname)
        END AS dependent
    FROM depending AS d
    LEFT JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    LEFT JOIN pg_proc AS f ON d.classid = 'pg_proc'::regclass AND f.oid = d.objid
    LEFT JOIN pg_trigger AS t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid
        AND NOT t.tgisinternal
    LEFT JOIN pg_constraint AS k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
        AND k.contype IN ('c', 'f', 'u', 'p', 'x')
    LEFT JOIN pg_policy AS p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
    LEFT JOIN pg_attrdef AS e ON d.classid = 'pg_attrdef'::regclass AND e.oid = d.objid
    -- A generated column depends by its expression, or by itself.
    LEFT JOIN pg_attribute AS a ON a.attrelid = e.adrelid AND a.attnum = e.adnum
    LEFT JOIN pg_index AS i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid
    LEFT JOIN pg_statistic_ext AS x ON d.classid = 'pg_statistic_ext'::regclass AND x.oid = d.objid
    LEFT JOIN pg_publication_rel AS m ON d.classid = 'pg_publication_rel'::regclass
        AND m.oid = d.objid
    LEFT JOIN pg_publication AS l ON l.oid = m.prpubid
    -- The default of a column that goes is its own.
    WHERE e.oid IS NULL
        OR NOT EXISTS (SELECT FROM gone WHERE gone.oid = e.adrelid AND gone.part = e.adnum)
)
SELECT dependent, bool_or(goes) AS goes
FROM described AS d
WHERE dependent IS NOT NULL
  AND NOT EXISTS (SELECT FROM own WHERE own.oid = coalesce(d.relation, d.function))
  AND NOT coalesce((SELECT relname::text FROM pg_class WHERE oid = d.relation),
      (SELECT proname::text FROM pg_proc WHERE oid = d.function), '')
      ~ '_before_trade_recon(_\d+)?$'
GROUP BY dependent
ORDER BY 1

-- name: list_rights
-- What role $1 was granted here: rights on the database, the schema, the raw tables ($2) and
-- sequences, and policies named $3.
SELECT 'DATABASE' AS kind, quote_ident(d.datname) AS identity, NULL AS policy
FROM pg_database AS d CROSS JOIN LATERAL aclexplode(d.datacl) AS a
WHERE d.datname = current_database() AND a.grantee = to_regrole(quote_ident($1))::oid
UNION
SELECT 'SCHEMA', quote_ident(n.nspname), NULL
FROM pg_namespace AS n CROSS JOIN LATERAL aclexplode(n.nspacl) AS a
WHERE n.nspname = 'prop_trading_model' AND a.grantee = to_regrole(quote_ident($1))::oid
    AND n.nspowner <> a.grantee
UNION
SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass::text, NULL
FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
    AND (c.relname = ANY($2::text[]) OR c.relkind = 'S' AND c.relname !~ '^recon_')
  AND a.grantee = to_regrole(quote_ident($1))::oid AND c.relowner <> a.grantee
UNION
SELECT 'POLICY', p.polrelid::regclass::text, quote_ident(p.polname)
FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid
WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model')) AND p.polname = $3
ORDER BY 1, 2
