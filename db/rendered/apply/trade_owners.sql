-- name: resolve_staged_trades
-- Assign staged trades to the one account that held their natural key on their date, computed once
-- per key and date. Returns newly assigned rows by account.
WITH held AS MATERIALIZED (
    SELECT k.login, k.platform, k.broker, k.trade_date, (
        SELECT min(i.account_id)
        FROM "prop_trading_model".recon_identity AS i
        WHERE i.login = k.login AND i.platform = k.platform AND i.broker = k.broker
          AND (k.trade_date BETWEEN i.valid_from AND i.valid_to OR k.trade_date >= i.open_from)
        HAVING count(DISTINCT i.account_id) = 1
    ) AS account_id
    FROM (
        SELECT DISTINCT login::text AS login, platform::text AS platform, coalesce(broker::text, '') AS broker, trade_date
        FROM "prop_trading_model".recon_stage_closed
        WHERE fetch_id = $1 AND refused IS NULL
    ) AS k
), given AS (
    UPDATE "prop_trading_model".recon_stage_closed AS s SET account_id = held.account_id
    FROM held
    WHERE s.fetch_id = $1 AND s.refused IS NULL
      AND held.login = s.login::text AND held.platform = s.platform::text AND held.broker = coalesce(s.broker::text, '') AND held.trade_date = s.trade_date
      AND s.account_id IS DISTINCT FROM held.account_id
    RETURNING s.account_id
)
SELECT account_id, count(*) AS rows FROM given GROUP BY account_id

-- name: get_unknown_keys
-- Accounts of $2 under whose logins upstream sends trades with unknown natural keys, and their
-- number.
SELECT owner.account_id, count(*) AS rows, min(concat_ws('/', s.login, s.platform, s.broker)) AS natural_key
FROM "prop_trading_model".recon_stage_closed AS s
JOIN unnest($2::text[], $3::text[]) AS owner (account_id, login) ON owner.login = s.login::text
WHERE s.fetch_id = $1 AND s.refused IS NULL AND s.account_id IS NULL
  AND NOT EXISTS (
      SELECT FROM "prop_trading_model".recon_identity AS i
      WHERE i.login = s.login::text AND i.platform = s.platform::text AND i.broker = coalesce(s.broker::text, '')
  )
GROUP BY owner.account_id
