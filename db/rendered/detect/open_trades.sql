-- name: count_stored
-- How many open trades are stored of each date; without one where no calendar holds it.
SELECT CASE WHEN trade_date BETWEEN '0001-01-01' AND '9999-12-31' THEN trade_date END AS day,
    count(*) AS rows
FROM "prop_trading_model".raw_trades_open
GROUP BY 1

-- name: note_compared
-- What an audit found of open trades.
UPDATE "prop_trading_model".recon_runs SET open_trades = $2 WHERE run_id = $1

-- name: get_natural_keys
-- The natural keys that accounts ($1) have or had.
SELECT DISTINCT login, platform, broker FROM "prop_trading_model".recon_identity
    WHERE account_id = ANY($1::text[]) AND login <> ''

-- name: count_stored_of_keys
-- How many open trades of natural keys ($1, $2, $3) are stored of each date; without one where no
-- calendar holds it.
SELECT CASE WHEN t.trade_date BETWEEN '0001-01-01' AND '9999-12-31' THEN t.trade_date END AS day,
    count(*) AS rows
FROM "prop_trading_model".raw_trades_open AS t
JOIN unnest($1::text[], $2::text[], $3::text[]) AS k (login, platform, broker)
  ON t.login::text = k.login AND t.platform::text = k.platform
      AND coalesce(t.broker::text, '') = k.broker
GROUP BY 1

-- name: note_compared_of_accounts
-- What a run found of the open trades of its named accounts.
UPDATE "prop_trading_model".recon_runs SET named_open_trades = $2 WHERE run_id = $1
