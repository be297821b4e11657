-- name: part_shared
-- Move rows recorded under an id before it proved shared to the placeholder of their natural key.
WITH parted AS (
    DELETE FROM "prop_trading_model".recon_scan
    WHERE run_id = $1 AND account_id IN (SELECT account_id FROM "prop_trading_model".recon_shared_ids)
    RETURNING *
)
INSERT INTO "prop_trading_model".recon_scan
    (run_id, account_id, sent_id, login, platform, broker, num_trades, net_profit, total_lots,
        sends_trades, sends_profit, sends_lots)
SELECT run_id, md5(login || '|' || platform || '|' || broker), account_id, login, platform, broker,
    num_trades, net_profit, total_lots, sends_trades,
       sends_profit, sends_lots
FROM parted
WHERE login IS NOT NULL AND platform IS NOT NULL
ON CONFLICT DO NOTHING

-- name: forget_shared
-- Trust ids that a whole scan saw for at most one natural key.
DELETE FROM "prop_trading_model".recon_shared_ids
WHERE run_id IS DISTINCT FROM $1 AND account_id NOT IN (
    SELECT sent_id FROM "prop_trading_model".recon_scan WHERE run_id = $1 AND sent_id IS NOT NULL
        GROUP BY sent_id HAVING count(*) > 1
)

-- name: get_shared
-- Ids that upstream sends for several natural keys.
SELECT account_id FROM "prop_trading_model".recon_shared_ids ORDER BY 1

-- name: get_strays
-- If the scan saw rows without an id: unseen accounts without natural keys in alltime and daily
-- rows.
SELECT t.account_id
FROM "prop_trading_model".trade_recon AS t
LEFT JOIN "prop_trading_model".recon_scan AS s ON s.run_id = $1 AND s.account_id = t.account_id
WHERE NOT t.has_alltime AND NOT t.has_daily AND (t.has_hourly OR t.has_raw_closed)
    AND s.run_id IS NULL
  AND EXISTS (
      SELECT FROM "prop_trading_model".recon_scan WHERE run_id = $1
          AND account_id = md5(login || '|' || platform || '|' || broker)
  )

-- name: get_renamed
-- Unseen accounts of which the scan saw a natural key under an unexpected id.
SELECT s.account_id AS sent_id, i.account_id
FROM "prop_trading_model".recon_identity AS i
LEFT JOIN "prop_trading_model".recon_scan AS own ON own.run_id = $1 AND own.account_id = i.account_id
JOIN "prop_trading_model".recon_scan AS s ON s.run_id = $1
    AND (s.login, s.platform, s.broker) = (i.login, i.platform, i.broker)
LEFT JOIN "prop_trading_model".recon_identity AS k
  ON (k.login, k.platform, k.broker, k.account_id) = (s.login, s.platform, s.broker, s.account_id)
WHERE own.run_id IS NULL AND k.account_id IS NULL
    AND s.account_id <> md5(s.login || '|' || s.platform || '|' || s.broker)

-- name: respell_scanned
-- Replace other spellings ($2) of account ids by known ones ($3).
UPDATE "prop_trading_model".recon_scan AS s SET account_id = k.account_id
FROM unnest($2::text[], $3::text[]) AS k (sent_id, account_id)
WHERE s.run_id = $1 AND s.account_id = k.sent_id

-- name: get_stray_days
-- Ids of daily rows without an alltime row in the scan.
SELECT DISTINCT d.account_id
FROM "prop_trading_model".recon_scan_days AS d
LEFT JOIN "prop_trading_model".recon_scan AS s ON s.run_id = $1 AND s.account_id = d.account_id
WHERE d.run_id = $1 AND s.run_id IS NULL

-- name: respell_days
-- The same for daily figures, unless the account has a row of the date already.
UPDATE "prop_trading_model".recon_scan_days AS d SET account_id = k.account_id
FROM unnest($2::text[], $3::text[]) AS k (sent_id, account_id)
WHERE d.run_id = $1 AND d.account_id = k.sent_id
  AND NOT EXISTS (
      SELECT FROM "prop_trading_model".recon_scan_days AS own WHERE own.run_id = $1
          AND own.account_id = k.account_id AND own.date = d.date
  )

-- name: name_scanned
-- Assign alltime rows without an id to the account that holds their natural key today; if none is
-- known, to the only one that ever held it and holds none, or that has rows with it ($2 to $5: keys
-- of stored rows). Not to accounts with an own row, and ambiguous rows are left out.
WITH unnamed AS MATERIALIZED (
    SELECT account_id AS placeholder, login, platform, broker FROM "prop_trading_model".recon_scan
    WHERE run_id = $1 AND account_id = md5(login || '|' || platform || '|' || broker)
), known AS (
    SELECT u.placeholder, i.account_id, coalesce(i.valid_to = 'infinity', false)
        OR i.open_from IS NOT NULL AS holds
    FROM unnamed AS u
    JOIN "prop_trading_model".recon_identity AS i USING (login, platform, broker)
    LEFT JOIN "prop_trading_model".recon_scan AS own ON own.run_id = $1
        AND own.account_id = i.account_id AND own.account_id <> u.placeholder
    WHERE own.run_id IS NULL
    UNION
    SELECT u.placeholder, k.account_id, false
    FROM unnamed AS u
    JOIN unnest($2::text[], $3::text[], $4::text[], $5::text[])
        AS k (account_id, login, platform, broker) USING (login, platform, broker)
), judged AS (
    SELECT placeholder, bool_or(account_id = placeholder) AS is_account,
           CASE WHEN count(*) FILTER (WHERE holds) = 1 THEN min(account_id) FILTER (WHERE holds)
               WHEN count(*) = 1 THEN min(account_id) END AS owner
    FROM known AS k
    WHERE holds OR account_id = placeholder OR NOT EXISTS (
        SELECT FROM "prop_trading_model".recon_identity AS i
        WHERE i.account_id = k.account_id AND (i.valid_to = 'infinity' OR i.open_from IS NOT NULL)
        OFFSET 0
    )
    GROUP BY placeholder
), owned AS (
    SELECT *, count(*) OVER (PARTITION BY owner) AS doubled FROM judged
), named AS (
    UPDATE "prop_trading_model".recon_scan AS s SET account_id = o.owner
    FROM owned AS o
    WHERE s.run_id = $1 AND s.account_id = o.placeholder AND o.owner <> o.placeholder
        AND o.doubled = 1
)
DELETE FROM "prop_trading_model".recon_scan AS s
USING owned AS o
WHERE s.run_id = $1 AND s.account_id = o.placeholder AND NOT o.is_account
    AND (o.owner IS NULL OR o.doubled > 1)

-- name: name_scanned_days
-- Assign daily figures without an id to the account that held their natural key on their date, if
-- it differs from upstream.
WITH keys AS MATERIALIZED (
    SELECT DISTINCT i.login, i.platform, i.broker,
        md5(i.login || '|' || i.platform || '|' || i.broker) AS placeholder
    FROM "prop_trading_model".recon_identity AS i
    JOIN "prop_trading_model".recon_drift AS r ON r.run_id = $1 AND r.account_id = i.account_id
), known AS (
    SELECT d.account_id AS placeholder, d.date, i.account_id
    FROM keys AS k
    JOIN "prop_trading_model".recon_scan_days AS d ON d.run_id = $1 AND d.account_id = k.placeholder
    JOIN "prop_trading_model".recon_identity AS i
        ON (i.login, i.platform, i.broker) = (k.login, k.platform, k.broker)
    LEFT JOIN "prop_trading_model".recon_scan_days AS own
      ON own.run_id = $1 AND own.account_id = i.account_id AND own.date = d.date
          AND own.account_id <> k.placeholder
    WHERE own.run_id IS NULL
        AND (d.date BETWEEN i.valid_from AND i.valid_to OR d.date >= i.open_from)
), owned AS (
    SELECT *, count(*) OVER (PARTITION BY date, owner) AS doubled
    FROM (SELECT placeholder, date, min(account_id) AS owner FROM known GROUP BY placeholder, date
        HAVING count(*) = 1) AS sole
)
UPDATE "prop_trading_model".recon_scan_days AS d SET account_id = o.owner
FROM owned AS o
WHERE d.run_id = $1 AND d.account_id = o.placeholder AND d.date = o.date
    AND o.owner <> o.placeholder AND o.doubled = 1
