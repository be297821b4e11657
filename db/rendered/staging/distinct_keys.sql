-- name: count_distinct_keys
-- Distinct keys of a fetch ($1) after an ordinal ($2). A repeated row, with or without a key, hides
-- a missing one; rejected rows compare as sent.
SELECT count(DISTINCT ("account_id", "login", "platform", "broker")) FILTER (WHERE "account_id" IS NOT NULL) + count(DISTINCT source::text) FILTER (WHERE NOT ("account_id" IS NOT NULL))
FROM "prop_trading_model".recon_stage_alltime
WHERE fetch_id = $1 AND ordinal > $2

-- name: tally_keys
-- Distinct keys of a fetch ($1), by account and by date.
SELECT account_id, count(*) AS keys
FROM (SELECT DISTINCT "account_id" FROM "prop_trading_model".recon_stage_alltime WHERE fetch_id = $1 AND refused IS NULL AND "account_id" IS NOT NULL) AS keys
GROUP BY GROUPING SETS ((account_id))
