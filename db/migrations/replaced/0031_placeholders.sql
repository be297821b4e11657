-- A placeholder is told by its own row's natural key, never by its look: ids of 32 hex digits may be a firm's real ids.

CREATE FUNCTION prop_trading_model.recon_is_placeholder(account_id text, login text, platform text, broker text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN account_id = ''
    OR coalesce(account_id = login, false)
    -- The length first: it spares the MD5 of most ids.
    OR char_length(account_id) = 32 AND coalesce(
        lower(account_id) = md5(login || '|' || platform || '|' || coalesce(broker, ''))
            OR coalesce(broker, '') = '' AND lower(account_id) = md5(login || '|' || platform),
        false
    );
COMMENT ON FUNCTION prop_trading_model.recon_is_placeholder(text, text, text, text) IS
    'whether a row''s account id may stand in for an unknown one: it is the MD5 of the row''s own natural key, its login, or nothing';

-- What upstream itself said about natural keys that stand under a placeholder here.
CREATE TABLE prop_trading_model.recon_upstream_holders (
    login      text NOT NULL,
    platform   text NOT NULL,
    broker     text NOT NULL,
    account_id text NOT NULL,
    seen_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (login, platform, broker, account_id)
);
CREATE INDEX recon_upstream_holders_account ON prop_trading_model.recon_upstream_holders (account_id);
COMMENT ON INDEX prop_trading_model.recon_upstream_holders_account IS 'identity: refresh_identity of some accounts';
COMMENT ON TABLE prop_trading_model.recon_upstream_holders IS
    'accounts under which upstream sent a natural key that stands, or may stand, under a placeholder: the placeholder itself where upstream sends no id';

-- The list of accounts by the same rule. Where views of the user's stand on the old one it cannot be replaced: it stays, by a rule that loses no account.
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
        WITH known AS (
            SELECT DISTINCT account_id
            FROM (
                SELECT account_id, login::text, platform::text, broker::text FROM prop_trading_model.raw_metrics_alltime GROUP BY 1, 2, 3, 4
                UNION
                SELECT account_id, login::text, platform::text, broker::text FROM prop_trading_model.raw_metrics_daily GROUP BY 1, 2, 3, 4
            ) AS metrics
            WHERE NOT prop_trading_model.recon_is_placeholder(account_id, login, platform, broker)
        )
        SELECT account_id FROM known
        UNION
        -- Of hourly rows only those of accounts that are nowhere else are read with their natural keys.
        SELECT account_id
        FROM prop_trading_model.raw_metrics_hourly
        WHERE account_id = ANY(ARRAY(SELECT account_id FROM prop_trading_model.raw_metrics_hourly GROUP BY 1 EXCEPT SELECT account_id FROM known))
          AND NOT prop_trading_model.recon_is_placeholder(account_id, login::text, platform::text, broker::text)
        GROUP BY account_id
        UNION
        (
            SELECT account_id
            FROM (
                SELECT account_id, login::text, platform::text, broker::text
                FROM prop_trading_model.raw_trades_closed WHERE account_id IS NOT NULL GROUP BY 1, 2, 3, 4
                UNION
                SELECT account_id, login::text, platform::text, broker::text
                FROM prop_trading_model.raw_trades_open WHERE account_id IS NOT NULL GROUP BY 1, 2, 3, 4
            ) AS trades
            WHERE NOT prop_trading_model.recon_is_placeholder(account_id, login, platform, broker)
            EXCEPT
            -- Logins that trades carry as an id.
            SELECT login::varchar FROM prop_trading_model.recon_identity
        )
        UNION
        -- Accounts that hold a natural key, among them those that upstream knows by that alone.
        SELECT account_id::varchar FROM prop_trading_model.recon_identity
        WITH NO DATA
    $view$;
    EXECUTE 'CREATE UNIQUE INDEX mv_all_account_ids_account_id ON ' || list || ' (account_id)';
    EXECUTE format('COMMENT ON MATERIALIZED VIEW %s IS %L', list,
        'every account of the raw tables; an id that only stands in for an unknown one is none');
    FOR i IN 1 .. coalesce(array_length(grants, 1), 0) LOOP
        EXECUTE grants[i];
    END LOOP;
END
$$;

-- The rule of before, by the look of an id. Where an object of the user's calls it (his views on the list of accounts do), it stays, but loses no account.
DO $$
BEGIN
    EXECUTE 'DROP FUNCTION ' || quote_ident('prop_trading_model') || '.recon_is_placeholder(text, text)';
EXCEPTION WHEN dependent_objects_still_exist THEN
    EXECUTE $function$
        CREATE OR REPLACE FUNCTION prop_trading_model.recon_is_placeholder(account_id text, login text) RETURNS boolean
        LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN account_id = ''
    $function$;
END
$$;

-- Where the raw tables are distributed, their shards call it.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_dist_partition WHERE logicalrelid = 'prop_trading_model.raw_metrics_alltime'::regclass)
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_dist_object
            WHERE classid = 'pg_proc'::regclass AND objid = 'prop_trading_model.recon_is_placeholder(text, text, text, text)'::regprocedure
        )
    THEN
        PERFORM create_distributed_function('prop_trading_model.recon_is_placeholder(text, text, text, text)');
    END IF;
END
$$;
