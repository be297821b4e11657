-- name: count_unmet
-- Number of rows of trade_recon that violate a condition, among those that are written.
SELECT count(*) FROM "prop_trading_model".trade_recon WHERE ({{condition}}) IS FALSE AND ({{written}})

-- name: list_objects
-- Objects of the earlier system, with the names $1, that migrations will put aside: kind and name.
SELECT what, name FROM (
    SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
        ELSE 'table' END AS what, c.relname::text AS name
    FROM pg_class AS c
    WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
        AND c.relname = ANY($1::text[]) AND c.relkind IN ('v', 'm', 'r', 'p')
      AND c.relname <> 'trade_recon'
    UNION ALL
    SELECT 'function', format('%s(%s)', p.proname, oidvectortypes(p.proargtypes))
    FROM pg_proc AS p
    WHERE p.pronamespace = to_regnamespace(quote_ident('prop_trading_model'))
        AND p.proname = ANY($1::text[])
) AS objects
ORDER BY what, name

-- name: list_aside
-- Objects under names that migrations give to what they put aside: kind and name.
SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'i' THEN 'index'
    ELSE 'table' END AS what, c.relname::text AS name
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
    AND c.relname ~ '_before_trade_recon(_\d+)?$' AND c.relkind <> 't'
UNION ALL
SELECT 'function', format('%s(%s)', p.proname, oidvectortypes(p.proargtypes))
FROM pg_proc AS p
WHERE p.pronamespace = to_regnamespace(quote_ident('prop_trading_model'))
    AND p.proname ~ '_before_trade_recon(_\d+)?$'
ORDER BY 1, 2

-- name: describe_state
-- Columns and triggers of the earlier system's table trade_recon.
SELECT
    ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0
        AND NOT attisdropped ORDER BY attnum) AS columns,
    ARRAY(SELECT tgname::text FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal ORDER BY 1)
        AS triggers
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
    AND c.relname = 'trade_recon' AND c.relkind IN ('r', 'p')

-- name: count_state_rows
-- Number of rows of the earlier trade_recon, and of those with a NULL ({{empty}}) that becomes a
-- figure, a flag or a list.
SELECT count(*) AS rows, count(*) FILTER (WHERE {{empty}}) AS filled
    FROM "prop_trading_model".trade_recon

-- name: count_stand_ins
-- Number of rows of the earlier trade_recon under ids that stand for unknown accounts: empty, a
-- login, or the MD5 of a natural key of alltime metrics.
SELECT count(*) FROM "prop_trading_model".trade_recon AS t
WHERE t.account_id = ''
   OR t.account_id
       IN (SELECT login::text FROM "prop_trading_model".raw_metrics_alltime WHERE login IS NOT NULL)
   OR lower(t.account_id) IN (
       SELECT md5(login::text || '|' || platform::text || '|' || coalesce(broker::text, ''))
           FROM "prop_trading_model".raw_metrics_alltime
       WHERE login IS NOT NULL AND platform IS NOT NULL
   )

-- name: keep_state
-- Copy trade_recon as it stands, and record its columns, options and owner.
CREATE TABLE "prop_trading_model".recon_earlier_trade_recon AS TABLE "prop_trading_model".trade_recon;
COMMENT ON TABLE "prop_trading_model".recon_earlier_trade_recon
    IS 'trade_recon of the earlier system with its rows, as it was before trade-recon: for trade-recon uninstall --print';
CREATE TABLE "prop_trading_model".recon_earlier
    (name text PRIMARY KEY, facts jsonb NOT NULL, kept_at timestamptz NOT NULL DEFAULT now());
COMMENT ON TABLE "prop_trading_model".recon_earlier
    IS 'what stood before trade-recon and was altered: for trade-recon uninstall --print';
INSERT INTO "prop_trading_model".recon_earlier (name, facts)
SELECT 'trade_recon', jsonb_build_object(
    'owner', pg_get_userbyid(c.relowner),
    'options', coalesce(to_jsonb(c.reloptions), '[]'),
    'columns', (
        SELECT jsonb_agg(jsonb_build_object(
            'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'not_null',
            a.attnotnull, 'generated', a.attgenerated <> '',
            'default', pg_get_expr(d.adbin, d.adrelid), 'comment', col_description(c.oid, a.attnum)
        ) ORDER BY a.attnum)
        FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid
            AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    )
)
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
    AND c.relname = 'trade_recon'
