-- Views, the account list and the functions that dashboards call: those of the earlier system keep their names and shapes.

-- Where the earlier system's own stand, they are put aside under another name: what depends on them goes on as it was. Until the
-- end of this file a setting of the transaction keeps which of ours takes the place of which of theirs.
DO $$
DECLARE
    old record;
    free text;
    aside jsonb := '[]';
BEGIN
    FOR old IN
        SELECT 'ROUTINE' AS kind, p.oid, p.oid::regprocedure::text AS identity, p.proname::text AS name
        FROM pg_proc AS p
        WHERE p.pronamespace = quote_ident('prop_trading_model')::regnamespace AND p.proname IN ('update_trade_recon_stats', 'get_issue_statistics')
        UNION ALL
        SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'i' THEN 'INDEX' ELSE 'TABLE' END,
               c.oid, c.oid::regclass::text, c.relname::text
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
        aside := aside || jsonb_build_object('name', old.name, 'oid', old.oid::bigint, 'kind', old.kind);
    END LOOP;
    PERFORM set_config('trade_recon.put_aside', aside::text, true);
END
$$;

-- People, and triggers of an earlier system, see the same as runs do. Each side has a row a date: max() picks its figure, which
-- costs half of what sums of bigint do. Rows of a date that no calendar holds (infinity, before year 1, after year 9999, none) are
-- left out; their accounts have an issue that names them.
CREATE VIEW prop_trading_model.v_recon_days AS
SELECT
    account_id,
    date,
    coalesce(sum(daily), 0)::bigint AS daily,
    coalesce(max(hourly), 0) AS hourly,
    coalesce(max(closed), 0) AS closed,
    coalesce(sum(daily_rows), 0) AS daily_rows,
    coalesce(max(hourly_rows), 0) AS hourly_rows
FROM (
    SELECT account_id, date, prop_trading_model.recon_count(num_trades) AS daily, NULL::bigint AS hourly, NULL::bigint AS closed, 1 AS daily_rows, NULL::bigint AS hourly_rows
    FROM prop_trading_model.raw_metrics_daily
    WHERE date BETWEEN coalesce((SELECT first_day FROM prop_trading_model.recon_window), '0001-01-01') AND '9999-12-31'
    UNION ALL
    SELECT account_id, date, NULL, coalesce(sum(prop_trading_model.recon_count(num_trades)), 0)::bigint, NULL, NULL, count(*)
    FROM prop_trading_model.raw_metrics_hourly
    WHERE date BETWEEN coalesce((SELECT first_day FROM prop_trading_model.recon_window), '0001-01-01') AND '9999-12-31'
    GROUP BY account_id, date
    UNION ALL
    SELECT account_id, trade_date, NULL, NULL, count(*), NULL, NULL
    FROM prop_trading_model.raw_trades_closed
    WHERE account_id IS NOT NULL AND trade_date BETWEEN coalesce((SELECT first_day FROM prop_trading_model.recon_window), '0001-01-01') AND '9999-12-31'
    GROUP BY account_id, trade_date
) AS sides
GROUP BY account_id, date;
COMMENT ON VIEW prop_trading_model.v_recon_days IS
    'the day matrix: what each table counts for an account on a date, side by side; an absent row counts 0; rows of before the history that is kept, and of a date that no calendar holds, are left out';

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
    SELECT account_id, prop_trading_model.recon_count(num_trades)::bigint - coalesce((
               SELECT h.trades FROM prop_trading_model.recon_history AS h
               WHERE h.account_id = a.account_id AND h.history_from = (SELECT first_day FROM prop_trading_model.recon_window)
           ), 0), 1, 0, 0, 0, 0, 0, 0
    FROM prop_trading_model.raw_metrics_alltime AS a
) AS levels
GROUP BY account_id;
COMMENT ON VIEW prop_trading_model.v_recon_stats IS
    'the totals of each account by table, and the number of dates on which the tables disagree';

CREATE VIEW prop_trading_model.v_recon_mismatched AS
SELECT account_id FROM prop_trading_model.trade_recon
WHERE NOT trades_recon_checksum OR mismatched_days > 0 OR mismatched_money > 0 OR issues <> '[]'
UNION
SELECT account_id FROM prop_trading_model.recon_descents
UNION
SELECT account_id FROM prop_trading_model.recon_issue_history WHERE closed_at IS NULL;
COMMENT ON VIEW prop_trading_model.v_recon_mismatched IS
    'accounts that a run looks at: their tables disagree, an issue is open, or a descent that an audit began is not finished';

CREATE VIEW prop_trading_model.v_reconciliation_progress AS
SELECT
    count(*) AS total_accounts,
    count(*) FILTER (WHERE trades_recon_checksum AND mismatched_days = 0 AND mismatched_money = 0 AND issues = '[]') AS reconciled,
    count(*) FILTER (WHERE NOT trades_recon_checksum OR mismatched_days > 0 OR mismatched_money > 0 OR issues <> '[]') AS needs_reconciliation,
    count(*) FILTER (WHERE failed_attempts > 0) AS has_failures,
    count(*) FILTER (WHERE issues <> '[]') AS has_issues,
    coalesce(
        round(100.0 * count(*) FILTER (WHERE trades_recon_checksum AND mismatched_days = 0 AND mismatched_money = 0 AND issues = '[]') / nullif(count(*), 0), 2), 0
    ) AS reconciliation_percentage,
    max(greatest(last_checked, last_reconciled)) AS last_activity,
    min(last_checked) FILTER (WHERE NOT trades_recon_checksum OR mismatched_days > 0 OR mismatched_money > 0 OR issues <> '[]') AS oldest_unreconciled
FROM prop_trading_model.trade_recon;
COMMENT ON VIEW prop_trading_model.v_reconciliation_progress IS 'how much of the warehouse agrees with itself';

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
WITH NO DATA;
CREATE UNIQUE INDEX mv_all_account_ids_account_id ON prop_trading_model.mv_all_account_ids (account_id);
COMMENT ON MATERIALIZED VIEW prop_trading_model.mv_all_account_ids IS
    'every account of the raw tables; an id that only stands in for an unknown one is none';

-- Dashboards call it whose roles may read trade_recon and nothing else of ours. An entry that an earlier system wrote may be anything:
-- without a type that is a text it is unknown, without a severity from 1 to 5 for information.
CREATE FUNCTION prop_trading_model.get_issue_statistics()
RETURNS TABLE (issue_type text, severity integer, account_count bigint, sample_accounts text[])
LANGUAGE sql STABLE AS $$
    SELECT CASE jsonb_typeof(issue -> 'type') WHEN 'string' THEN issue ->> 'type' ELSE 'unknown' END,
           CASE WHEN issue ->> 'severity' ~ '^[1-5]$' THEN (issue ->> 'severity')::integer ELSE 5 END, count(DISTINCT account_id),
           (array_agg(DISTINCT account_id::text))[1:5]
    FROM prop_trading_model.trade_recon, jsonb_array_elements(CASE jsonb_typeof(issues) WHEN 'array' THEN issues ELSE '[]' END) AS issue
    WHERE issues <> '[]'
    GROUP BY 1, 2
    ORDER BY 2, 3 DESC, 1
$$;
COMMENT ON FUNCTION prop_trading_model.get_issue_statistics IS
    'open issues by type and severity, with five accounts of each';

CREATE FUNCTION prop_trading_model.update_trade_recon_stats(p_account_id varchar) RETURNS void
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

-- The earlier system's migrations may be run again at any time: they replace this function and grant it without naming argument
-- types, which fails where another function of that name stands beside it. So ours has the argument of theirs, by type and name.
DO $$
DECLARE
    argument record;
    ours text;
BEGIN
    SELECT p.proargtypes[0]::regtype::text AS type, coalesce(quote_ident(nullif(p.proargnames[1], '')), '') AS name INTO argument
    FROM pg_proc AS p
    WHERE p.pronamespace = quote_ident('prop_trading_model')::regnamespace AND p.proname ~ '^update_trade_recon_stats_before_trade_recon(_\d+)?$'
      AND p.prokind = 'f' AND p.pronargs = 1 AND p.proargtypes[0] IN ('text'::regtype, 'varchar'::regtype)
    ORDER BY p.proargtypes[0] = 'varchar'::regtype DESC, p.oid
    LIMIT 1;
    IF FOUND AND (argument.type, argument.name) <> ('character varying', 'p_account_id') THEN
        ours := pg_get_functiondef('prop_trading_model.update_trade_recon_stats'::regproc);
        DROP FUNCTION prop_trading_model.update_trade_recon_stats;
        EXECUTE replace(ours, '(p_account_id character varying)', format('(%s %s)', argument.name, argument.type));
    END IF;
END
$$;
COMMENT ON FUNCTION prop_trading_model.update_trade_recon_stats IS
    'recomputes the totals and the checksum of one account';

-- A role that might read or call the earlier system's objects may do so with ours.
DO $$
DECLARE
    granted record;
BEGIN
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
