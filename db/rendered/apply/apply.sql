-- name: get_moving_figures
-- Counts of upstream's daily rows in a fetch on unsettled dates ($2 to $3).
SELECT account_id, date AS day, sum("prop_trading_model".recon_count(num_trades))::bigint AS trades
FROM "prop_trading_model".recon_stage_daily
WHERE fetch_id = $1 AND account_id IS NOT NULL AND date BETWEEN $2::date AND $3::date
GROUP BY account_id, date
-- An invalid count proves nothing.
HAVING NOT coalesce(bool_or('num_trades (no count)' = ANY(nulled)), false)
