-- name: clear_findings
-- Delete findings on these natural keys (true), to find them again.
DELETE FROM "prop_trading_model".recon_identity_findings WHERE true

-- name: find_null_ids
-- Trades of "prop_trading_model".raw_trades_closed without account id, by natural key and by the ids that fit their dates.
INSERT INTO "prop_trading_model".recon_identity_findings (table_name, login, platform, broker, holder, candidates, fits, rows, dates)
SELECT $1, login, platform, broker, NULL, candidates, md5(array_to_string(candidates, '|')), sum(rows),
       coalesce(array_agg(DISTINCT trade_date) FILTER (WHERE trade_date BETWEEN '0001-01-01' AND '9999-12-31'), '{}')
FROM (
    SELECT login, platform, broker, trade_date, g.rows - coalesce(p.rows, 0) AS rows
    FROM (
        SELECT coalesce(login::text, '') AS login, coalesce(platform::text, '') AS platform, coalesce(broker::text, '') AS broker, trade_date,
               count(*) AS rows
        FROM "prop_trading_model".raw_trades_closed
        WHERE account_id IS NULL AND true
        GROUP BY 1, 2, 3, 4
    ) AS g
    LEFT JOIN (
        -- Rows restored without an id keep none. Copies show them, so that an index alone serves
        -- the trades.
        SELECT coalesce(c.row_data ->> 'login', '') AS login, coalesce(c.row_data ->> 'platform', '') AS platform,
               coalesce(c.row_data ->> 'broker', '') AS broker, p.date AS trade_date, count(*) AS rows
        FROM "prop_trading_model".recon_pins AS p
        JOIN "prop_trading_model".recon_removed_rows AS c ON c.removed_id = p.removed_id
        WHERE p.table_name = $1 AND c.row_data ->> 'account_id' IS NULL
        GROUP BY 1, 2, 3, 4
    ) AS p USING (login, platform, broker, trade_date)
    WHERE g.rows > coalesce(p.rows, 0)
) AS nulls
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(DISTINCT i.account_id ORDER BY i.account_id), '{}') AS candidates
    FROM "prop_trading_model".recon_identity AS i
    WHERE (i.login, i.platform, i.broker) = (nulls.login, nulls.platform, nulls.broker)
      AND (nulls.trade_date BETWEEN i.valid_from AND i.valid_to OR nulls.trade_date >= i.open_from)
      -- Impossible dates have no holder.
      AND nulls.trade_date BETWEEN '0001-01-01' AND '9999-12-31'
) AS fitting
WHERE true
GROUP BY login, platform, broker, candidates
ON CONFLICT DO NOTHING

-- name: groups_of_holders
-- First and last trade of "prop_trading_model".raw_trades_closed by account id ($5) and natural key.
SELECT account_id::text AS holder, login::text AS login, platform::text AS platform, coalesce(broker::text, '') AS broker,
       min(trade_date) AS first_day, max(trade_date) AS last_day
FROM "prop_trading_model".raw_trades_closed
WHERE account_id IS NOT NULL AND account_id = ANY($5::text[]) AND trade_date BETWEEN '0001-01-01' AND '9999-12-31'
GROUP BY 1, 2, 3, 4

-- name: groups_as_swept
-- The same for all account ids, from a sweep.
SELECT account_id AS holder, login, platform, broker, min(first_day) AS first_day, max(last_day) AS last_day
FROM recon_swept
WHERE table_name = $1
GROUP BY account_id, login, platform, broker

-- name: find_foreign_ids
-- Trades of "prop_trading_model".raw_trades_closed under a placeholder, or under an id that did not hold their natural key on
-- their date: another account held it, or the account held another key or not yet this one. Groups
-- within one range are skipped first.
INSERT INTO "prop_trading_model".recon_identity_findings (table_name, login, platform, broker, holder, candidates, fits, rows, dates)
WITH groups AS (
    -- The same for all account ids, from a sweep.
SELECT account_id AS holder, login, platform, broker, min(first_day) AS first_day, max(last_day) AS last_day
FROM recon_swept
WHERE table_name = $1
GROUP BY account_id, login, platform, broker
), suspects AS MATERIALIZED (
    SELECT
        *,
        (
            "prop_trading_model".recon_is_placeholder(holder, login, platform, broker)
            -- Any account's login may stand for an unknown id, not only the account's own.
            OR EXISTS (SELECT FROM "prop_trading_model".recon_identity AS i WHERE i.login = g.holder)
        )
        AND NOT EXISTS (SELECT FROM "prop_trading_model".recon_identity AS i WHERE i.account_id = g.holder) AS placeholder
    FROM groups AS g
    WHERE NOT EXISTS (
        SELECT FROM "prop_trading_model".recon_identity AS i
        WHERE (i.login, i.platform, i.broker, i.account_id) = (g.login, g.platform, g.broker, g.holder)
          AND i.valid_from <= g.first_day AND i.valid_to >= g.last_day
    )
), days AS (
    SELECT s.holder, s.login, s.platform, s.broker, s.placeholder, t.trade_date, count(*) AS rows
    FROM suspects AS s
    JOIN "prop_trading_model".raw_trades_closed AS t
      ON t.account_id = s.holder AND t.login::text = s.login AND t.platform::text = s.platform AND coalesce(t.broker::text, '') = s.broker
     AND true AND t.trade_date BETWEEN '0001-01-01' AND '9999-12-31'
      AND NOT EXISTS (SELECT FROM "prop_trading_model".recon_pins AS p WHERE p.table_name = $1 AND p.row_key = ARRAY[t."platform"::text, t."broker"::text, t."login"::text, t."position"::text, t."ticket"::text])
    GROUP BY 1, 2, 3, 4, 5, 6
), judged AS (
    SELECT
        d.*,
        ARRAY(
            SELECT DISTINCT i.account_id
            FROM "prop_trading_model".recon_identity AS i
            WHERE (i.login, i.platform, i.broker) = (d.login, d.platform, d.broker)
              AND (d.trade_date BETWEEN i.valid_from AND i.valid_to OR d.trade_date >= i.open_from)
            ORDER BY i.account_id
        ) AS candidates,
        EXISTS (
            SELECT FROM "prop_trading_model".recon_identity AS i
            WHERE i.account_id = d.holder AND (i.login, i.platform, i.broker) <> (d.login, d.platform, d.broker)
              AND (d.trade_date BETWEEN i.valid_from AND i.valid_to OR d.trade_date >= i.open_from)
        ) AS elsewhere,
        -- By the account's first day under any key: daily rows showing when it held this one may be
        -- deleted.
        d.trade_date < (
            SELECT coalesce(min(least(i.daily_from, i.first_trade)), min(least(i.valid_from, i.open_from)))
            FROM "prop_trading_model".recon_identity AS i
            WHERE i.account_id = d.holder
            HAVING bool_or((i.login, i.platform, i.broker) = (d.login, d.platform, d.broker))
        ) AS too_early
    FROM days AS d
)
SELECT $1, login, platform, broker, holder, candidates, md5(array_to_string(candidates, '|')), sum(rows),
       coalesce(array_agg(DISTINCT trade_date) FILTER (WHERE trade_date BETWEEN '0001-01-01' AND '9999-12-31'), '{}')
FROM judged
WHERE true AND (placeholder OR (NOT holder = ANY(candidates) AND (candidates <> '{}' OR elsewhere OR coalesce(too_early, false))))
GROUP BY login, platform, broker, holder, candidates
ON CONFLICT DO NOTHING

-- name: find_placeholder_metrics
-- Metrics rows of "prop_trading_model".raw_metrics_alltime under a placeholder, by natural key and by the ids that fit their dates.
INSERT INTO "prop_trading_model".recon_identity_findings (table_name, login, platform, broker, holder, candidates, fits, rows, dates)
SELECT $1, login, platform, broker, holder, candidates, md5(array_to_string(candidates, '|')), sum(rows),
       coalesce(array_agg(DISTINCT day) FILTER (WHERE day BETWEEN '0001-01-01' AND '9999-12-31'), '{}')
FROM (
    SELECT t.login::text AS login, t.platform::text AS platform, coalesce(t.broker::text, '') AS broker, t.account_id::text AS holder,
           coalesce(NULL::date, $3::date) AS day, count(*) AS rows
    FROM "prop_trading_model".raw_metrics_alltime AS t
    WHERE t.login IS NOT NULL AND t.platform IS NOT NULL AND t.account_id = ANY($2::text[])
      AND NOT EXISTS (SELECT FROM "prop_trading_model".recon_pins AS p WHERE p.table_name = $1 AND p.row_key = ARRAY[t."account_id"::text])
      AND "prop_trading_model".recon_is_placeholder(t.account_id, t.login::text, t.platform::text, t.broker::text)
    GROUP BY 1, 2, 3, 4, 5
) AS placeholders
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(DISTINCT i.account_id ORDER BY i.account_id), '{}') AS candidates
    FROM "prop_trading_model".recon_identity AS i
    WHERE (i.login, i.platform, i.broker) = (placeholders.login, placeholders.platform, placeholders.broker)
      AND (placeholders.day BETWEEN i.valid_from AND i.valid_to OR placeholders.day >= i.open_from) AND placeholders.day BETWEEN '0001-01-01' AND '9999-12-31'
) AS fitting
WHERE true
GROUP BY login, platform, broker, holder, candidates
ON CONFLICT DO NOTHING

-- name: find_foreign_metrics
-- Daily and alltime rows ($1, $2) of natural keys under the id of an account that did not hold the
-- key then.
INSERT INTO "prop_trading_model".recon_identity_findings (table_name, login, platform, broker, holder, candidates, fits, rows, dates)
SELECT CASE WHEN days = '{}' THEN $2 ELSE $1 END, login, platform, broker, holder, ARRAY[owner], md5(owner), greatest(cardinality(days), 1), days
FROM "prop_trading_model".recon_foreign_metrics
WHERE true
ON CONFLICT DO NOTHING

-- name: find_shared_keys
-- Natural keys that several accounts hold at once. An account with trades but no daily rows may
-- have held it any day. Foreign rows do not count.
INSERT INTO "prop_trading_model".recon_identity_findings (table_name, login, platform, broker, holder, candidates, fits, rows, dates)
WITH held AS (
    SELECT
        login, platform, broker, account_id,
        CASE
            WHEN f.holder IS NOT NULL THEN CASE WHEN f.own_from IS NULL THEN 'empty'::daterange ELSE daterange(f.own_from, f.own_to, '[]') END
            WHEN daily_from IS NOT NULL THEN daterange(daily_from, daily_to, '[]')
            WHEN counts THEN '(,)'::daterange
            ELSE 'empty'::daterange
        END AS days
    FROM (SELECT *, account_id AS holder FROM "prop_trading_model".recon_identity WHERE true) AS i
    LEFT JOIN "prop_trading_model".recon_foreign_metrics AS f USING (login, platform, broker, holder)
)
SELECT
    $1, login, platform, broker, NULL, array_agg(account_id ORDER BY account_id), md5(string_agg(account_id, '|' ORDER BY account_id)), 0, '{}'
FROM held AS h
WHERE EXISTS (
    SELECT FROM held AS other
    WHERE (other.login, other.platform, other.broker) = (h.login, h.platform, h.broker) AND other.account_id <> h.account_id AND other.days && h.days
)
GROUP BY login, platform, broker
ON CONFLICT DO NOTHING

-- name: get_findings_summary
-- Natural keys whose rows fit no account, or several.
SELECT table_name, login, platform, broker, holder, candidates, rows
FROM "prop_trading_model".recon_identity_findings
WHERE cardinality(candidates) <> 1
ORDER BY rows DESC, login
LIMIT $1

-- name: count_findings
-- Numbers of natural keys that fit no account, and several.
SELECT
    count(DISTINCT (login, platform, broker)) FILTER (WHERE candidates = '{}') AS unmatched,
    count(DISTINCT (login, platform, broker)) FILTER (WHERE cardinality(candidates) > 1) AS ambiguous
FROM "prop_trading_model".recon_identity_findings

-- name: get_affected_accounts
-- Accounts with a finding, or with open issues on identity.
SELECT DISTINCT account_id FROM "prop_trading_model".trade_recon JOIN (
    SELECT unnest(candidates) AS account_id FROM "prop_trading_model".recon_identity_findings
    UNION ALL
    SELECT holder FROM "prop_trading_model".recon_identity_findings WHERE holder IS NOT NULL
    UNION ALL
    SELECT account_id FROM "prop_trading_model".recon_issue_history WHERE closed_at IS NULL AND type = ANY($1::text[])
) AS concerned USING (account_id)
