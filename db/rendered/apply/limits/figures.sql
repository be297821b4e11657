-- name: count_rows
-- Number of rows of accounts in all raw tables.
SELECT account_id, sum(rows)::bigint AS rows
FROM (
    SELECT account_id::text, count(*) AS rows FROM "prop_trading_model".raw_metrics_alltime WHERE account_id = ANY($1::text[]) GROUP BY account_id
    UNION ALL SELECT account_id::text, count(*) FROM "prop_trading_model".raw_metrics_daily WHERE account_id = ANY($1::text[]) GROUP BY account_id
    UNION ALL SELECT account_id::text, count(*) FROM "prop_trading_model".raw_metrics_hourly WHERE account_id = ANY($1::text[]) GROUP BY account_id
    UNION ALL SELECT account_id::text, count(*) FROM "prop_trading_model".raw_trades_closed WHERE account_id = ANY($1::text[]) GROUP BY account_id
    UNION ALL SELECT account_id::text, count(*) FROM "prop_trading_model".raw_trades_open WHERE account_id = ANY($1::text[]) GROUP BY account_id
) AS counted
GROUP BY account_id

-- name: count_trades
-- Number of trades that "prop_trading_model".raw_metrics_daily counts for accounts.
SELECT w.account_id, coalesce(c.trades, 0) AS trades
FROM unnest($1::text[]) AS w (account_id)
LEFT JOIN (
    SELECT account_id::text, sum("prop_trading_model".recon_count(t.num_trades))::bigint AS trades FROM "prop_trading_model".raw_metrics_daily AS t WHERE account_id = ANY($1::text[]) GROUP BY account_id
) AS c ON c.account_id = w.account_id

-- name: count_sent
-- Rows and trades that a fetch ($1) sent for accounts ($2); trades are null if any count is
-- invalid.
SELECT w.account_id, w.rows, w.trades AS trades
FROM (
    SELECT account_id, count(*) AS rows, CASE WHEN bool_or('num_trades (no count)' = ANY(nulled)) IS NOT TRUE THEN coalesce(sum("prop_trading_model".recon_count(num_trades)), 0) END AS trades FROM "prop_trading_model".recon_stage_daily WHERE fetch_id = $1 AND account_id = ANY($2::text[]) GROUP BY account_id
) AS w
