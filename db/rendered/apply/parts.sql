-- name: count_staged
-- Number of staged rows by account.
SELECT account_id, count(*) AS rows FROM "prop_trading_model".recon_stage_closed WHERE fetch_id = $1 AND account_id IS NOT NULL GROUP BY account_id

-- name: count_staged_days
-- Number of an account's staged rows by date.
SELECT "trade_date" AS day, count(*) AS rows FROM "prop_trading_model".recon_stage_closed WHERE fetch_id = $1 AND account_id = $2 AND "trade_date" IS NOT NULL GROUP BY 1 ORDER BY 1
