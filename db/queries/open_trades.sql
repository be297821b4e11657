-- name: count_stored
-- How many open trades are stored of each date; without one where no calendar holds it.
SELECT CASE WHEN trade_date BETWEEN '0001-01-01' AND '9999-12-31' THEN trade_date END AS day, count(*) AS rows
FROM {{open}}
GROUP BY 1

-- name: note_compared
-- What an audit found of open trades.
UPDATE prop_trading_model.recon_runs SET open_trades = $2 WHERE run_id = $1
