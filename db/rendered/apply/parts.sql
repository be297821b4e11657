-- name: count_staged
-- How many staged rows each account has.
SELECT account_id, count(*) AS rows FROM "prop_trading_model".recon_stage_closed WHERE fetch_id = $1 AND account_id IS NOT NULL GROUP BY account_id

-- name: count_staged_days
-- How many staged rows an account has on each date.
SELECT "trade_date" AS day, count(*) AS rows FROM "prop_trading_model".recon_stage_closed WHERE fetch_id = $1 AND account_id = $2 AND "trade_date" IS NOT NULL GROUP BY 1 ORDER BY 1
