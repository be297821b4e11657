-- Retention is the owner's: from which date on the warehouse is compared, and what upstream counts of accounts before it.

CREATE TABLE prop_trading_model.recon_history (
    account_id   text PRIMARY KEY,
    history_from date NOT NULL,
    trades       bigint NOT NULL,
    net_profit   numeric,
    total_lots   numeric,
    read_at      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE prop_trading_model.recon_history IS
    'what upstream''s daily rows count of an account before the history that the warehouse keeps: alltime less that is what all other tables are compared with';
COMMENT ON COLUMN prop_trading_model.recon_history.history_from IS 'the first date that is not counted here';

CREATE TABLE prop_trading_model.recon_window (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    first_day date,
    noted_at  timestamptz NOT NULL DEFAULT now()
);
INSERT INTO prop_trading_model.recon_window DEFAULT VALUES;
COMMENT ON TABLE prop_trading_model.recon_window IS 'the first date of the history that runs compare, by RECON_HISTORY_FROM (one row); null: all';

ALTER TABLE prop_trading_model.recon_runs
    ADD COLUMN history_from date,
    ADD COLUMN missing_partitions text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN prop_trading_model.recon_runs.history_from IS 'the first date that the run compared; null: all';
COMMENT ON COLUMN prop_trading_model.recon_runs.missing_partitions IS 'what is to be done so that rows which the run fetched get a partition, each said once';

-- The date from which on the tables have partitions: the latest of the first bounds of those of them that are partitioned by ranges of dates. What
-- one of them holds no more is compared in none. Null where none has a first bound: no partition but a default one, or one without a lower end.
CREATE FUNCTION prop_trading_model.recon_held_from(parents text[]) RETURNS date
LANGUAGE sql STABLE
-- The bounds below are read from text.
SET datestyle = 'ISO' AS $$
    SELECT nullif(max(first), '-infinity')
    FROM (
        SELECT min(CASE bound[1] WHEN 'MINVALUE' THEN '-infinity' ELSE btrim(bound[1], '''')::date END) AS first
        FROM unnest(parents) AS parent
        JOIN pg_partitioned_table AS p ON p.partrelid = to_regclass(format('%I.%I', 'prop_trading_model', parent)) AND p.partstrat = 'r' AND p.partnatts = 1
        JOIN pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] AND a.atttypid = 'date'::regtype
        JOIN pg_inherits AS i ON i.inhparent = p.partrelid AND NOT i.inhdetachpending
        JOIN pg_class AS c ON c.oid = i.inhrelid
        CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES FROM \((.*)\) TO \((.*)\)$') AS bound
        GROUP BY p.partrelid
    ) AS tables
$$;
COMMENT ON FUNCTION prop_trading_model.recon_held_from IS 'the date from which on partitioned tables hold rows, as their attached partitions tell; null where these tell none';

-- People, and triggers of an earlier system, see the same as runs do.
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
    SELECT account_id, prop_trading_model.recon_count(num_trades)::bigint - coalesce((
               SELECT h.trades FROM prop_trading_model.recon_history AS h
               WHERE h.account_id = a.account_id AND h.history_from = (SELECT first_day FROM prop_trading_model.recon_window)
           ), 0), 1, 0, 0, 0, 0, 0, 0
    FROM prop_trading_model.raw_metrics_alltime AS a
) AS levels
GROUP BY account_id;
