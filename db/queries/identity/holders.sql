-- name: held_by_accounts
-- Holders of natural keys over time, from raw rows of accounts ($1) and from upstream's answers. A
-- placeholder is its key's account if upstream sends the key without an id, or no account with an
-- own id holds it at the same time; see create_swept_placeholders.
WITH read AS MATERIALIZED (
    SELECT
        login, platform, broker, account_id, min(daily_from) AS daily_from, max(daily_to) AS daily_to, bool_or(today) AS today, bool_or(counts) AS counts,
        min(first_trade) AS first_trade, prop_trading_model.recon_is_placeholder(account_id, login, platform, broker) AS stands_in,
        first_value(account_id) OVER (PARTITION BY login, platform, broker ORDER BY {{rank}}) AS first_placeholder
    FROM (
        SELECT login::text AS login, platform::text AS platform, coalesce(broker::text, '') AS broker, account_id::text AS account_id,
               min(date) AS daily_from, max(date) AS daily_to, false AS today, false AS counts, NULL::date AS first_trade
        FROM prop_trading_model.raw_metrics_daily
        WHERE login IS NOT NULL AND platform IS NOT NULL AND account_id = ANY($1::text[]) AND date BETWEEN '0001-01-01' AND '9999-12-31'
        GROUP BY 1, 2, 3, 4
        UNION ALL
        SELECT login::text, platform::text, coalesce(broker::text, ''), account_id::text, NULL, NULL, true, prop_trading_model.recon_count(num_trades) > 0, {{first_trade}}
        FROM prop_trading_model.raw_metrics_alltime
        WHERE login IS NOT NULL AND platform IS NOT NULL AND account_id = ANY($1::text[])
        UNION ALL
        SELECT login, platform, broker, account_id, NULL, NULL, true, false, first_day
        FROM prop_trading_model.recon_upstream_holders
        WHERE account_id = ANY($1::text[])
        UNION ALL
        -- Accounts without an id of which only hourly rows are left.
        SELECT login::text, platform::text, coalesce(broker::text, ''), account_id::text, NULL, NULL, false, false, NULL
        FROM prop_trading_model.raw_metrics_hourly
        WHERE login IS NOT NULL AND platform IS NOT NULL AND account_id = ANY(ARRAY(
            SELECT i.account_id FROM prop_trading_model.recon_identity AS i
            WHERE i.account_id = ANY($1::text[]) AND prop_trading_model.recon_is_placeholder(i.account_id, i.login, i.platform, i.broker)
        )) AND prop_trading_model.recon_is_placeholder(account_id, login::text, platform::text, broker::text)
        GROUP BY 1, 2, 3, 4{{held_before}}
    ) AS rows
    WHERE account_id <> ''
    GROUP BY login, platform, broker, account_id
)
SELECT login, platform, broker, account_id, daily_from, daily_to, today, counts, first_trade
FROM read AS r
WHERE NOT stands_in
   OR EXISTS (
       SELECT FROM prop_trading_model.recon_upstream_holders AS u
       WHERE (u.login, u.platform, u.broker, u.account_id) = (r.login, r.platform, r.broker, r.account_id)
       OFFSET 0 -- asked by key: of hashing PostgreSQL thinks too well
   )
   OR account_id = first_placeholder AND NOT EXISTS (
       SELECT FROM prop_trading_model.recon_upstream_holders AS u
       WHERE (u.login, u.platform, u.broker) = (r.login, r.platform, r.broker) AND u.account_id <> r.account_id
       OFFSET 0
   ) AND NOT EXISTS (
       SELECT FROM prop_trading_model.recon_identity AS i
       WHERE (i.login, i.platform, i.broker) = (r.login, r.platform, r.broker) AND i.account_id <> r.account_id
         AND NOT coalesce(r.today AND (r.daily_to < least(i.daily_from, i.first_trade) OR r.daily_from > i.daily_to), false)
       OFFSET 0
   ) AND NOT EXISTS (
       SELECT FROM read AS i
       WHERE (i.login, i.platform, i.broker) = (r.login, r.platform, r.broker) AND NOT i.stands_in
         AND NOT coalesce(r.today AND (r.daily_to < least(i.daily_from, i.first_trade) OR r.daily_from > i.daily_to), false)
   )

-- name: held_as_swept
-- The same for all accounts, from a sweep.
SELECT login, platform, broker, account_id, CASE WHEN NOT today THEN first_day END AS daily_from, last_day AS daily_to, today, today AND trades > 0 AS counts,
       CASE WHEN today THEN first_day END AS first_trade
FROM (
    SELECT *, table_name = 'raw_metrics_alltime' AS today
    FROM recon_swept
    WHERE table_name IN ('raw_metrics_alltime', 'raw_metrics_daily') AND login IS NOT NULL AND platform IS NOT NULL
) AS swept
WHERE NOT stands_in OR (login, platform, broker, account_id) IN (SELECT login, platform, broker, account_id FROM recon_swept_placeholders WHERE is_account)
UNION ALL
SELECT login, platform, broker, account_id, NULL, NULL, true, false, first_day FROM prop_trading_model.recon_upstream_holders
UNION ALL
-- Accounts without an id of which only hourly rows are left.
SELECT login, platform, broker, account_id, NULL, NULL, false, false, NULL FROM recon_swept_placeholders WHERE is_account{{held_before}}

-- name: held_before
-- More holders if tables are read from {{first_day}} on only: older rows known before still prove
-- who held a key; an account with all trades before that day held its key then and not since, on
-- unknown dates.
UNION ALL
SELECT login, platform, broker, account_id, daily_from, least(daily_to, date {{first_day}} - 1), false, false, NULL
FROM prop_trading_model.recon_identity
WHERE {{accounts}} AND daily_from > '0001-01-01' AND daily_from < {{first_day}}
  AND NOT prop_trading_model.recon_is_placeholder(account_id, login, platform, broker)
UNION ALL
SELECT i.login, i.platform, i.broker, i.account_id, '0001-01-01', '0001-01-01', false, false, NULL
FROM prop_trading_model.recon_identity AS i
JOIN prop_trading_model.trade_recon AS t ON t.account_id = i.account_id
JOIN prop_trading_model.recon_history AS h ON h.account_id = i.account_id AND h.history_from = {{first_day}} AND h.trades > 0
WHERE {{of_accounts}} AND i.today AND coalesce(i.daily_from, '0001-01-01') = '0001-01-01' AND NOT t.has_daily AND coalesce(t.num_trades_alltime, 0) = 0

-- name: create_swept_placeholders
-- Placeholders in metrics tables by natural key, and which is its key's account: upstream sends the
-- key without an id, or no account with an own id holds it at the same time, that is, the
-- placeholder has an alltime row and its daily rows end before those of all other accounts of the
-- key begin, or begin after they end. Otherwise it may stand for rows of theirs that came without
-- an id.
CREATE TEMP TABLE recon_swept_placeholders ON COMMIT DROP AS
WITH found AS MATERIALIZED (
    SELECT account_id, login, platform, broker, bool_or(table_name = 'raw_metrics_alltime') AS today,
           min(first_day) FILTER (WHERE table_name = 'raw_metrics_daily') AS daily_from, max(last_day) AS daily_to
    FROM recon_swept
    WHERE stands_in AND table_name IN ('raw_metrics_alltime', 'raw_metrics_daily', 'raw_metrics_hourly')
    GROUP BY account_id, login, platform, broker
), ranked AS (
    SELECT *, first_value(account_id) OVER (PARTITION BY login, platform, broker ORDER BY {{rank}}) AS first_placeholder
    FROM found
    WHERE account_id <> '' AND login IS NOT NULL AND platform IS NOT NULL
), holders AS (
    SELECT login, platform, broker, account_id AS holder, min(first_day) AS first_day, max(last_day) AS last_day
    FROM recon_swept
    WHERE NOT stands_in AND table_name IN ('raw_metrics_alltime', 'raw_metrics_daily')
      AND (login, platform, broker) IN (SELECT login, platform, broker FROM ranked)
    GROUP BY login, platform, broker, account_id
    UNION ALL
    SELECT login, platform, broker, account_id, NULL, NULL FROM prop_trading_model.recon_upstream_holders
), accounts AS (
    SELECT account_id, login, platform, broker FROM ranked WHERE account_id = first_placeholder
    EXCEPT
    SELECT account_id, login, platform, broker
    FROM ranked AS r
    JOIN holders AS h USING (login, platform, broker)
    WHERE h.holder <> r.account_id AND NOT coalesce(r.today AND (r.daily_to < h.first_day OR r.daily_from > h.last_day), false)
    UNION
    SELECT account_id, login, platform, broker FROM prop_trading_model.recon_upstream_holders
)
SELECT f.account_id, f.login, f.platform, f.broker, a.account_id IS NOT NULL AS is_account
FROM found AS f
LEFT JOIN accounts AS a USING (account_id, login, platform, broker)

-- name: forget_upstream_holders
-- Forget upstream's answers on accounts that their own rows prove now.
DELETE FROM prop_trading_model.recon_upstream_holders AS u
WHERE NOT prop_trading_model.recon_is_placeholder(account_id, login, platform, broker)
  AND EXISTS (SELECT FROM recon_swept AS s WHERE s.table_name = 'raw_metrics_alltime' AND s.account_id = u.account_id)

-- name: create_swept_keys
-- Table of natural keys whose holders changed.
CREATE TEMP TABLE recon_swept_keys (login text, platform text, broker text) ON COMMIT DROP

-- name: get_placeholders
-- Ids in metrics tables that stand for unknown accounts, unless an account has the id.
SELECT account_id FROM recon_swept_placeholders
EXCEPT
SELECT account_id FROM prop_trading_model.recon_identity

-- name: refresh_identity
-- Write changed holders of natural keys; returns, or keeps for later, the keys concerned.
WITH held AS (
    {{held}}
), fresh AS (
    SELECT login, platform, broker, account_id, min(daily_from) AS daily_from, max(daily_to) AS daily_to, bool_or(today) AS today, bool_or(counts) AS counts,
           min(first_trade) AS first_trade
    FROM held
    GROUP BY login, platform, broker, account_id
), gone AS (
    DELETE FROM prop_trading_model.recon_identity AS i
    WHERE {{accounts}} AND NOT EXISTS (
        SELECT FROM fresh AS f WHERE (f.login, f.platform, f.broker, f.account_id) = (i.login, i.platform, i.broker, i.account_id)
    )
    RETURNING login, platform, broker
), {{replaced}}written AS (
    INSERT INTO prop_trading_model.recon_identity AS i (login, platform, broker, account_id, daily_from, daily_to, today, counts, first_trade)
    SELECT login, platform, broker, account_id, daily_from, daily_to, today, counts, first_trade
    FROM fresh AS f
    WHERE NOT EXISTS (
        SELECT FROM prop_trading_model.recon_identity AS i
        WHERE (f.login, f.platform, f.broker, f.account_id) = (i.login, i.platform, i.broker, i.account_id)
          AND (f.daily_from, f.daily_to, f.today, f.counts, f.first_trade) IS NOT DISTINCT FROM (i.daily_from, i.daily_to, i.today, i.counts, i.first_trade)
    )
    ORDER BY login, platform, broker, account_id
    ON CONFLICT (login, platform, broker, account_id) DO UPDATE
    SET daily_from = excluded.daily_from, daily_to = excluded.daily_to, today = excluded.today, counts = excluded.counts, first_trade = excluded.first_trade
    RETURNING login, platform, broker
)
{{into}}SELECT DISTINCT login, platform, broker FROM (SELECT * FROM gone UNION ALL SELECT * FROM written{{and_replaced}}) AS changed

-- name: replaced_placeholders
-- Placeholders that are no longer their key's account, since an account with an own id has it.
    DELETE FROM prop_trading_model.recon_identity AS i
    USING (
        SELECT login, platform, broker, least(daily_from, first_trade) AS first_day, daily_to AS last_day FROM fresh
        WHERE NOT prop_trading_model.recon_is_placeholder(account_id, login, platform, broker)
    ) AS f
    WHERE (i.login, i.platform, i.broker) = (f.login, f.platform, f.broker)
      AND prop_trading_model.recon_is_placeholder(i.account_id, i.login, i.platform, i.broker)
      AND NOT coalesce(i.today AND (i.daily_to < f.first_day OR i.daily_from > f.last_day), false)
      AND NOT EXISTS (
          SELECT FROM prop_trading_model.recon_upstream_holders AS u
          WHERE (u.login, u.platform, u.broker, u.account_id) = (i.login, i.platform, i.broker, i.account_id)
          OFFSET 0
      )
    RETURNING i.login, i.platform, i.broker

-- name: refresh_foreign_metrics
-- Daily rows under an id that did not hold their natural key on their date ({{contested_keys}}).
-- That account neither holds the key by alltime nor has hourly rows under it then; another account
-- has rows under it then and holds it by alltime, or no one does and it has hourly rows. An alltime
-- row without dates is foreign if its account has daily rows under other keys only, and an account
-- without an alltime row has them under this one. Returns, or keeps for later, changed keys.
WITH contested AS MATERIALIZED (
    SELECT h.login, h.platform, h.broker, h.account_id AS holder, o.account_id AS owner, o.today, h.daily_from, h.daily_to
    FROM prop_trading_model.recon_identity AS h
    JOIN prop_trading_model.recon_identity AS o ON (o.login, o.platform, o.broker) = (h.login, h.platform, h.broker) AND o.account_id <> h.account_id
    WHERE {{contested_keys}} AND NOT h.today AND h.daily_from IS NOT NULL
      AND NOT prop_trading_model.recon_is_placeholder(h.account_id, h.login, h.platform, h.broker)
      AND (o.today OR NOT EXISTS (
          SELECT FROM prop_trading_model.recon_identity AS t WHERE (t.login, t.platform, t.broker) = (h.login, h.platform, h.broker) AND t.today
          OFFSET 0 -- asked by key: of hashing PostgreSQL thinks too well
      ))
), owned AS MATERIALIZED (
    SELECT DISTINCT c.login, c.platform, c.broker, c.holder, c.owner, t.date
    FROM contested AS c
    JOIN prop_trading_model.raw_metrics_daily AS t ON t.account_id = c.owner AND t.login::text = c.login AND t.date BETWEEN c.daily_from AND c.daily_to{{t_since_date}}
    WHERE t.account_id = ANY(ARRAY(SELECT owner FROM contested WHERE today)) AND c.today AND t.platform::text = c.platform AND coalesce(t.broker::text, '') = c.broker
    UNION
    SELECT c.login, c.platform, c.broker, c.holder, c.owner, t.date
    FROM contested AS c
    JOIN prop_trading_model.raw_metrics_hourly AS t ON t.account_id = c.owner AND t.login::text = c.login AND t.date BETWEEN c.daily_from AND c.daily_to{{t_since_date}}
    WHERE t.account_id = ANY(ARRAY(SELECT owner FROM contested)) AND t.platform::text = c.platform AND coalesce(t.broker::text, '') = c.broker
), stored AS MATERIALIZED (
    SELECT DISTINCT o.login, o.platform, o.broker, o.holder, o.owner, o.date
    FROM owned AS o
    JOIN prop_trading_model.raw_metrics_daily AS t ON t.account_id = o.holder AND t.login::text = o.login AND t.date = o.date
    WHERE t.account_id = ANY(ARRAY(SELECT holder FROM owned)) AND t.platform::text = o.platform AND coalesce(t.broker::text, '') = o.broker
), borne_out AS MATERIALIZED (
    SELECT DISTINCT s.login, s.platform, s.broker, s.holder, s.owner, s.date
    FROM stored AS s
    JOIN prop_trading_model.raw_metrics_hourly AS t ON t.account_id = s.holder AND t.login::text = s.login AND t.date = s.date
    WHERE t.account_id = ANY(ARRAY(SELECT holder FROM stored)) AND t.platform::text = s.platform AND coalesce(t.broker::text, '') = s.broker
), alien AS MATERIALIZED (
    SELECT login, platform, broker, holder, min(owner) AS owner, array_agg(date ORDER BY date) AS days
    FROM (SELECT * FROM stored EXCEPT SELECT * FROM borne_out) AS each
    GROUP BY login, platform, broker, holder
    HAVING count(DISTINCT owner) = 1
    UNION ALL
    SELECT h.login, h.platform, h.broker, h.account_id, min(o.account_id), '{}'::date[]
    FROM prop_trading_model.recon_identity AS h
    JOIN prop_trading_model.recon_identity AS o ON (o.login, o.platform, o.broker) = (h.login, h.platform, h.broker) AND o.account_id <> h.account_id
    WHERE {{contested_keys}} AND h.today AND h.daily_from IS NULL AND NOT o.today AND o.daily_from IS NOT NULL
      AND NOT prop_trading_model.recon_is_placeholder(h.account_id, h.login, h.platform, h.broker)
      AND NOT EXISTS (SELECT FROM prop_trading_model.recon_identity AS t WHERE t.account_id = o.account_id AND t.today OFFSET 0)
      AND EXISTS (SELECT FROM prop_trading_model.recon_identity AS t WHERE t.account_id = h.account_id AND t.daily_from IS NOT NULL OFFSET 0)
    GROUP BY h.login, h.platform, h.broker, h.account_id
    HAVING count(*) = 1
), own AS MATERIALIZED (
    SELECT a.login, a.platform, a.broker, a.holder, min(t.date) AS own_from, max(t.date) AS own_to
    FROM alien AS a
    JOIN prop_trading_model.raw_metrics_daily AS t ON t.account_id = a.holder AND t.login::text = a.login AND t.date <> ALL (a.days)
    WHERE t.account_id = ANY(ARRAY(SELECT holder FROM alien)) AND t.platform::text = a.platform AND coalesce(t.broker::text, '') = a.broker AND t.date BETWEEN {{first_day}} AND '9999-12-31'
    GROUP BY a.login, a.platform, a.broker, a.holder
), fresh AS MATERIALIZED (
    SELECT a.*, own.own_from, own.own_to FROM alien AS a LEFT JOIN own USING (login, platform, broker, holder)
), gone AS (
    DELETE FROM prop_trading_model.recon_foreign_metrics AS h
    WHERE {{contested_keys}} AND (h.login, h.platform, h.broker, h.holder) NOT IN (SELECT login, platform, broker, holder FROM fresh)
    RETURNING h.login, h.platform, h.broker
), written AS (
    INSERT INTO prop_trading_model.recon_foreign_metrics AS m (login, platform, broker, holder, owner, days, own_from, own_to)
    SELECT login, platform, broker, holder, owner, days, own_from, own_to FROM fresh ORDER BY login, platform, broker, holder
    ON CONFLICT (login, platform, broker, holder) DO UPDATE
    SET owner = excluded.owner, days = excluded.days, own_from = excluded.own_from, own_to = excluded.own_to
    WHERE (m.owner, m.days, m.own_from, m.own_to) IS DISTINCT FROM (excluded.owner, excluded.days, excluded.own_from, excluded.own_to)
    RETURNING m.login, m.platform, m.broker
)
{{into}}SELECT login, platform, broker FROM gone UNION SELECT login, platform, broker FROM written

-- name: refresh_validity
-- Days on which holders had their natural keys. A sole holder known to alltime has it from its
-- first day on. Of several, each has it on its daily range, and after all ranges the last one to
-- take over, or, if that is unclear, each known to alltime. No guesses: an account without known
-- first day holds its key from today ({{validity_today}}) on.
WITH touched AS (
    SELECT DISTINCT login, platform, broker FROM {{validity_keys}} AS k (login, platform, broker)
), known AS MATERIALIZED (
    -- A foreign daily row counts for the holder of its key, not for its id.
    SELECT
        i.login, i.platform, i.broker, i.account_id, i.today, i.first_trade, f.holder IS NOT NULL AND f.own_from IS NULL AS is_foreign,
        CASE WHEN f.holder IS NOT NULL THEN f.own_from ELSE least(i.daily_from, o.first_day) END AS daily_from,
        CASE WHEN f.holder IS NOT NULL THEN f.own_to ELSE greatest(i.daily_to, o.last_day) END AS daily_to
    FROM prop_trading_model.recon_identity AS i
    JOIN touched USING (login, platform, broker)
    LEFT JOIN prop_trading_model.recon_foreign_metrics AS f
      ON (f.login, f.platform, f.broker, f.holder) = (i.login, i.platform, i.broker, i.account_id)
    LEFT JOIN (
        SELECT login, platform, broker, owner, min(day) AS first_day, max(day) AS last_day
        FROM prop_trading_model.recon_foreign_metrics, unnest(days) AS day
        GROUP BY login, platform, broker, owner
    ) AS o ON (o.login, o.platform, o.broker, o.owner) = (i.login, i.platform, i.broker, i.account_id)
), holders AS (
    SELECT
        i.*,
        count(*) OVER same_key AS holders,
        max(i.daily_to) OVER same_key AS last_daily,
        (
            SELECT count(*) FROM prop_trading_model.recon_identity AS own WHERE own.account_id = i.account_id AND NOT EXISTS (
                SELECT FROM prop_trading_model.recon_foreign_metrics AS f
                WHERE (f.login, f.platform, f.broker, f.holder) = (own.login, own.platform, own.broker, own.account_id) AND f.own_from IS NULL
            )
        ) AS keys,
        bool_and(i.daily_from IS NOT NULL) OVER same_key AND i.daily_from > (
            SELECT max(other.daily_to) FROM known AS other
            WHERE (other.login, other.platform, other.broker) = (i.login, i.platform, i.broker) AND other.account_id <> i.account_id
              AND NOT other.is_foreign
        ) AS successor
    FROM known AS i
    WHERE NOT is_foreign
    WINDOW same_key AS (PARTITION BY i.login, i.platform, i.broker)
), judged AS (
    SELECT *, bool_or(successor) OVER (PARTITION BY login, platform, broker) AS has_successor FROM holders
), ranges AS (
    SELECT
        login, platform, broker, account_id,
        CASE
            WHEN holders > 1 OR NOT today THEN daily_from
            WHEN keys > 1 THEN coalesce(daily_from, {{validity_today}})
            ELSE coalesce(least(daily_from, first_trade), {{validity_today}})
        END AS valid_from,
        CASE WHEN holders > 1 OR NOT today THEN daily_to ELSE 'infinity' END AS valid_to,
        CASE WHEN holders > 1 AND today AND (successor OR NOT coalesce(has_successor, false)) THEN coalesce(last_daily + 1, first_trade, {{validity_today}}) END AS open_from
    FROM judged
    UNION ALL
    SELECT login, platform, broker, account_id, NULL, NULL, NULL FROM known WHERE is_foreign
)
UPDATE prop_trading_model.recon_identity AS i
SET valid_from = r.valid_from, valid_to = r.valid_to, open_from = r.open_from
FROM ranges AS r
WHERE (i.login, i.platform, i.broker, i.account_id) = (r.login, r.platform, r.broker, r.account_id)
  AND (i.valid_from, i.valid_to, i.open_from) IS DISTINCT FROM (r.valid_from, r.valid_to, r.open_from)

-- name: get_natural_keys
-- Natural keys of accounts, past and present, and of findings on them, which may be outdated.
SELECT login, platform, broker FROM prop_trading_model.recon_identity WHERE account_id = ANY($1::text[])
UNION
SELECT login, platform, broker FROM prop_trading_model.recon_identity_findings WHERE candidates && $1::text[] OR holder = ANY($1::text[])
