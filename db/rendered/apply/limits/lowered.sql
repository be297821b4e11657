-- name: count_moving_trades
-- Trades of accounts ($1) on unsettled dates (from $2 on), in each table below alltime.
SELECT account_id, sum(daily)::bigint AS daily, sum(hourly)::bigint AS hourly, sum(closed)::bigint AS closed
FROM (
    SELECT account_id::text AS account_id, "prop_trading_model".recon_count(num_trades)::bigint AS daily, 0::bigint AS hourly, 0::bigint AS closed
    FROM "prop_trading_model".raw_metrics_daily WHERE account_id = ANY($1::text[]) AND date BETWEEN $2::date AND '9999-12-31'
    UNION ALL
    SELECT account_id::text, 0, "prop_trading_model".recon_count(num_trades)::bigint, 0 FROM "prop_trading_model".raw_metrics_hourly WHERE account_id = ANY($1::text[]) AND date BETWEEN $2::date AND '9999-12-31'
    UNION ALL
    SELECT account_id::text, 0, 0, 1 FROM "prop_trading_model".raw_trades_closed WHERE account_id = ANY($1::text[]) AND trade_date BETWEEN $2::date AND '9999-12-31'
) AS rows
GROUP BY account_id

-- name: judge_lost_days_of_daily
-- Dates ($1, $2) before $3 on which daily was lowered: whether hourly rows or closed trades count
-- more than daily now (upstream lowers the account), neither does (daily alone had too much), or
-- one does not.
SELECT lost.account_id, lost.day, finer.most > daily.trades AS is_lowered, finer.most <= daily.trades AS is_damage, finer.least <= daily.trades AS is_shared
FROM unnest($1::text[], $2::date[]) AS lost (account_id, day)
JOIN (
    SELECT account_id::text AS account_id, date AS day, sum("prop_trading_model".recon_count(num_trades))::bigint AS trades FROM "prop_trading_model".raw_metrics_daily
    WHERE account_id = ANY($1::text[]) AND date = ANY($2::date[])
    GROUP BY account_id, date
) AS daily ON daily.account_id = lost.account_id AND daily.day = lost.day
JOIN (
    SELECT account_id, day, max(trades) AS most, min(trades) AS least
    FROM (
        SELECT account_id::text AS account_id, date AS day, sum("prop_trading_model".recon_count(num_trades))::bigint AS trades FROM "prop_trading_model".raw_metrics_hourly
        WHERE account_id = ANY($1::text[]) AND date = ANY($2::date[])
        GROUP BY account_id, date
        UNION ALL
        SELECT account_id::text, trade_date, count(*) FROM "prop_trading_model".raw_trades_closed
        WHERE account_id = ANY($1::text[]) AND trade_date = ANY($2::date[])
        GROUP BY account_id, trade_date
    ) AS sides
    GROUP BY account_id, day
) AS finer ON finer.account_id = lost.account_id AND finer.day = lost.day
WHERE $3::date IS NULL OR lost.day < $3::date

-- name: judge_lost_days_of_finer
-- Dates ($1, $2) before $3 on which table $4 (hourly rows or closed trades) lost rows or counts,
-- with the counts of the others there and in all (`life`): whether it counts fewer trades than
-- daily now, and whether it had too much, that is, still counts no fewer than another table of
-- which nothing was removed there since the account was whole. A missing daily row counts 0.
WITH sides AS MATERIALIZED (
    SELECT 'raw_metrics_daily' AS name, account_id::text AS account_id, date AS day, sum("prop_trading_model".recon_count(num_trades))::bigint AS trades FROM "prop_trading_model".raw_metrics_daily
    WHERE account_id = ANY($1::text[]) AND date BETWEEN '0001-01-01' AND '9999-12-31'
    GROUP BY account_id, date
    UNION ALL
    SELECT 'raw_metrics_hourly', account_id::text, date, sum("prop_trading_model".recon_count(num_trades))::bigint FROM "prop_trading_model".raw_metrics_hourly
    WHERE account_id = ANY($1::text[]) AND date BETWEEN '0001-01-01' AND '9999-12-31'
    GROUP BY account_id, date
    UNION ALL
    SELECT 'raw_trades_closed', account_id::text, trade_date, count(*) FROM "prop_trading_model".raw_trades_closed
    WHERE account_id = ANY($1::text[]) AND trade_date BETWEEN '0001-01-01' AND '9999-12-31'
    GROUP BY account_id, trade_date
), lives AS (
    SELECT account_id, name, sum(trades)::bigint AS trades FROM sides WHERE name <> $4 GROUP BY account_id, name
)
SELECT lost.account_id, lost.day, life.name, life.trades AS life,
       life.name = 'raw_metrics_daily' AND coalesce(own.trades < other.trades, false) AS is_lowered,
       (life.name = 'raw_metrics_daily' OR other.trades IS NOT NULL) AND coalesce(own.trades, 0) >= coalesce(other.trades, 0)
           AND NOT EXISTS (
               SELECT FROM "prop_trading_model".recon_removed_rows AS c
               JOIN "prop_trading_model".trade_recon AS w ON w.account_id = c.account_id
               WHERE c.account_id = lost.account_id AND c.table_name = life.name AND c.date = lost.day
                 AND c.removed_id > w.whole_copy AND c.run_id IS NOT NULL AND c.restored_at IS NULL
           ) AS is_damage
FROM unnest($1::text[], $2::date[]) AS lost (account_id, day)
JOIN lives AS life ON life.account_id = lost.account_id
LEFT JOIN sides AS other ON other.account_id = lost.account_id AND other.day = lost.day AND other.name = life.name
LEFT JOIN sides AS own ON own.account_id = lost.account_id AND own.day = lost.day AND own.name = $4
WHERE $3::date IS NULL OR lost.day < $3::date
