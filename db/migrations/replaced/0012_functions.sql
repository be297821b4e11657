-- Functions, views and the materialized view: those of the first system keep their names and shapes.

-- Where the first system's own stand, they are put aside under another name: what depends on them goes on as it was. Until the end of
-- this file a setting of the transaction keeps who is whose predecessor.
DO $$
DECLARE
    old record;
    free text;
    aside jsonb := '[]';
BEGIN
    FOR old IN
        SELECT 'ROUTINE' AS kind, p.oid, p.oid::regprocedure::text AS identity, p.proname::text AS name, p.proargnames[1] AS argument
        FROM pg_proc AS p
        WHERE p.pronamespace = quote_ident('prop_trading_model')::regnamespace AND p.proname IN ('update_trade_recon_stats', 'get_issue_statistics')
        UNION ALL
        SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'i' THEN 'INDEX' ELSE 'TABLE' END,
               c.oid, c.oid::regclass::text, c.relname::text, NULL
        FROM pg_class AS c
        WHERE c.relnamespace = quote_ident('prop_trading_model')::regnamespace
          AND c.relname IN ('v_reconciliation_progress', 'mv_all_account_ids', 'mv_all_account_ids_account_id')
    LOOP
        SELECT name INTO free
        FROM generate_series(1, 1000) AS number
        CROSS JOIN LATERAL (SELECT old.name || '_before_trade_recon' || CASE number WHEN 1 THEN '' ELSE '_' || number END AS name) AS named
        WHERE to_regclass(format('%I.%I', 'prop_trading_model', name)) IS NULL
          AND NOT EXISTS (SELECT FROM pg_proc WHERE pronamespace = quote_ident('prop_trading_model')::regnamespace AND proname = named.name)
        ORDER BY number
        LIMIT 1;
        EXECUTE format('ALTER %s %s RENAME TO %I', old.kind, old.identity, free);
        aside := aside || jsonb_build_object('name', old.name, 'oid', old.oid::bigint, 'kind', old.kind, 'argument', old.argument);
    END LOOP;
    PERFORM set_config('trade_recon.put_aside', aside::text, true);
END
$$;

CREATE FUNCTION prop_trading_model.recon_is_placeholder(account_id text, login text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN account_id ~ '^[0-9a-fA-F]{32}$' OR coalesce(account_id = login, false) OR account_id = '';
COMMENT ON FUNCTION prop_trading_model.recon_is_placeholder IS 'whether an account id stands in for an unknown one: 32 hex digits (MD5 of the natural key), a login, or nothing';

CREATE FUNCTION prop_trading_model.recon_create_partitions(parent text, months date[]) RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    month date;
    partition text;
    created text[] := '{}';
    parent_table regclass := format('%I.%I', 'prop_trading_model', parent)::regclass;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = parent_table) THEN
        RETURN created;
    END IF;
    -- Two workers that need the same month: the second waits here, then finds it made.
    PERFORM pg_advisory_xact_lock(hashtext('trade-recon partitions'), parent_table::oid::integer);
    FOR month IN SELECT DISTINCT date_trunc('month', m)::date FROM unnest(months) m ORDER BY 1 LOOP
        partition := format('%s_%s', parent, to_char(month, 'YYYY_MM'));
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_inherits WHERE inhparent = parent_table AND inhrelid = to_regclass(format('%I.%I', 'prop_trading_model', partition))
        );
        BEGIN
            -- The table first, then ATTACH: it takes a weaker lock on the parent than CREATE TABLE ... PARTITION OF.
            EXECUTE format(
                'CREATE TABLE IF NOT EXISTS %I.%I (LIKE %I.%I INCLUDING ALL)', 'prop_trading_model', partition, 'prop_trading_model', parent
            );
            EXECUTE format(
                'ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
                'prop_trading_model', parent, 'prop_trading_model', partition, month, (month + interval '1 month')::date
            );
            created := created || partition;
        EXCEPTION WHEN invalid_object_definition OR check_violation THEN
            -- A partition of another name holds this month already, or the default partition has rows of it and takes the new ones
            -- too: there is nothing to make, and the inner block undid the table.
            NULL;
        END;
    END LOOP;
    RETURN created;
END
$$;
COMMENT ON FUNCTION prop_trading_model.recon_create_partitions IS 'makes the monthly partitions TABLE_YYYY_MM that are missing; gives the names of those made';

SELECT prop_trading_model.recon_create_partitions(
    parent, ARRAY(SELECT generate_series(date_trunc('month', now()) - interval '1 month', now() + interval '1 month', interval '1 month')::date)
)
FROM unnest(ARRAY['raw_metrics_daily', 'raw_metrics_hourly', 'raw_trades_closed', 'raw_trades_open']) AS parent
-- Only of tables that we made: in a warehouse that stood, nothing is added ahead of a need.
WHERE EXISTS (SELECT FROM prop_trading_model.recon_migrations WHERE right(name, -5) = parent AND NOT adopted);

CREATE VIEW prop_trading_model.v_recon_days AS
SELECT
    account_id,
    date,
    sum(daily)::bigint AS daily,
    sum(hourly)::bigint AS hourly,
    sum(closed)::bigint AS closed,
    sum(daily_rows)::bigint AS daily_rows,
    sum(hourly_rows)::bigint AS hourly_rows
FROM (
    SELECT account_id, date, coalesce(num_trades, 0)::bigint AS daily, 0::bigint AS hourly, 0::bigint AS closed, 1::bigint AS daily_rows, 0::bigint AS hourly_rows
    FROM prop_trading_model.raw_metrics_daily
    UNION ALL
    SELECT account_id, date, 0, coalesce(sum(num_trades), 0)::bigint, 0, 0, count(*)
    FROM prop_trading_model.raw_metrics_hourly
    GROUP BY account_id, date
    UNION ALL
    SELECT account_id, trade_date, 0, 0, count(*), 0, 0
    FROM prop_trading_model.raw_trades_closed
    WHERE account_id IS NOT NULL
    GROUP BY account_id, trade_date
) AS sides
GROUP BY account_id, date;
COMMENT ON VIEW prop_trading_model.v_recon_days IS 'the day matrix: what each table counts for an account on a date, side by side; an absent row counts 0';

CREATE VIEW prop_trading_model.v_recon_stats AS
SELECT
    account_id,
    sum(alltime_rows) > 0 AS has_alltime,
    sum(alltime)::bigint AS alltime,
    sum(daily_rows) > 0 AS has_daily,
    sum(daily)::bigint AS daily,
    sum(hourly_rows) > 0 AS has_hourly,
    sum(hourly)::bigint AS hourly,
    sum(closed) > 0 AS has_closed,
    sum(closed)::bigint AS closed,
    sum(mismatched)::bigint AS mismatched_days
FROM (
    SELECT
        account_id, 0::bigint AS alltime, 0::bigint AS alltime_rows, daily, daily_rows, hourly, hourly_rows, closed,
        (daily <> hourly OR daily <> closed)::integer AS mismatched
    FROM prop_trading_model.v_recon_days
    UNION ALL
    SELECT account_id, coalesce(num_trades, 0)::bigint, 1, 0, 0, 0, 0, 0, 0
    FROM prop_trading_model.raw_metrics_alltime
) AS levels
GROUP BY account_id;
COMMENT ON VIEW prop_trading_model.v_recon_stats IS 'the totals of each account by table, and the number of dates on which the tables disagree';

CREATE FUNCTION prop_trading_model.update_trade_recon_stats(account_id text) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO prop_trading_model.trade_recon AS r (
        account_id, has_alltime, num_trades_alltime, has_daily, num_trades_daily, has_hourly, num_trades_hourly,
        has_raw_closed, num_trades_raw_closed, mismatched_days, trades_recon_checksum, last_checked
    )
    SELECT
        wanted.account_id, coalesce(has_alltime, false), coalesce(alltime, 0), coalesce(has_daily, false), coalesce(daily, 0),
        coalesce(has_hourly, false), coalesce(hourly, 0), coalesce(has_closed, false), coalesce(closed, 0), coalesce(mismatched_days, 0),
        coalesce(alltime, 0) = coalesce(daily, 0) AND coalesce(daily, 0) = coalesce(hourly, 0) AND coalesce(hourly, 0) = coalesce(closed, 0) AND coalesce(alltime, 0) >= 0,
        now()
    FROM (SELECT $1 AS account_id) AS wanted
    LEFT JOIN (SELECT * FROM prop_trading_model.v_recon_stats WHERE account_id = $1) AS s ON true
    -- Triggers of ingestion may call this for trades that have no account yet.
    WHERE $1 IS NOT NULL
    ON CONFLICT (account_id) DO UPDATE SET
        has_alltime = excluded.has_alltime, num_trades_alltime = excluded.num_trades_alltime,
        has_daily = excluded.has_daily, num_trades_daily = excluded.num_trades_daily,
        has_hourly = excluded.has_hourly, num_trades_hourly = excluded.num_trades_hourly,
        has_raw_closed = excluded.has_raw_closed, num_trades_raw_closed = excluded.num_trades_raw_closed,
        mismatched_days = excluded.mismatched_days, trades_recon_checksum = excluded.trades_recon_checksum,
        last_checked = excluded.last_checked
$$;
COMMENT ON FUNCTION prop_trading_model.update_trade_recon_stats IS 'recomputes the totals and the checksum of one account';

CREATE FUNCTION prop_trading_model.get_issue_statistics()
RETURNS TABLE (issue_type text, severity integer, account_count bigint, sample_accounts text[])
LANGUAGE sql STABLE AS $$
    SELECT issue ->> 'type', (issue ->> 'severity')::integer, count(DISTINCT account_id),
           (array_agg(DISTINCT account_id::text))[1:5]
    FROM prop_trading_model.trade_recon, jsonb_array_elements(issues) AS issue
    WHERE issues <> '[]'
    GROUP BY 1, 2
    ORDER BY 2, 3 DESC, 1
$$;
COMMENT ON FUNCTION prop_trading_model.get_issue_statistics IS 'open issues by type and severity, with five accounts of each';

CREATE VIEW prop_trading_model.v_reconciliation_progress AS
SELECT
    count(*) AS total_accounts,
    count(*) FILTER (WHERE trades_recon_checksum) AS reconciled,
    count(*) FILTER (WHERE NOT trades_recon_checksum) AS needs_reconciliation,
    count(*) FILTER (WHERE failed_attempts > 0) AS has_failures,
    count(*) FILTER (WHERE issues <> '[]') AS has_issues,
    coalesce(round(100.0 * count(*) FILTER (WHERE trades_recon_checksum) / nullif(count(*), 0), 2), 0) AS reconciliation_percentage,
    max(greatest(last_checked, last_reconciled)) AS last_activity,
    min(last_checked) FILTER (WHERE NOT trades_recon_checksum) AS oldest_unreconciled
FROM prop_trading_model.trade_recon;
COMMENT ON VIEW prop_trading_model.v_reconciliation_progress IS 'how much of the warehouse agrees with itself';

CREATE VIEW prop_trading_model.v_recon_mismatched AS
SELECT account_id FROM prop_trading_model.trade_recon WHERE NOT trades_recon_checksum OR mismatched_days > 0 OR issues <> '[]'
UNION
SELECT account_id FROM prop_trading_model.recon_descents
UNION
SELECT account_id FROM prop_trading_model.recon_issue_history WHERE closed_at IS NULL;
COMMENT ON VIEW prop_trading_model.v_recon_mismatched IS
    'accounts that a run looks at: their tables disagree, an issue is open, or a descent that an audit began is not finished';

CREATE MATERIALIZED VIEW prop_trading_model.mv_all_account_ids AS
SELECT account_id FROM prop_trading_model.raw_metrics_alltime WHERE NOT prop_trading_model.recon_is_placeholder(account_id, login::text)
UNION
SELECT account_id FROM prop_trading_model.raw_metrics_daily WHERE NOT prop_trading_model.recon_is_placeholder(account_id, login::text)
UNION
SELECT account_id FROM prop_trading_model.raw_metrics_hourly WHERE NOT prop_trading_model.recon_is_placeholder(account_id, login::text)
UNION
SELECT account_id FROM prop_trading_model.raw_trades_closed AS t
WHERE NOT prop_trading_model.recon_is_placeholder(account_id, login::text)
  AND NOT EXISTS (
      SELECT FROM prop_trading_model.recon_identity AS i
      WHERE i.login = t.account_id AND NOT EXISTS (SELECT FROM prop_trading_model.recon_identity AS own WHERE own.account_id = t.account_id)
  )
UNION
SELECT account_id FROM prop_trading_model.raw_trades_open AS t
WHERE NOT prop_trading_model.recon_is_placeholder(account_id, login::text)
  AND NOT EXISTS (
      SELECT FROM prop_trading_model.recon_identity AS i
      WHERE i.login = t.account_id AND NOT EXISTS (SELECT FROM prop_trading_model.recon_identity AS own WHERE own.account_id = t.account_id)
  )
WITH NO DATA;
CREATE UNIQUE INDEX mv_all_account_ids_account_id ON prop_trading_model.mv_all_account_ids (account_id);
COMMENT ON MATERIALIZED VIEW prop_trading_model.mv_all_account_ids IS 'every account id of the raw tables that is no placeholder; a login that only trades carry as an id is none';

-- Callers that name the argument as the first system did go on, and whoever might read or call its objects may do so with ours.
DO $$
DECLARE
    argument text;
    granted record;
    definition text := pg_get_functiondef('prop_trading_model.update_trade_recon_stats(text)'::regprocedure);
BEGIN
    SELECT aside ->> 'argument' INTO argument
    FROM jsonb_array_elements(current_setting('trade_recon.put_aside')::jsonb) AS aside
    WHERE aside ->> 'name' = 'update_trade_recon_stats' AND aside ->> 'argument' <> '';
    IF argument IS NOT NULL THEN
        DROP FUNCTION prop_trading_model.update_trade_recon_stats(text);
        EXECUTE replace(definition, '(account_id text)', format('(%I text)', argument));
    END IF;
    FOR granted IN
        SELECT
            CASE aside ->> 'kind' WHEN 'ROUTINE' THEN 'FUNCTION ' ELSE '' END || ours.identity AS object,
            acl.privilege_type, CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END AS grantee
        FROM jsonb_array_elements(current_setting('trade_recon.put_aside')::jsonb) AS aside
        JOIN (
            SELECT oid::bigint, proowner AS owner, proacl AS acl FROM pg_proc
            UNION ALL
            SELECT oid::bigint, relowner, relacl FROM pg_class
        ) AS old ON old.oid = (aside ->> 'oid')::bigint
        JOIN (
            SELECT p.proname::text AS name, p.oid::regprocedure::text AS identity FROM pg_proc AS p WHERE p.pronamespace = quote_ident('prop_trading_model')::regnamespace
            UNION ALL
            SELECT c.relname::text, c.oid::regclass::text FROM pg_class AS c WHERE c.relnamespace = quote_ident('prop_trading_model')::regnamespace
        ) AS ours ON ours.name = aside ->> 'name'
        CROSS JOIN LATERAL aclexplode(old.acl) AS acl
        WHERE acl.grantee <> old.owner AND aside ->> 'kind' <> 'INDEX'
    LOOP
        EXECUTE format('GRANT %s ON %s TO %s', granted.privilege_type, granted.object, granted.grantee);
    END LOOP;
END
$$;
