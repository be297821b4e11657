-- name: count_stored
-- Stored open trades by date; null for impossible dates.
SELECT CASE WHEN trade_date BETWEEN '0001-01-01' AND '9999-12-31' THEN trade_date END AS day,
    count(*) AS rows
FROM "prop_trading_model".raw_trades_open
GROUP BY 1

-- name: note_compared
-- Record an audit's findings on open trades.
UPDATE "prop_trading_model".recon_runs SET open_trades = $2 WHERE run_id = $1

-- name: get_natural_keys
-- Past and present natural keys of accounts ($1).
SELECT DISTINCT login, platform, broker FROM "prop_trading_model".recon_identity
    WHERE account_id = ANY($1::text[]) AND login <> ''

-- name: count_stored_of_keys
-- Stored open trades of natural keys ($1, $2, $3) by date; null for impossible dates.
SELECT CASE WHEN t.trade_date BETWEEN '0001-01-01' AND '9999-12-31' THEN t.trade_date END AS day,
    count(*) AS rows
FROM "prop_trading_model".raw_trades_open AS t
JOIN unnest($1::text[], $2::text[], $3::text[]) AS k (login, platform, broker)
  ON t.login::text = k.login AND t.platform::text = k.platform
      AND coalesce(t.broker::text, '') = k.broker
GROUP BY 1

-- name: note_compared_of_accounts
-- Record a run's findings on open trades of its named accounts.
UPDATE "prop_trading_model".recon_runs SET named_open_trades = $2 WHERE run_id = $1
