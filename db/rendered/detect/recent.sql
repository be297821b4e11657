-- name: get_covered_until
-- Until when everything written was looked at: the beginning of the last run over all accounts that
-- left none waiting. Null if there was none.
SELECT max(r.covers_until)
FROM "prop_trading_model".recon_runs AS r
WHERE r.covers_until IS NOT NULL
    AND r.status IN ('succeeded', 'completed_with_issues', 'needs_confirmation')
  AND NOT EXISTS
      (SELECT FROM "prop_trading_model".recon_attempts AS a WHERE a.run_id = r.run_id
      AND a.outcome IS NULL)

-- name: get_covered_horizon
-- The first transaction that the run which covers what was written until $1 may not have seen, as
-- an id that wraps around; null where it is not known, lies so far away that its id may have been
-- used again, or lies ahead, as on another server.
SELECT CASE WHEN pg_snapshot_xmax(pg_current_snapshot())::text::bigint
    - covers_horizon BETWEEN 0 AND 2000000000 THEN covers_horizon % 4294967296 END
FROM "prop_trading_model".recon_runs
WHERE covers_until = $1
ORDER BY covers_horizon NULLS FIRST
LIMIT 1

-- name: get_unzoned_stamps
-- Those of the raw tables whose stamps have no zone and no default that says which one they are in:
-- what the table takes by itself is local time of the session that writes.
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
-- Accounts of which a row was written since $1, at most $2 of them; $3 are the tables whose stamps
-- may be as far behind as local time is anywhere. A row without an account id, or with one that
-- only stands for an unknown one, is that of each account which ever had its natural key.
WITH touched AS MATERIALIZED (
    -- Whose rows of "prop_trading_model".raw_metrics_alltime were written since $1, by the clock of whoever wrote them.
SELECT account_id::text AS account_id, login::text AS login, platform::text AS platform,
    coalesce(broker::text, '') AS broker
FROM "prop_trading_model".raw_metrics_alltime AS t
WHERE ingestion_timestamp >= ($1::timestamptz AT TIME ZONE 'UTC') - CASE
    WHEN 'raw_metrics_alltime' = ANY($3::text[]) THEN interval '12 hours' ELSE interval '0' END
GROUP BY 1, 2, 3, 4
    UNION
-- Whose rows of "prop_trading_model".raw_metrics_daily were written since $1, by the clock of whoever wrote them.
SELECT account_id::text AS account_id, login::text AS login, platform::text AS platform,
    coalesce(broker::text, '') AS broker
FROM "prop_trading_model".raw_metrics_daily AS t
WHERE ingestion_timestamp >= ($1::timestamptz AT TIME ZONE 'UTC') - CASE
    WHEN 'raw_metrics_daily' = ANY($3::text[]) THEN interval '12 hours' ELSE interval '0' END
GROUP BY 1, 2, 3, 4
    UNION
-- Whose rows of "prop_trading_model".raw_metrics_hourly were written since $1, by the clock of whoever wrote them.
SELECT account_id::text AS account_id, login::text AS login, platform::text AS platform,
    coalesce(broker::text, '') AS broker
FROM "prop_trading_model".raw_metrics_hourly AS t
WHERE ingestion_timestamp >= ($1::timestamptz AT TIME ZONE 'UTC') - CASE
    WHEN 'raw_metrics_hourly' = ANY($3::text[]) THEN interval '12 hours' ELSE interval '0' END
GROUP BY 1, 2, 3, 4
    UNION
-- Whose rows of "prop_trading_model".raw_trades_closed were written since $1, by the clock of whoever wrote them.
SELECT account_id::text AS account_id, login::text AS login, platform::text AS platform,
    coalesce(broker::text, '') AS broker
FROM "prop_trading_model".raw_trades_closed AS t
WHERE ingestion_timestamp >= ($1::timestamptz AT TIME ZONE 'UTC') - CASE
    WHEN 'raw_trades_closed' = ANY($3::text[]) THEN interval '12 hours' ELSE interval '0' END
GROUP BY 1, 2, 3, 4
    UNION
-- Whose rows of "prop_trading_model".raw_trades_open were written since $1, by the clock of whoever wrote them.
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
-- No account has a longer id: trade_recon could not hold it.
SELECT account_id FROM judged WHERE NOT is_unknown AND char_length(account_id) <= 255
UNION
SELECT i.account_id
FROM judged AS j
JOIN "prop_trading_model".recon_identity AS i
    ON (i.login, i.platform, i.broker) = (j.login, j.platform, j.broker)
WHERE j.is_unknown AND char_length(i.account_id) <= 255
LIMIT $2

-- name: touched_rows
-- Whose rows of "prop_trading_model".raw_metrics_alltime were written since $1, by the clock of whoever wrote them.
SELECT account_id::text AS account_id, login::text AS login, platform::text AS platform,
    coalesce(broker::text, '') AS broker
FROM "prop_trading_model".raw_metrics_alltime AS t
WHERE ingestion_timestamp >= ($1::timestamptz AT TIME ZONE 'UTC') - CASE
    WHEN 'raw_metrics_alltime' = ANY($3::text[]) THEN interval '12 hours' ELSE interval '0' END
GROUP BY 1, 2, 3, 4

-- name: odd_rows
-- Rows whose stamp is missing, or local time of whoever wrote it although the default is UTC, which
-- is an hour behind at least: of them those that were written since the run before, by their
-- transaction ($4).
OR (ingestion_timestamp BETWEEN ($1::timestamptz AT TIME ZONE 'UTC') - interval '12 hours' AND (now() AT TIME ZONE 'UTC') - interval '1 hour'
    OR ingestion_timestamp IS NULL) AND age(t.xmin) <= age($4::text::xid)
