-- name: get_covered_until
-- Time up to which all writes were covered: start of the last run over all accounts that left none
-- waiting, or null.
SELECT max(r.covers_until)
FROM "prop_trading_model".recon_runs AS r
WHERE r.covers_until IS NOT NULL
    AND r.status IN ('succeeded', 'completed_with_issues', 'needs_confirmation')
  AND NOT EXISTS
      (SELECT FROM "prop_trading_model".recon_attempts AS a WHERE a.run_id = r.run_id
      AND a.outcome IS NULL)

-- name: get_covered_horizon
-- First transaction that the run covering writes up to $1 may have missed, as an id that wraps
-- around. Null if unknown, old enough for ids to be reused, or in the future, as on another server.
SELECT CASE WHEN pg_snapshot_xmax(pg_current_snapshot())::text::bigint
    - covers_horizon BETWEEN 0 AND 2000000000 THEN covers_horizon % 4294967296 END
FROM "prop_trading_model".recon_runs
WHERE covers_until = $1
ORDER BY covers_horizon NULLS FIRST
LIMIT 1

-- name: get_unzoned_stamps
-- Raw tables whose stamps have neither zone nor a default that implies one: stamps set by the table
-- are local time of the session.
SELECT c.relname::text AS table_name
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.oid = ANY(ARRAY(SELECT format('%I.%I', 'prop_trading_model', name)::regclass
    FROM unnest($1::text[]) AS name))
  AND a.attname = 'ingestion_timestamp' AND a.atttypid <> 'timestamptz'::regtype
  AND coalesce(pg_get_expr(d.adbin,
      d.adrelid) !~* $$(AT TIME ZONE|timezone\()\s*'(Etc/)?(UTC|GMT|Zulu|UCT)'$$, true)

-- name: get_touched_accounts
-- At most $2 accounts with rows written since $1; stamps of tables $3 may lag by any zone's offset.
-- Rows without an id, or with a placeholder, count for each account that ever held their natural
-- key.
WITH touched AS MATERIALIZED (
    -- Accounts of rows of "prop_trading_model".raw_metrics_alltime stamped since $1 by the writer's clock.
SELECT account_id::text AS account_id, login::text AS login, platform::text AS platform,
    coalesce(broker::text, '') AS broker
FROM "prop_trading_model".raw_metrics_alltime AS t
WHERE ingestion_timestamp >= ($1::timestamptz AT TIME ZONE 'UTC') - CASE
    WHEN 'raw_metrics_alltime' = ANY($3::text[]) THEN interval '12 hours' ELSE interval '0' END
GROUP BY 1, 2, 3, 4
    UNION
-- Accounts of rows of "prop_trading_model".raw_metrics_daily stamped since $1 by the writer's clock.
SELECT account_id::text AS account_id, login::text AS login, platform::text AS platform,
    coalesce(broker::text, '') AS broker
FROM "prop_trading_model".raw_metrics_daily AS t
WHERE ingestion_timestamp >= ($1::timestamptz AT TIME ZONE 'UTC') - CASE
    WHEN 'raw_metrics_daily' = ANY($3::text[]) THEN interval '12 hours' ELSE interval '0' END
GROUP BY 1, 2, 3, 4
    UNION
-- Accounts of rows of "prop_trading_model".raw_metrics_hourly stamped since $1 by the writer's clock.
SELECT account_id::text AS account_id, login::text AS login, platform::text AS platform,
    coalesce(broker::text, '') AS broker
FROM "prop_trading_model".raw_metrics_hourly AS t
WHERE ingestion_timestamp >= ($1::timestamptz AT TIME ZONE 'UTC') - CASE
    WHEN 'raw_metrics_hourly' = ANY($3::text[]) THEN interval '12 hours' ELSE interval '0' END
GROUP BY 1, 2, 3, 4
    UNION
-- Accounts of rows of "prop_trading_model".raw_trades_closed stamped since $1 by the writer's clock.
SELECT account_id::text AS account_id, login::text AS login, platform::text AS platform,
    coalesce(broker::text, '') AS broker
FROM "prop_trading_model".raw_trades_closed AS t
WHERE ingestion_timestamp >= ($1::timestamptz AT TIME ZONE 'UTC') - CASE
    WHEN 'raw_trades_closed' = ANY($3::text[]) THEN interval '12 hours' ELSE interval '0' END
GROUP BY 1, 2, 3, 4
    UNION
-- Accounts of rows of "prop_trading_model".raw_trades_open stamped since $1 by the writer's clock.
SELECT account_id::text AS account_id, login::text AS login, platform::text AS platform,
    coalesce(broker::text, '') AS broker
FROM "prop_trading_model".raw_trades_open AS t
WHERE ingestion_timestamp >= ($1::timestamptz AT TIME ZONE 'UTC') - CASE
    WHEN 'raw_trades_open' = ANY($3::text[]) THEN interval '12 hours' ELSE interval '0' END
GROUP BY 1, 2, 3, 4
), judged AS (
    SELECT
        t.*,
        account_id IS NULL
            OR "prop_trading_model".recon_is_placeholder(account_id, login, platform, broker)
            OR EXISTS (SELECT FROM "prop_trading_model".recon_identity AS i
                WHERE i.login = t.account_id)
               AND NOT EXISTS
                   (SELECT FROM "prop_trading_model".recon_identity AS own
                   WHERE own.account_id = t.account_id) AS is_unknown
    FROM touched AS t
)
-- Longer ids cannot be accounts, as trade_recon could not store them.
SELECT account_id FROM judged WHERE NOT is_unknown AND char_length(account_id) <= 255
UNION
SELECT i.account_id
FROM judged AS j
JOIN "prop_trading_model".recon_identity AS i
    ON (i.login, i.platform, i.broker) = (j.login, j.platform, j.broker)
WHERE j.is_unknown AND char_length(i.account_id) <= 255
LIMIT $2

-- name: touched_rows
-- Accounts of rows of "prop_trading_model".raw_metrics_alltime stamped since $1 by the writer's clock.
SELECT account_id::text AS account_id, login::text AS login, platform::text AS platform,
    coalesce(broker::text, '') AS broker
FROM "prop_trading_model".raw_metrics_alltime AS t
WHERE ingestion_timestamp >= ($1::timestamptz AT TIME ZONE 'UTC') - CASE
    WHEN 'raw_metrics_alltime' = ANY($3::text[]) THEN interval '12 hours' ELSE interval '0' END
GROUP BY 1, 2, 3, 4

-- name: odd_rows
-- Rows with missing stamps, or with local time at least an hour behind although the default is UTC,
-- written since the run before, by transaction ($4).
OR (ingestion_timestamp BETWEEN ($1::timestamptz AT TIME ZONE 'UTC') - interval '12 hours' AND (now() AT TIME ZONE 'UTC') - interval '1 hour'
    OR ingestion_timestamp IS NULL) AND age(t.xmin) <= age($4::text::xid)
