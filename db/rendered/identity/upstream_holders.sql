-- name: sent_in_scan
-- Natural keys and accounts in a scan of alltime metrics.
SELECT login, platform, broker, account_id FROM "prop_trading_model".recon_scan WHERE run_id = $1 AND login IS NOT NULL AND platform IS NOT NULL

-- name: sent_in_fetch
-- Natural keys and accounts in a fetch of metrics. Ids with several keys, or another one by
-- alltime, are not believed: only a scan shows whether upstream sends them for all.
SELECT login, platform, broker, account_id
FROM (
    SELECT login::text AS login, platform::text AS platform, coalesce(broker::text, '') AS broker, account_id::text AS account_id,
           count(*) OVER (PARTITION BY account_id) AS keys
    FROM "prop_trading_model".recon_stage_alltime
    WHERE fetch_id = $1 AND refused IS NULL AND account_id <> '' AND login IS NOT NULL AND platform IS NOT NULL
    GROUP BY login, platform, broker, account_id
) AS s
WHERE keys = 1 AND NOT EXISTS (
    SELECT FROM "prop_trading_model".recon_identity AS i
    WHERE i.account_id = s.account_id AND i.today AND (i.login, i.platform, i.broker) <> (s.login, s.platform, s.broker)
)

-- name: note_upstream_holders
-- Record account ids under which upstream sends natural keys that concern a placeholder, either of
-- a known account (true) or sent itself. Returns new accounts, and placeholders whose key
-- upstream has under other ids only, with these.
WITH keys AS MATERIALIZED (
    SELECT login, platform, broker, account_id, least(daily_from, first_trade) AS first_day
    FROM "prop_trading_model".recon_identity
    WHERE true AND "prop_trading_model".recon_is_placeholder(account_id, login, platform, broker)
), all_sent AS MATERIALIZED (
    -- Natural keys and accounts in a scan of alltime metrics.
SELECT login, platform, broker, account_id FROM "prop_trading_model".recon_scan WHERE run_id = $1 AND login IS NOT NULL AND platform IS NOT NULL
), sent AS MATERIALIZED (
    SELECT DISTINCT s.login, s.platform, s.broker, s.account_id
    FROM all_sent AS s
    WHERE "prop_trading_model".recon_is_placeholder(s.account_id, s.login, s.platform, s.broker)
       OR (s.login, s.platform, s.broker) IN (SELECT login, platform, broker FROM keys)
), gone AS (
    DELETE FROM "prop_trading_model".recon_upstream_holders AS u
    USING (SELECT DISTINCT login, platform, broker FROM sent) AS s
    WHERE (s.login, s.platform, s.broker) = (u.login, u.platform, u.broker)
      AND (u.login, u.platform, u.broker, u.account_id) NOT IN (SELECT login, platform, broker, account_id FROM sent)
), noted AS (
    INSERT INTO "prop_trading_model".recon_upstream_holders (login, platform, broker, account_id, first_day)
    SELECT s.login, s.platform, s.broker, s.account_id, min(k.first_day)
    FROM sent AS s
    LEFT JOIN keys AS k USING (login, platform, broker)
    -- Known facts on an account with an own id concern its own rows.
    WHERE "prop_trading_model".recon_is_placeholder(s.account_id, s.login, s.platform, s.broker) OR NOT EXISTS (
        SELECT FROM "prop_trading_model".recon_identity AS i
        WHERE (i.login, i.platform, i.broker, i.account_id) = (s.login, s.platform, s.broker, s.account_id)
    )
    GROUP BY 1, 2, 3, 4
    ON CONFLICT DO NOTHING
    RETURNING account_id
)
SELECT account_id, NULL::text[] AS holders FROM noted
UNION ALL
SELECT k.account_id, array_agg(DISTINCT s.account_id)
FROM keys AS k
JOIN sent AS s USING (login, platform, broker)
GROUP BY k.account_id
HAVING NOT bool_or(s.account_id = k.account_id)
