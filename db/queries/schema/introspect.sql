-- name: survey_tables
-- Facts of the catalogue on tables $1 of the schema, as a JSON list; missing tables are left out.
SELECT coalesce(json_agg(facts ORDER BY name), '[]')::text
FROM (
    SELECT c.relname AS name, json_build_object(
        'name', c.relname,
        'kind', c.relkind,
        'owner', pg_get_userbyid(c.relowner),
        'columns', (
            SELECT json_agg(json_build_object(
                'name', a.attname,
                'sql_type', format_type(a.atttypid, a.atttypmod),
                'base_type', format_type(base.type, base.modifier),
                'labels', (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum AS e
                    WHERE e.enumtypid = base.type),
                'not_null', a.attnotnull OR base.not_null,
                'has_default', a.atthasdef OR a.attidentity <> '' OR base.has_default,
                -- As an INSERT without the column takes it: the column's own, or else that of its
                -- domain.
                'default', CASE WHEN a.attgenerated = '' THEN coalesce(
                    (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef AS d
                        WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum),
                    CASE WHEN a.attidentity = 'd'
                        THEN format('nextval(%L::regclass)',
                        pg_get_serial_sequence(c.oid::regclass::text, a.attname)) END,
                    CASE WHEN own.typtype = 'd' THEN pg_get_expr(own.typdefaultbin, 0) END
                ) END,
                'is_written', a.attgenerated = '' AND a.attidentity <> 'a'
            ) ORDER BY a.attnum)
            FROM pg_attribute AS a
            JOIN pg_type AS own ON own.oid = a.atttypid
            CROSS JOIN LATERAL (
                SELECT a.atttypid AS type, a.atttypmod AS modifier, false AS not_null,
                    false AS has_default
                WHERE own.typtype <> 'd'
                UNION ALL (
                    -- A domain stands for the type below it, however many domains lie between. Only
                    -- there: each step may read all types.
                    WITH RECURSIVE below AS (
                        SELECT a.atttypid AS type, a.atttypmod AS modifier, false AS not_null,
                            false AS has_default, 0 AS depth
                        WHERE own.typtype = 'd'
                        UNION ALL
                        SELECT t.typbasetype, t.typtypmod, below.not_null OR t.typnotnull,
                            below.has_default OR t.typdefault IS NOT NULL, depth + 1
                        FROM below JOIN pg_type AS t ON t.oid = below.type
                        WHERE t.typtype = 'd'
                    )
                    SELECT type, modifier, not_null, has_default FROM below ORDER BY depth DESC
                        LIMIT 1
                )
            ) AS base
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        ),
        'keys', (
            SELECT json_agg(json_build_object(
                'name', index_class.relname,
                'columns', (
                    SELECT json_agg(a.attname ORDER BY k.place)
                    FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (number, place)
                    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
                    WHERE k.place <= i.indnkeyatts
                ),
                'nulls_are_equal', i.indnullsnotdistinct
            ) ORDER BY index_class.relname)
            FROM pg_index AS i
            JOIN pg_class AS index_class ON index_class.oid = i.indexrelid
            WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
                AND i.indexprs IS NULL
        ),
        'missing_rights', (
            SELECT json_agg(wanted)
                FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS wanted
                WHERE NOT has_table_privilege(c.oid, wanted)
        ),
        -- A policy that shows a role all rows hides none; a restrictive one may.
        'hides_rows', c.relkind IN ('r', 'p') AND row_security_active(c.oid) AND (
            NOT EXISTS (
                SELECT FROM pg_policy AS p
                WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd = '*'
                    AND pg_get_expr(p.polqual, p.polrelid) = 'true'
                  AND coalesce(pg_get_expr(p.polwithcheck, p.polrelid), 'true') = 'true'
                  AND (0 = ANY(p.polroles)
                      OR EXISTS (SELECT FROM unnest(p.polroles) AS role WHERE role <> 0
                      AND pg_has_role(role, 'USAGE')))
            )
            OR EXISTS (
                SELECT FROM pg_policy AS p
                WHERE p.polrelid = c.oid AND NOT p.polpermissive
                  AND (0 = ANY(p.polroles)
                      OR EXISTS (SELECT FROM unnest(p.polroles) AS role WHERE role <> 0
                      AND pg_has_role(role, 'USAGE')))
            )
        ),
        'triggers', (
            SELECT json_agg(json_build_object(
                'name', t.tgname,
                'is_before_row', t.tgtype & 3 = 3,
                'on_insert', t.tgtype & 4 <> 0,
                'on_update', t.tgtype & 16 <> 0
            ) ORDER BY t.tgname)
            FROM pg_trigger AS t
            WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
        ),
        'rules', (SELECT json_agg(r.rulename ORDER BY r.rulename) FROM pg_rewrite AS r
            WHERE r.ev_class = c.oid AND r.ev_type <> '1' AND r.ev_enabled IN ('O', 'A')),
        'checks', (
            SELECT json_agg(json_build_object(
                'name', k.conname,
                'condition', pg_get_expr(k.conbin, k.conrelid),
                'columns', (SELECT json_agg(a.attname) FROM pg_attribute AS a
                    WHERE a.attrelid = c.oid AND a.attnum = ANY(k.conkey)),
                'holds_for_all', k.convalidated
            ) ORDER BY k.conname)
            FROM pg_constraint AS k
            WHERE k.conrelid = c.oid AND k.contype = 'c'
        ),
        'denied_sequences', (
            SELECT json_agg(DISTINCT d.refobjid::regclass::text)
            FROM pg_attrdef AS e
            JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = e.oid
                AND d.refclassid = 'pg_class'::regclass
            JOIN pg_class AS sequence ON sequence.oid = d.refobjid
            WHERE e.adrelid = c.oid AND CASE sequence.relkind
                WHEN 'S' THEN NOT has_sequence_privilege(sequence.oid, 'USAGE') ELSE false END
        ),
        -- Rows of other tables that would go, or lose what they hold, with a row of this one.
        'cascades', (
            SELECT json_agg(format('%s of %s', k.conname, k.conrelid::regclass) ORDER BY k.conname)
            FROM pg_constraint AS k
            WHERE k.confrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0
                AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('n', 'd'))
        ),
        'referenced_by', (
            SELECT json_agg(format('%s of %s', k.conname, k.conrelid::regclass) ORDER BY k.conname)
            FROM pg_constraint AS k
            WHERE k.confrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0
                AND k.conrelid <> c.oid
        ),
        'refers_by', (SELECT json_agg(k.conname ORDER BY k.conname) FROM pg_constraint AS k
            WHERE k.conrelid = c.oid AND k.contype = 'f'),
        'has_children', c.relkind <> 'p'
            AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid),
        'unreplicable_in', (
            SELECT json_agg(DISTINCT p.pubname)
            FROM (SELECT c.oid AS relid UNION SELECT relid FROM pg_partition_tree(c.oid)) AS part
            JOIN pg_class AS leaf ON leaf.oid = part.relid AND leaf.relkind = 'r'
            JOIN pg_publication_tables AS published
              ON (published.schemaname, published.tablename)
                  IN ((leaf.relnamespace::regnamespace::text, leaf.relname), (n.nspname, c.relname))
            JOIN pg_publication AS p ON p.pubname = published.pubname
                AND (p.pubupdate OR p.pubdelete)
            WHERE leaf.relreplident = 'n'
               OR leaf.relreplident = 'd'
                   AND NOT EXISTS
                   (SELECT FROM pg_index AS i WHERE i.indrelid = leaf.oid AND i.indisprimary)
        ),
        -- A list of columns without all of the replica identity, or a condition on others.
        'partly_published_in', (
            SELECT json_agg(DISTINCT p.pubname)
            FROM (SELECT c.oid AS relid UNION SELECT relid FROM pg_partition_tree(c.oid)) AS part
            JOIN pg_publication_rel AS r ON r.prrelid = part.relid
            JOIN pg_publication AS p ON p.oid = r.prpubid AND (p.pubupdate OR p.pubdelete)
            JOIN pg_class AS published ON published.oid = r.prrelid
            CROSS JOIN LATERAL (
                SELECT ARRAY(
                    SELECT a.attnum FROM pg_attribute AS a
                    WHERE a.attrelid = r.prrelid AND a.attnum > 0 AND NOT a.attisdropped AND (
                        published.relreplident = 'f'
                        OR EXISTS (
                            SELECT FROM pg_index AS i
                            WHERE i.indrelid = r.prrelid AND a.attnum = ANY(i.indkey::smallint[])
                              AND CASE published.relreplident WHEN 'i' THEN i.indisreplident
                                  ELSE i.indisprimary END
                        )
                    )
                ) AS columns
            ) AS identity
            WHERE r.prattrs IS NOT NULL AND NOT identity.columns <@ r.prattrs::smallint[]
               OR r.prqual IS NOT NULL AND r.prattrs IS NULL AND EXISTS (
                   SELECT FROM pg_depend AS d
                   WHERE d.classid = 'pg_publication_rel'::regclass AND d.objid = r.oid
                       AND d.refobjid = r.prrelid AND d.refobjsubid > 0
                     AND NOT d.refobjsubid = ANY(identity.columns)
               )
        ),
        'makes_partitions', (
            SELECT p.partstrat = 'r' AND p.partnatts = 1 AND pg_has_role(c.relowner, 'USAGE')
                AND has_schema_privilege(n.oid, 'CREATE')
            FROM pg_partitioned_table AS p WHERE p.partrelid = c.oid
        )
    ) AS facts
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'prop_trading_model' AND c.relname = ANY($1::text[])
        AND c.relkind NOT IN ('i', 'I', 'S', 't', 'c')
) AS surveyed

-- name: try_check
-- Whether a CHECK of trade_recon rejects one of the rows $1.
SELECT bool_or(({{condition}}) IS FALSE)
FROM jsonb_array_elements($1::text::jsonb) AS recon_sample CROSS
    JOIN LATERAL jsonb_populate_record(NULL::prop_trading_model.trade_recon, recon_sample)
    AS recon_row

-- name: try_domain
-- Cast the values of column $2 in the rows $1 to a domain: an error if it rejects one.
SELECT count((recon_sample ->> $2::text)::{{type}}) < 0
    FROM jsonb_array_elements($1::text::jsonb) AS recon_sample WHERE recon_sample ? $2::text

-- name: has_citus
-- Whether Citus is installed, so that tables may be distributed.
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')

-- name: list_distribution
-- Citus' distribution column of each distributed table; fails without the extension.
SELECT c.relname::text AS name, column_to_column_name(p.logicalrelid, p.partkey) AS distributed_by
FROM pg_dist_partition AS p
JOIN pg_class AS c ON c.oid = p.logicalrelid
WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model')) AND p.partmethod = 'h'

-- name: survey_schema
-- The role's rights, and objects that stand under the names of our own tables and views ($1) and
-- functions ($2).
SELECT json_build_object(
    'is_read_only', pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean,
    'role', current_user,
    'database', current_database(),
    'exists', EXISTS (SELECT FROM pg_namespace WHERE nspname = 'prop_trading_model'),
    -- Where the raw tables stand that may be meant.
    'elsewhere', (
        SELECT json_agg(n.nspname ORDER BY n.nspname)
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relname = 'raw_metrics_alltime' AND c.relkind IN ('r', 'p')
            AND n.nspname <> 'prop_trading_model'
          AND to_regclass(quote_ident('prop_trading_model') || '.raw_metrics_alltime') IS NULL
    ),
    'may_use', coalesce((SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace
        WHERE nspname = 'prop_trading_model'), true),
    'may_create', coalesce(
        (SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace
            WHERE nspname = 'prop_trading_model'),
        has_database_privilege(current_database(), 'CREATE')
    ),
    'is_migrated', to_regclass('prop_trading_model.recon_migrations') IS NOT NULL,
    -- Objects of an earlier system that migrations put aside, and that only their owner may rename.
    'others_own', (
        SELECT json_agg(format('%s %s of %s', what, name, pg_get_userbyid(owner)) ORDER BY name)
        FROM (
            SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                ELSE 'table' END AS what, c.relname::text AS name, c.relowner AS owner
            FROM pg_class AS c
            WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
              AND c.relname IN ('trade_recon', 'v_reconciliation_progress', 'mv_all_account_ids')
            UNION ALL
            SELECT 'function', p.oid::regprocedure::text, p.proowner
            FROM pg_proc AS p
            WHERE p.pronamespace = to_regnamespace(quote_ident('prop_trading_model'))
                AND p.proname IN ('update_trade_recon_stats', 'get_issue_statistics')
        ) AS taken_over
        WHERE NOT pg_has_role(owner, 'USAGE')
    ),
    'denied', (
        SELECT json_agg(c.relname ORDER BY c.relname)
        FROM pg_class AS c
        WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
            AND c.relname = ANY($1::text[] || 'trade_recon'::text) AND c.relkind = 'r'
          AND NOT (
              has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
              AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
          )
    ),
    'may_refresh', coalesce((
        SELECT pg_has_role(c.relowner, 'USAGE')
               OR CASE WHEN current_setting('server_version_num')::integer >= 170000
                   THEN has_table_privilege(c.oid, 'MAINTAIN') ELSE false END
        FROM pg_class AS c
        WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
            AND c.relname = 'mv_all_account_ids' AND c.relkind = 'm'
    ), true),
    'lost', (
        SELECT json_agg(name ORDER BY name)
        FROM unnest($1::text[]) AS own (name)
        -- Views are made again by the next migrate.
        WHERE name NOT LIKE 'v\_%'
          AND NOT EXISTS
              (SELECT FROM pg_class
              WHERE relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
              AND relname = own.name)
    ),
    'strangers', (
        SELECT json_agg(name ORDER BY name)
        FROM (
            SELECT relname::text AS name FROM pg_class
            WHERE relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
                AND relname = ANY($1::text[])
            UNION
            SELECT oid::regprocedure::text FROM pg_proc
            WHERE pronamespace = to_regnamespace(quote_ident('prop_trading_model'))
                AND proname = ANY($2::text[])
        ) AS taken
    )
)::text
