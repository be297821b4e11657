-- Reading the whole warehouse at the cost of its rows: leaner views, and a way to find what was written lately.

-- Each side first, a row a date: then max() picks its figure, which costs half of what sums of bigint do.
CREATE OR REPLACE VIEW prop_trading_model.v_recon_days AS
SELECT
    account_id,
    date,
    coalesce(max(daily), 0) AS daily,
    coalesce(max(hourly), 0) AS hourly,
    coalesce(max(closed), 0) AS closed,
    coalesce(max(daily_rows), 0) AS daily_rows,
    coalesce(max(hourly_rows), 0) AS hourly_rows
FROM (
    SELECT account_id, date, coalesce(sum(num_trades), 0)::bigint AS daily, NULL::bigint AS hourly, NULL::bigint AS closed, count(*) AS daily_rows, NULL::bigint AS hourly_rows
    FROM prop_trading_model.raw_metrics_daily
    GROUP BY account_id, date
    UNION ALL
    SELECT account_id, date, NULL, coalesce(sum(num_trades), 0)::bigint, NULL, NULL, count(*)
    FROM prop_trading_model.raw_metrics_hourly
    GROUP BY account_id, date
    UNION ALL
    SELECT account_id, trade_date, NULL, NULL, count(*), NULL, NULL
    FROM prop_trading_model.raw_trades_closed
    WHERE account_id IS NOT NULL
    GROUP BY account_id, trade_date
) AS sides
GROUP BY account_id, date;

-- The same list as before, each id looked at once and not once a row. Where views of the user's stand on it, it stays as it is.
DO $$
DECLARE
    granted record;
    list text := quote_ident('prop_trading_model') || '.mv_all_account_ids';
    grants text[] := '{}';
BEGIN
    FOR granted IN
        SELECT acl.privilege_type AS privilege, CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END AS grantee
        FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS acl
        WHERE c.oid = list::regclass AND acl.grantee <> c.relowner
    LOOP
        grants := grants || format('GRANT %s ON %s TO %s', granted.privilege, list, granted.grantee);
    END LOOP;
    BEGIN
        EXECUTE 'DROP MATERIALIZED VIEW ' || list;
    EXCEPTION WHEN dependent_objects_still_exist THEN
        RETURN;
    END;
    EXECUTE $view$
        CREATE MATERIALIZED VIEW prop_trading_model.mv_all_account_ids AS
        SELECT account_id
        FROM (
            SELECT account_id, login::text FROM prop_trading_model.raw_metrics_alltime GROUP BY 1, 2
            UNION
            SELECT account_id, login::text FROM prop_trading_model.raw_metrics_daily GROUP BY 1, 2
            UNION
            SELECT account_id, login::text FROM prop_trading_model.raw_metrics_hourly GROUP BY 1, 2
        ) AS metrics
        WHERE NOT prop_trading_model.recon_is_placeholder(account_id, login)
        UNION
        SELECT account_id
        FROM (
            SELECT account_id, login::text FROM prop_trading_model.raw_trades_closed WHERE account_id IS NOT NULL GROUP BY 1, 2
            UNION
            SELECT account_id, login::text FROM prop_trading_model.raw_trades_open WHERE account_id IS NOT NULL GROUP BY 1, 2
        ) AS trades
        WHERE NOT prop_trading_model.recon_is_placeholder(account_id, login)
          AND NOT EXISTS (
              SELECT FROM prop_trading_model.recon_identity AS i
              WHERE i.login = trades.account_id AND NOT EXISTS (SELECT FROM prop_trading_model.recon_identity AS own WHERE own.account_id = trades.account_id)
          )
        WITH NO DATA
    $view$;
    EXECUTE 'CREATE UNIQUE INDEX mv_all_account_ids_account_id ON ' || list || ' (account_id)';
    EXECUTE format('COMMENT ON MATERIALIZED VIEW %s IS %L', list,
        'every account id of the raw tables that is no placeholder; a login that only trades carry as an id is none');
    FOR i IN 1 .. coalesce(array_length(grants, 1), 0) LOOP
        EXECUTE grants[i];
    END LOOP;
END
$$;
