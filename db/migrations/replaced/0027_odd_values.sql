-- Statements over the whole warehouse survive every value that a column can hold.

-- A count of trades as the tables are compared by it, whatever type its column has. A missing one is 0, and one that counts nothing (NaN) too;
-- one beyond a trillion is a trillion, so that no sum overflows. Of a column of integers it is the value itself, at no cost: the planner sees through.
CREATE FUNCTION prop_trading_model.recon_count(value smallint) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(value, 0::smallint)::integer;
CREATE FUNCTION prop_trading_model.recon_count(value integer) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(value, 0);
CREATE FUNCTION prop_trading_model.recon_count(value bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN greatest(least(coalesce(value, 0), 1000000000000), -1000000000000);
CREATE FUNCTION prop_trading_model.recon_count(value numeric) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN greatest(least(coalesce(nullif(value, 'NaN'), 0), 1000000000000), -1000000000000)::bigint;
CREATE FUNCTION prop_trading_model.recon_count(value double precision) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN greatest(least(coalesce(nullif(value, 'NaN'), 0), 1000000000000), -1000000000000)::bigint;
CREATE FUNCTION prop_trading_model.recon_count(value real) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN greatest(least(coalesce(nullif(value, 'NaN'), 0), 1000000000000), -1000000000000)::bigint;
COMMENT ON FUNCTION prop_trading_model.recon_count(numeric) IS
    'a count of trades that can be summed: 0 for NULL and NaN, a trillion for what is beyond';

-- Rows of a date that no calendar holds (infinity, before year 1, after year 9999, none) are left out here; their accounts have an issue that names them.
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
    SELECT account_id, date, prop_trading_model.recon_count(num_trades) AS daily, NULL::bigint AS hourly, NULL::bigint AS closed, 1 AS daily_rows, NULL::bigint AS hourly_rows
    FROM prop_trading_model.raw_metrics_daily
    WHERE date BETWEEN '0001-01-01' AND '9999-12-31'
    UNION ALL
    SELECT account_id, date, NULL, coalesce(sum(prop_trading_model.recon_count(num_trades)), 0)::bigint, NULL, NULL, count(*)
    FROM prop_trading_model.raw_metrics_hourly
    WHERE date BETWEEN '0001-01-01' AND '9999-12-31'
    GROUP BY account_id, date
    UNION ALL
    SELECT account_id, trade_date, NULL, NULL, count(*), NULL, NULL
    FROM prop_trading_model.raw_trades_closed
    WHERE account_id IS NOT NULL AND trade_date BETWEEN '0001-01-01' AND '9999-12-31'
    GROUP BY account_id, trade_date
) AS sides
GROUP BY account_id, date;
COMMENT ON VIEW prop_trading_model.v_recon_days IS
    'the day matrix: what each table counts for an account on a date, side by side; an absent row counts 0, and rows of a date that no calendar holds are left out';

CREATE OR REPLACE VIEW prop_trading_model.v_recon_stats AS
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
    SELECT account_id, prop_trading_model.recon_count(num_trades)::bigint, 1, 0, 0, 0, 0, 0, 0
    FROM prop_trading_model.raw_metrics_alltime
) AS levels
GROUP BY account_id;

-- Entries of an earlier system may hold anything, and need be no list at all.
CREATE OR REPLACE FUNCTION prop_trading_model.get_issue_statistics()
RETURNS TABLE (issue_type text, severity integer, account_count bigint, sample_accounts text[])
LANGUAGE sql STABLE AS $$
    SELECT issue ->> 'type', CASE WHEN issue ->> 'severity' ~ '^\d{1,9}$' THEN (issue ->> 'severity')::integer END, count(DISTINCT account_id),
           (array_agg(DISTINCT account_id::text))[1:5]
    FROM prop_trading_model.trade_recon, jsonb_array_elements(CASE jsonb_typeof(issues) WHEN 'array' THEN issues ELSE '[]' END) AS issue
    WHERE issues <> '[]'
    GROUP BY 1, 2
    ORDER BY 2, 3 DESC, 1
$$;
