-- name: list_refused_texts
-- Rows set aside because a key part was a text ($1: how the reason says so) where the column holds
-- numbers, by table and column.
SELECT table_name, substring(reason FROM 'key part (\w+) ' || $1::text) AS column_name,
    sum(copies)::bigint AS rows, count(DISTINCT account_id) AS accounts
FROM "prop_trading_model".recon_set_aside_rows
WHERE reason LIKE '%' || $1::text || '%'
GROUP BY 1, 2
ORDER BY 1, 2

-- name: list_made
-- Raw tables that migrations created, as they were missing.
SELECT right(name, -5) AS name FROM "prop_trading_model".recon_migrations WHERE name ~ '^\d{4}_raw_'
    AND NOT adopted ORDER BY 1

-- name: describe_table
-- Owner of table $1, number of its partitions, and disk that all of it takes.
SELECT
    pg_get_userbyid(c.relowner)::text AS owner,
    (SELECT count(*) FROM pg_partition_tree(c.oid) WHERE relid <> c.oid) AS partitions,
    -- A plain table is in no tree.
    pg_size_pretty(coalesce((SELECT sum(pg_total_relation_size(relid))
        FROM pg_partition_tree(c.oid)), pg_total_relation_size(c.oid))) AS size
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model')) AND c.relname = $1
    AND c.relkind IN ('r', 'p')

-- name: list_obstacles
-- What prevents another type for columns $2 of table $1 and its partitions, or is rebuilt with it.
WITH RECURSIVE tree AS (
    SELECT c.oid FROM pg_class AS c
        WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model')) AND c.relname = $1
    UNION ALL
    SELECT i.inhrelid FROM tree JOIN pg_inherits AS i ON i.inhparent = tree.oid
), altered AS (
    SELECT a.attrelid, a.attnum, a.attname, a.attidentity FROM tree JOIN pg_attribute AS a
        ON a.attrelid = tree.oid AND a.attname = ANY($2::text[])
), dependents AS (
    SELECT d.classid, d.objid, d.objsubid, d.deptype
    FROM altered AS a
    JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid
        AND d.refobjsubid = a.attnum
), views AS (
    SELECT r.ev_class AS oid FROM dependents AS d JOIN pg_rewrite AS r
        ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    UNION
    -- What stands on a view goes before it.
    SELECT r.ev_class
    FROM views
    JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = views.oid
        AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite AS r ON r.oid = d.objid
)
SELECT DISTINCT kind, what
FROM (
    SELECT 'partition key' AS kind, format('The column %I', a.attname) AS what
    FROM altered AS a
    JOIN pg_partitioned_table AS p ON p.partrelid = a.attrelid
        AND a.attnum = ANY(p.partattrs::smallint[])
    UNION ALL
    SELECT 'identity', format('The identity of %I', attname) FROM altered WHERE attidentity <> ''
    UNION ALL
    SELECT 'view',
        format('The %s %s', CASE c.relkind WHEN 'm' THEN 'materialized view' WHEN 'v' THEN 'view'
        ELSE 'rule of' END, c.oid::regclass)
    FROM views JOIN pg_class AS c USING (oid)
    UNION ALL
    SELECT 'generated column',
        format('The generated column %I of %s', g.attname, g.attrelid::regclass)
    FROM dependents AS d
    JOIN pg_attrdef AS e ON d.classid = 'pg_attrdef'::regclass AND e.oid = d.objid
    JOIN pg_attribute AS g ON g.attrelid = e.adrelid AND g.attnum = e.adnum AND g.attgenerated <> ''
        AND g.attislocal
    UNION ALL
    -- PostgreSQL 18 notes a generated column as depending directly.
    SELECT 'generated column',
        format('The generated column %I of %s', g.attname, g.attrelid::regclass)
    FROM dependents AS d
    JOIN pg_attribute AS g ON d.classid = 'pg_class'::regclass AND g.attrelid = d.objid
        AND g.attnum = d.objsubid AND g.attgenerated <> '' AND g.attislocal
    WHERE d.objsubid > 0
    UNION ALL
    SELECT 'trigger',
        format('The trigger %I of %s, which names the column,', t.tgname, t.tgrelid::regclass)
    FROM dependents AS d JOIN pg_trigger AS t ON d.classid = 'pg_trigger'::regclass
        AND t.oid = d.objid AND NOT t.tgisinternal AND t.tgparentid = 0
    UNION ALL
    SELECT 'policy', format('The policy %I of %s', p.polname, p.polrelid::regclass)
    FROM dependents AS d JOIN pg_policy AS p ON d.classid = 'pg_policy'::regclass
        AND p.oid = d.objid
    UNION ALL
    SELECT 'function', format('The function %s', p.oid::regprocedure)
    FROM dependents AS d JOIN pg_proc AS p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    UNION ALL
    SELECT 'publication', format('The row filter of the publication %I', p.pubname)
    FROM dependents AS d
    JOIN pg_publication_rel AS r ON d.classid = 'pg_publication_rel'::regclass AND r.oid = d.objid
    JOIN pg_publication AS p ON p.oid = r.prpubid
    WHERE r.prqual IS NOT NULL
    UNION ALL
    SELECT CASE k.contype WHEN 'f' THEN 'foreign key' ELSE 'check' END,
           format('The %s %I of %s', CASE k.contype WHEN 'f' THEN 'foreign key' ELSE 'CHECK' END,
               k.conname, k.conrelid::regclass)
    FROM dependents AS d
    JOIN pg_constraint AS k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
    WHERE k.contype IN ('c', 'f') AND k.conparentid = 0 AND (k.contype = 'f' OR k.coninhcount = 0)
    UNION ALL
    SELECT 'index', format('The index %s', i.indexrelid::regclass)
    FROM dependents AS d
    JOIN pg_index AS i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid
    WHERE (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
        AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = i.indexrelid)
) AS obstacles
ORDER BY kind, what
