-- name: get_shared_ids
-- Shared ids, sent for several natural keys.
SELECT account_id FROM "prop_trading_model".recon_shared_ids

-- name: part_shared_ids
-- Replace ids that several natural keys share in a fetch by logins by placeholders of these keys.
WITH shared AS MATERIALIZED (
    SELECT DISTINCT account_id
    FROM "prop_trading_model".recon_stage_alltime
    WHERE fetch_id = $1 AND refused IS NULL AND account_id <> '' AND login IS NOT NULL AND platform IS NOT NULL
    GROUP BY "account_id"
    HAVING count(DISTINCT (login::text, platform::text, coalesce(broker::text, ''))) > 1
), learned AS (
    INSERT INTO "prop_trading_model".recon_shared_ids (account_id) SELECT account_id::text FROM shared ON CONFLICT DO NOTHING
)
UPDATE "prop_trading_model".recon_stage_alltime AS s SET account_id = md5(s.login::text || '|' || s.platform::text || '|' || coalesce(s.broker::text, ''))
FROM shared AS h
WHERE s.fetch_id = $1 AND s.account_id = h.account_id AND s.login IS NOT NULL AND s.platform IS NOT NULL
