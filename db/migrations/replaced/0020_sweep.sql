-- Reading the whole warehouse at the cost of its rows: leaner views, and a way to find what was written lately.

-- A row a date from each side first: then max() picks its figure, which costs half of what sums of bigint do. Daily has a row a date already,
-- or is summed up here, where its table has no key that sees to it.
CREATE OR REPLACE VIEW prop_trading_model.v_recon_days AS
SELECT
    account_id,
    date,
    coalesce(sum(daily), 0)::bigint AS daily,
    coalesce(max(hourly), 0) AS hourly,
    coalesce(max(closed), 0) AS closed,
    coalesce(sum(daily_rows), 0) AS daily_rows,
    coalesce(max(hourly_rows), 0) AS hourly_rows
FROM (
    SELECT account_id, date, num_trades AS daily, NULL::bigint AS hourly, NULL::bigint AS closed, 1 AS daily_rows, NULL::bigint AS hourly_rows
    FROM prop_trading_model.raw_metrics_daily
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
        (
            SELECT account_id
            FROM (
                SELECT account_id, login::text FROM prop_trading_model.raw_trades_closed WHERE account_id IS NOT NULL GROUP BY 1, 2
                UNION
                SELECT account_id, login::text FROM prop_trading_model.raw_trades_open WHERE account_id IS NOT NULL GROUP BY 1, 2
            ) AS trades
            WHERE NOT prop_trading_model.recon_is_placeholder(account_id, login)
            EXCEPT
            -- Logins that trades carry as an id; not those that are an account's id too.
            (
                SELECT login::varchar FROM prop_trading_model.recon_identity
                EXCEPT
                SELECT account_id::varchar FROM prop_trading_model.recon_identity
            )
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

ALTER TABLE prop_trading_model.recon_runs ADD COLUMN covers_until timestamptz;
COMMENT ON COLUMN prop_trading_model.recon_runs.covers_until IS
    'what was written before this time was looked at, if the run ended in order; null for runs of named accounts, and for one that left accounts out';
CREATE INDEX recon_runs_covers_until ON prop_trading_model.recon_runs (covers_until DESC) WHERE covers_until IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_runs_covers_until IS 'touched: get_covered_until';

-- When a row was written, for runs of only what changed. Only in tables that we made and that are still small: elsewhere it would keep
-- ingestion waiting, and `trade-recon adopt` prints the statements that do not.
DO $$
DECLARE
    raw text;
BEGIN
    FOREACH raw IN ARRAY ARRAY['raw_metrics_alltime', 'raw_metrics_daily', 'raw_metrics_hourly', 'raw_trades_closed', 'raw_trades_open'] LOOP
        CONTINUE WHEN NOT EXISTS (SELECT FROM prop_trading_model.recon_migrations WHERE right(name, -5) = raw AND NOT adopted);
        CONTINUE WHEN (
            SELECT sum(pg_relation_size(relid)) > 1073741824 FROM pg_partition_tree(format('%I.%I', 'prop_trading_model', raw)::regclass)
        );
        EXECUTE format(
            'CREATE INDEX %I ON %I.%I USING brin (ingestion_timestamp) WITH (pages_per_range = 32, autosummarize = on)',
            raw || '_ingested', 'prop_trading_model', raw
        );
        EXECUTE format('COMMENT ON INDEX %I.%I IS %L', 'prop_trading_model', raw || '_ingested', 'touched: get_touched_accounts');
    END LOOP;
END
$$;
