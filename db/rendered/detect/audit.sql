-- name: note_alltime
-- Record rows of upstream's alltime metrics; a row that moved during the scan may come twice.
-- Non-numbers count as unsent. Rows without an id, or with a shared one, are kept under the
-- placeholder of their natural key. Rows with an account id too long for the column are left out
-- and returned.
WITH page AS MATERIALIZED (
    SELECT coalesce(nullif(sent_id, ''), md5(("login")::text || '|' || (CASE WHEN "prop_trading_model".recon_number("platform") = trunc("prop_trading_model".recon_number("platform")) THEN CASE WHEN "prop_trading_model".recon_number("platform") > -2147483648.5 AND "prop_trading_model".recon_number("platform") < 2147483647.5 THEN "prop_trading_model".recon_number("platform")::integer END END)::text || '|' || coalesce((CASE WHEN "prop_trading_model".recon_number("broker") = trunc("prop_trading_model".recon_number("broker")) THEN CASE WHEN "prop_trading_model".recon_number("broker") > -2147483648.5 AND "prop_trading_model".recon_number("broker") < 2147483647.5 THEN "prop_trading_model".recon_number("broker")::integer END END)::text, ''))) AS known_as, (login)::text AS key_login, (CASE WHEN "prop_trading_model".recon_number(platform) = trunc("prop_trading_model".recon_number(platform)) THEN CASE WHEN "prop_trading_model".recon_number(platform) > -2147483648.5 AND "prop_trading_model".recon_number(platform) < 2147483647.5 THEN "prop_trading_model".recon_number(platform)::integer END END)::text AS key_platform,
        coalesce((CASE WHEN "prop_trading_model".recon_number(broker) = trunc("prop_trading_model".recon_number(broker)) THEN CASE WHEN "prop_trading_model".recon_number(broker) > -2147483648.5 AND "prop_trading_model".recon_number(broker) < 2147483647.5 THEN "prop_trading_model".recon_number(broker)::integer END END)::text, '') AS key_broker, page.*
    FROM (
        SELECT
            row ->> 'accountId' AS sent_id, row ->> 'login' AS login,
            row ->> 'mt_version' AS platform, row ->> 'broker' AS broker,
            row ->> 'numTrades' AS num_trades, row ->> 'netProfit' AS net_profit,
            row ->> 'totalLots' AS total_lots,
            row -> 'numTrades' IS NOT NULL AS sends_trades,
            row -> 'netProfit' IS NOT NULL AS sends_profit,
            row -> 'totalLots' IS NOT NULL AS sends_lots
        FROM json_array_elements($2::json) AS page (row)
        WHERE coalesce(json_typeof(row -> 'accountId') IN ('string', 'number', 'null'), true)
    ) AS page
), doubled AS MATERIALIZED (
    SELECT sent_id
    FROM page
    WHERE sent_id <> '' AND char_length(sent_id) <= 255 AND key_login IS NOT NULL
        AND key_platform IS NOT NULL
    GROUP BY sent_id
    HAVING count(DISTINCT (key_login, key_platform, key_broker)) > 1
    UNION
    SELECT p.sent_id
    FROM page AS p
    JOIN "prop_trading_model".recon_scan AS s ON s.run_id = $1 AND s.account_id = p.sent_id
    WHERE (s.login, s.platform, s.broker) <> (p.key_login, p.key_platform, p.key_broker)
), learned AS (
    INSERT INTO "prop_trading_model".recon_shared_ids (account_id, run_id) SELECT sent_id, $1
        FROM doubled
    ON CONFLICT (account_id) DO UPDATE SET run_id = excluded.run_id, seen_at = now()
), shared AS (
    SELECT sent_id FROM doubled UNION SELECT account_id FROM "prop_trading_model".recon_shared_ids
), sent AS MATERIALIZED (
    SELECT CASE WHEN h.sent_id IS NULL THEN p.known_as
        ELSE md5(key_login || '|' || key_platform || '|' || key_broker) END AS account_id,
           h.sent_id AS shared_id, p.*
    FROM page AS p
    LEFT JOIN shared AS h USING (sent_id)
), noted AS (
    INSERT INTO "prop_trading_model".recon_scan
        (run_id, account_id, sent_id, login, platform, broker, num_trades, net_profit, total_lots,
            sends_trades, sends_profit, sends_lots)
    SELECT DISTINCT ON (account_id)
        $1, account_id, shared_id, key_login, key_platform, key_broker,
        "prop_trading_model".recon_figure(num_trades), "prop_trading_model".recon_figure(net_profit),
        "prop_trading_model".recon_figure(total_lots),
        sends_trades AND
            (num_trades IS NULL OR "prop_trading_model".recon_figure(num_trades) IS NOT NULL),
        sends_profit AND
            (net_profit IS NULL OR "prop_trading_model".recon_figure(net_profit) IS NOT NULL),
        sends_lots AND
            (total_lots IS NULL OR "prop_trading_model".recon_figure(total_lots) IS NOT NULL)
    FROM sent
    WHERE account_id <> '' AND char_length(account_id) <= 255
    ON CONFLICT DO NOTHING
)
SELECT left(account_id, 100) AS account_id, 'an account id of more than 255 characters' AS reason
    FROM sent WHERE char_length(account_id) > 255

-- name: note_days
-- Record upstream's daily figures of unsettled dates. Rows with unreadable date or account are left
-- out and returned.
WITH sent AS MATERIALIZED (
    SELECT coalesce(nullif(sent_id, ''), md5(("login")::text || '|' || (CASE WHEN "prop_trading_model".recon_number("platform") = trunc("prop_trading_model".recon_number("platform")) THEN CASE WHEN "prop_trading_model".recon_number("platform") > -2147483648.5 AND "prop_trading_model".recon_number("platform") < 2147483647.5 THEN "prop_trading_model".recon_number("platform")::integer END END)::text || '|' || coalesce((CASE WHEN "prop_trading_model".recon_number("broker") = trunc("prop_trading_model".recon_number("broker")) THEN CASE WHEN "prop_trading_model".recon_number("broker") > -2147483648.5 AND "prop_trading_model".recon_number("broker") < 2147483647.5 THEN "prop_trading_model".recon_number("broker")::integer END END)::text, ''))) AS account_id, page.*
    FROM (
        SELECT CASE WHEN NOT EXISTS
            (SELECT FROM "prop_trading_model".recon_shared_ids AS h
            WHERE h.account_id = row."accountId") THEN "accountId" END AS sent_id,
               login, mt_version AS platform, broker, date,
               "prop_trading_model".recon_date(date) AS day,
               "numTrades" AS num_trades, "netProfit" AS net_profit, "totalLots" AS total_lots
        FROM json_to_recordset($2::json) AS row (
            "accountId" text, login text, mt_version text, broker text, date text, "numTrades" text,
            "netProfit" text, "totalLots" text
        )
    ) AS page
), noted AS (
    INSERT INTO "prop_trading_model".recon_scan_days
        (run_id, account_id, date, num_trades, net_profit, total_lots)
    SELECT DISTINCT ON (account_id, day)
        $1, account_id, day, "prop_trading_model".recon_figure(num_trades),
        "prop_trading_model".recon_figure(net_profit), "prop_trading_model".recon_figure(total_lots)
    FROM sent
    WHERE account_id <> '' AND day IS NOT NULL AND char_length(account_id) <= 255
    ON CONFLICT DO NOTHING
)
SELECT left(account_id, 100) AS account_id,
    concat('date ', coalesce(left(date, 40), 'missing')) AS reason
FROM sent
WHERE account_id <> '' AND (day IS NULL OR char_length(account_id) > 255)

-- name: clear_scan
-- Discard a scan's records before a restart.
DELETE FROM "prop_trading_model".recon_scan WHERE run_id = $1

-- name: clear_scan_days
-- Discard a scan of days before a restart.
DELETE FROM "prop_trading_model".recon_scan_days WHERE run_id = $1

-- name: seen_accounts
-- Accounts that upstream has.
SELECT account_id FROM "prop_trading_model".recon_scan WHERE run_id = $1

-- name: get_unseen_accounts
-- Accounts ($2, null: all with a row) that the scan missed, to be requested by id, since upstream
-- changes during a scan.
SELECT t.account_id
FROM "prop_trading_model".trade_recon AS t
WHERE (t.account_id = ANY($2::text[]) OR $2::text[] IS NULL
    AND (t.has_alltime OR t.has_daily OR t.has_hourly OR t.has_raw_closed))
  AND NOT EXISTS
      (SELECT FROM "prop_trading_model".recon_scan AS s WHERE s.run_id = $1
      AND s.account_id = t.account_id)
  -- The API separates lists by commas, so an id with a comma cannot be requested.
  AND t.account_id !~ ',' AND t.account_id <> ''
ORDER BY 1

-- name: find_drift
-- Record accounts ($3, null: all) whose settled figures (alltime less daily from $2 on) differ from
-- upstream's, or that upstream lacks.
WITH upstream AS (
    -- As columns hold them, before summing: digits that a column drops are no drift, numbers out of
    -- its range count as unsent.
    SELECT s.account_id, s.login, s.platform, s.broker,
           s.sends_trades AND true
               AND (s.num_trades IS NULL OR ((CASE WHEN s.num_trades >= 0 AND s.num_trades = trunc(s.num_trades) THEN CASE WHEN s.num_trades > -2147483648.5 AND s.num_trades < 2147483647.5 THEN s.num_trades::integer END END)) IS NOT NULL) AS sends_trades,
           s.sends_profit AND true
               AND (s.net_profit IS NULL OR ((CASE WHEN abs(s.net_profit) < 9999999999999999.995 THEN s.net_profit::numeric(18,2) END)) IS NOT NULL) AS sends_profit,
           s.sends_lots AND true
               AND (s.total_lots IS NULL OR ((CASE WHEN abs(s.total_lots) < 999999999999.9999995 THEN s.total_lots::numeric(18,6) END)) IS NOT NULL) AS sends_lots,
           ((CASE WHEN s.num_trades >= 0 AND s.num_trades = trunc(s.num_trades) THEN CASE WHEN s.num_trades > -2147483648.5 AND s.num_trades < 2147483647.5 THEN s.num_trades::integer END END))::numeric - coalesce(d.num_trades, 0) AS num_trades,
           ((CASE WHEN abs(s.net_profit) < 9999999999999999.995 THEN s.net_profit::numeric(18,2) END))::numeric - coalesce(d.net_profit, 0) AS net_profit,
           ((CASE WHEN abs(s.total_lots) < 999999999999.9999995 THEN s.total_lots::numeric(18,6) END))::numeric - coalesce(d.total_lots, 0) AS total_lots
    FROM "prop_trading_model".recon_scan AS s
    LEFT JOIN (
        SELECT account_id, sum((((CASE WHEN s.num_trades >= 0 AND s.num_trades = trunc(s.num_trades) THEN CASE WHEN s.num_trades > -2147483648.5 AND s.num_trades < 2147483647.5 THEN s.num_trades::integer END END)))::numeric) AS num_trades,
            sum((((CASE WHEN abs(s.net_profit) < 9999999999999999.995 THEN s.net_profit::numeric(18,2) END)))::numeric) AS net_profit,
            sum((((CASE WHEN abs(s.total_lots) < 999999999999.9999995 THEN s.total_lots::numeric(18,6) END)))::numeric) AS total_lots
        FROM "prop_trading_model".recon_scan_days AS s
        WHERE run_id = $1 AND ($3::text[] IS NULL OR account_id = ANY($3::text[]))
        GROUP BY account_id
    ) AS d ON d.account_id = s.account_id
    WHERE s.run_id = $1 AND ($3::text[] IS NULL OR s.account_id = ANY($3::text[]))
), stored AS (
    SELECT a.account_id, a.doubled, a.login, a.platform, a.broker,
        a.num_trades - coalesce(d.num_trades, 0) AS num_trades,
        a.net_profit - coalesce(d.net_profit, 0) AS net_profit,
           a.total_lots - coalesce(d.total_lots, 0) AS total_lots
    FROM (
        -- A table without unique key may have an account twice.
        SELECT account_id, count(*) > 1 AS doubled, min(login::text) AS login,
            min(platform::text) AS platform, min(coalesce(broker::text, '')) AS broker,
               sum((num_trades)::numeric) AS num_trades,
               sum((net_profit)::numeric) AS net_profit,
               sum((total_lots)::numeric) AS total_lots
        FROM "prop_trading_model".raw_metrics_alltime
        WHERE $3::text[] IS NULL OR account_id = ANY($3::text[])
        GROUP BY account_id
    ) AS a
    LEFT JOIN (
        SELECT account_id, sum((num_trades)::numeric) AS num_trades,
            sum((net_profit)::numeric) AS net_profit,
               sum((total_lots)::numeric) AS total_lots
        FROM "prop_trading_model".raw_metrics_daily
        WHERE date >= $2 AND date <= '9999-12-31'
            AND ($3::text[] IS NULL OR account_id = ANY($3::text[]))
        GROUP BY account_id
    ) AS d ON d.account_id = a.account_id
), compared AS (
    SELECT
        t.account_id, u.account_id IS NULL AS absent, s.account_id IS NULL AS unknown, s.doubled,
        u.login AS upstream_login, s.login AS stored_login,
        u.platform AS upstream_platform, s.platform AS stored_platform, u.broker AS upstream_broker,
        s.broker AS stored_broker,
        -- An unsent part proves nothing. Logins may lose zeros but never gain them: the longer one
        -- is right.
        coalesce(
            u.login <> '' AND u.platform <> '' AND (
                u.login <> s.login
                    AND (ltrim(u.login, '0') <> ltrim(s.login, '0')
                    OR char_length(u.login) > char_length(s.login))
                OR u.platform <> s.platform OR u.broker <> '' AND u.broker <> s.broker
            ), false
        ) AS rekeyed,
        t.has_alltime OR t.has_daily OR t.has_hourly OR t.has_raw_closed AS stored_somewhere,
        u.num_trades AS upstream_trades, s.num_trades AS stored_trades,
        u.sends_trades, u.sends_profit, u.sends_lots, u.net_profit AS upstream_profit,
        s.net_profit AS stored_profit, u.total_lots AS upstream_lots, s.total_lots AS stored_lots
    FROM "prop_trading_model".trade_recon AS t
    LEFT JOIN upstream AS u ON u.account_id = t.account_id
    LEFT JOIN stored AS s ON s.account_id = t.account_id
    WHERE $3::text[] IS NULL OR t.account_id = ANY($3::text[])
)
INSERT INTO "prop_trading_model".recon_drift (run_id, account_id, absent, evidence)
SELECT
    $1, account_id, absent,
    CASE WHEN absent THEN '{}'::jsonb ELSE jsonb_build_object(
        'upstream', jsonb_build_object('num_trades', upstream_trades, 'net_profit', upstream_profit,
            'total_lots', upstream_lots),
        'stored', CASE
            WHEN NOT unknown
            THEN jsonb_build_object('num_trades', stored_trades, 'net_profit', stored_profit,
            'total_lots', stored_lots) END,
        'settled_before', $2::date
    ) || CASE WHEN rekeyed THEN jsonb_build_object('natural_key', jsonb_build_object(
        'upstream', jsonb_build_object('login', upstream_login, 'platform', upstream_platform,
            'broker', upstream_broker),
        'stored', jsonb_build_object('login', stored_login, 'platform', stored_platform, 'broker',
            stored_broker)
    )) ELSE '{}' END END
FROM compared
WHERE CASE
    WHEN absent THEN stored_somewhere AND account_id !~ ','
    ELSE unknown OR doubled OR rekeyed
        -- Pinned rows stay regardless of upstream.
        OR account_id NOT
            IN (SELECT p.account_id FROM "prop_trading_model".recon_pins AS p
            WHERE p.table_name = 'raw_metrics_alltime' AND p.account_id IS NOT NULL)
        AND (
            sends_trades AND stored_trades IS DISTINCT FROM upstream_trades
            OR sends_profit AND stored_profit IS DISTINCT FROM upstream_profit
            OR sends_lots AND stored_lots IS DISTINCT FROM upstream_lots
        )
END
ON CONFLICT (run_id, account_id) DO UPDATE SET absent = excluded.absent,
    evidence = excluded.evidence

-- name: note_stale_alltime
-- Drift of the alltime row alone: stored daily rows add up to upstream's alltime.
UPDATE "prop_trading_model".recon_drift AS r
SET evidence = r.evidence || '{"daily_agrees": true}'
FROM (
    SELECT account_id, sum((num_trades)::numeric) AS num_trades,
        sum((net_profit)::numeric) AS net_profit,
        sum((total_lots)::numeric) AS total_lots
    FROM "prop_trading_model".raw_metrics_daily
    WHERE account_id
        IN (SELECT account_id FROM "prop_trading_model".recon_drift WHERE run_id = $1 AND NOT absent)
        AND date BETWEEN '0001-01-01' AND '9999-12-31'
    GROUP BY account_id
) AS d
WHERE r.run_id = $1 AND NOT r.absent AND NOT r.evidence ? 'natural_key'
    AND d.account_id = r.account_id
  AND d.num_trades = (r.evidence #>> '{upstream,num_trades}')::numeric
  -- Unsent or uncompared figures prove nothing, and all-empty daily rows do not add up to a figure.
  AND ((r.evidence #>> '{upstream,net_profit}') IS NULL OR NOT true
      OR d.net_profit IS NOT DISTINCT
      FROM (r.evidence #>> '{upstream,net_profit}')::numeric)
  AND ((r.evidence #>> '{upstream,total_lots}') IS NULL OR NOT true
      OR d.total_lots IS NOT DISTINCT
      FROM (r.evidence #>> '{upstream,total_lots}')::numeric)

-- name: count_rekeyed
-- Number of accounts with another natural key upstream than in their alltime row here.
SELECT count(*) FROM "prop_trading_model".recon_drift WHERE run_id = $1 AND evidence ? 'natural_key'

-- name: note_rekeyed
-- Schedule all dates of accounts with another natural key upstream for reading.
INSERT INTO "prop_trading_model".recon_descents (account_id, date)
SELECT account_id::text, date FROM "prop_trading_model".raw_metrics_daily
WHERE account_id
    = ANY(ARRAY(SELECT account_id FROM "prop_trading_model".recon_drift WHERE run_id = $1
    AND evidence ? 'natural_key'))
  AND date BETWEEN '0001-01-01' AND '9999-12-31'
UNION
SELECT account_id::text, date FROM "prop_trading_model".raw_metrics_hourly
WHERE account_id
    = ANY(ARRAY(SELECT account_id FROM "prop_trading_model".recon_drift WHERE run_id = $1
    AND evidence ? 'natural_key'))
  AND date BETWEEN '0001-01-01' AND '9999-12-31'
UNION
SELECT account_id::text, trade_date FROM "prop_trading_model".raw_trades_closed
WHERE account_id
    = ANY(ARRAY(SELECT account_id FROM "prop_trading_model".recon_drift WHERE run_id = $1
    AND evidence ? 'natural_key'))
  AND trade_date BETWEEN '0001-01-01' AND '9999-12-31'
ON CONFLICT DO NOTHING

-- name: count_news
-- Number of these accounts ($1) not yet reported absent: neither held nor explained.
SELECT count(*) FROM "prop_trading_model".trade_recon
WHERE account_id = ANY($1::text[])
    AND reconciliation_status NOT IN ('needs_confirmation', 'explained')

-- name: count_lowered
-- Number of accounts, not held before, that upstream lacks or has fewer settled trades of than
-- other tables than alltime; of two or more tables the highest count is disregarded. Accounts
-- accepted as absent are left out.
SELECT count(*)
FROM "prop_trading_model".recon_drift AS d
JOIN "prop_trading_model".trade_recon AS t ON t.account_id = d.account_id
CROSS JOIN LATERAL (
    SELECT coalesce(t.num_trades_alltime, 0) - (d.evidence #>> '{stored,num_trades}')::numeric
        + (d.evidence #>> '{upstream,num_trades}')::numeric AS trades
) AS left_over
CROSS JOIN LATERAL (
    SELECT array_agg(trades ORDER BY trades DESC) AS counts
    FROM (
        VALUES (t.has_daily, t.num_trades_daily), (t.has_hourly, t.num_trades_hourly),
            (t.has_raw_closed, t.num_trades_raw_closed)
    ) AS tables (has_rows, trades)
    WHERE has_rows
) AS stored
WHERE d.run_id = $1 AND t.reconciliation_status <> 'needs_confirmation'
  AND CASE
      WHEN d.absent THEN t.reconciliation_status <> 'explained'
      ELSE left_over.trades < coalesce(stored.counts[2], stored.counts[1], t.num_trades_alltime)
  END

-- name: count_scan
-- Number of accounts seen by the scan.
SELECT count(*) FROM "prop_trading_model".recon_scan WHERE run_id = $1

-- name: get_drifting_accounts
-- Accounts recorded as different from upstream, not in alltime alone.
SELECT account_id FROM "prop_trading_model".recon_drift WHERE run_id = $1 AND NOT absent
    AND NOT evidence ? 'daily_agrees' ORDER BY 1

-- name: clear_drift
-- Discard records of accounts to compare again, or all ($2 null) when a preparation restarts.
DELETE FROM "prop_trading_model".recon_drift WHERE run_id = $1
    AND ($2::text[] IS NULL OR account_id = ANY($2::text[]))
