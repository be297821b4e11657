-- The earlier system's migrations may be run again at any time: they replace update_trade_recon_stats(p_account_id varchar) and grant it without naming
-- argument types, which fails where another function of that name stands beside it. So ours has the argument of theirs, by type and name.
DO $$
DECLARE
    ours record;
    argument record;
BEGIN
    SELECT p.oid, p.proacl AS acl, p.proowner AS owner, pg_get_functiondef(p.oid) AS definition, p.proargnames[1] AS name INTO ours
    FROM pg_proc AS p
    WHERE p.pronamespace = quote_ident('prop_trading_model')::regnamespace AND p.proname = 'update_trade_recon_stats'
      AND p.proargtypes = ARRAY['text'::regtype::oid]::oidvector AND p.prokind = 'f';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT p.proargtypes[0]::regtype::text AS type, coalesce(p.proargnames[1], '') AS name INTO argument
    FROM pg_proc AS p
    WHERE p.pronamespace = quote_ident('prop_trading_model')::regnamespace AND p.proname ~ '^update_trade_recon_stats_before_trade_recon(_\d+)?$'
      AND p.prokind = 'f' AND p.pronargs = 1 AND p.proargtypes[0] IN ('text'::regtype, 'varchar'::regtype)
    ORDER BY p.proargtypes[0] = 'varchar'::regtype DESC, p.oid
    LIMIT 1;
    IF NOT FOUND THEN
        SELECT 'character varying' AS type, 'p_account_id' AS name INTO argument;
    END IF;
    IF (argument.type, argument.name) = ('text', coalesce(ours.name, '')) THEN
        RETURN;
    END IF;
    BEGIN
        EXECUTE format('DROP FUNCTION %s', ours.oid::regprocedure);
    EXCEPTION WHEN dependent_objects_still_exist THEN
        -- Something of the owner's is bound to it: it stays, and so does what that calls.
        RETURN;
    END;
    EXECUTE regexp_replace(
        ours.definition, '\([^)]*\)', replace(format('(%s %s)', CASE argument.name WHEN '' THEN '' ELSE quote_ident(argument.name) END, argument.type), '\', '\\')
    );
    EXECUTE format(
        'COMMENT ON FUNCTION prop_trading_model.update_trade_recon_stats(%s) IS %L', argument.type, 'recomputes the totals and the checksum of one account'
    );
    FOR argument IN
        SELECT a.privilege_type, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee
        FROM aclexplode(ours.acl) AS a
        WHERE a.grantee <> ours.owner
    LOOP
        EXECUTE format('GRANT %s ON FUNCTION prop_trading_model.update_trade_recon_stats TO %s', argument.privilege_type, argument.grantee);
    END LOOP;
END
$$;

-- Their function leaves the figure of a table empty that has no rows of the account, as it did before trade-recon: the columns take that, and the next
-- maintenance writes 0. Where the earlier system's own column is NOT NULL, it stays so.
DO $$
DECLARE
    figure text;
    facts jsonb;
BEGIN
    IF to_regclass(quote_ident('prop_trading_model') || '.recon_earlier') IS NOT NULL THEN
        SELECT e.facts INTO facts FROM prop_trading_model.recon_earlier AS e WHERE e.name = 'trade_recon';
    END IF;
    FOREACH figure IN ARRAY ARRAY['num_trades_alltime', 'num_trades_daily', 'num_trades_hourly', 'num_trades_raw_closed'] LOOP
        CONTINUE WHEN facts -> 'columns' @> jsonb_build_array(jsonb_build_object('name', figure, 'not_null', true));
        EXECUTE format('ALTER TABLE prop_trading_model.trade_recon ALTER COLUMN %I DROP NOT NULL', figure);
    END LOOP;
END
$$;
