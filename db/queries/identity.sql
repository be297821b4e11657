-- name: held_by_accounts
-- Who held which natural key when, as the raw rows of accounts ($1) and upstream's own word tell it. A placeholder is the account of its natural key
-- where upstream sends the key without an id, or where no account with an id of its own holds it at the same time; for more see create_swept_placeholders.
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
        -- Of an account without an id of which nothing but hourly rows is left.
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
-- The same of all accounts, as a sweep summed it up.
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
-- Of an account without an id of which nothing but hourly rows is left.
SELECT login, platform, broker, account_id, NULL, NULL, false, false, NULL FROM recon_swept_placeholders WHERE is_account{{held_before}}

-- name: held_before
-- Further holders where the tables are only read from a date on ({{first_day}}): what was known of older rows goes on to tell when each had its key; and an account of which
-- all trades come before that date held its key then and not since, on dates that nobody knows any more.
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
-- The placeholders in the metrics tables by natural key, and which of them is the account of its key: upstream sends the key without an id, or no
-- account with an id of its own holds it at the same time. That is so where the placeholder has an alltime row of its own, and its daily rows end before
-- all other accounts of the key begin or begin after all others end; otherwise it may stand for rows of theirs that came without an id.
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
-- What upstream said of accounts whose own rows tell it by now.
DELETE FROM prop_trading_model.recon_upstream_holders AS u
WHERE NOT prop_trading_model.recon_is_placeholder(account_id, login, platform, broker)
  AND EXISTS (SELECT FROM recon_swept AS s WHERE s.table_name = 'raw_metrics_alltime' AND s.account_id = u.account_id)

-- name: create_swept_keys
-- Room for the natural keys whose holders changed.
CREATE TEMP TABLE recon_swept_keys (login text, platform text, broker text) ON COMMIT DROP

-- name: get_placeholders
-- The ids in the metrics tables that stand for unknown accounts; an id that is an account's own stands for that.
SELECT account_id FROM recon_swept_placeholders
EXCEPT
SELECT account_id FROM prop_trading_model.recon_identity

-- name: get_stand_ins
-- Those of the ids ($1) that may stand for unknown accounts: no account has them.
SELECT unnest($1::text[]) AS account_id
EXCEPT
SELECT account_id FROM prop_trading_model.recon_identity WHERE account_id = ANY($1::text[])

-- name: refresh_identity
-- Who held which natural key when; only what changed is written. Returned are, or kept for later, the keys whose holders changed.
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
-- Placeholders that were the account of their natural key and are so no more: an account with an id of its own has the key.
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
-- Daily rows under an id that their natural key did not have on their date ({{keys}}: of which keys). The account whose id they carry does not hold the
-- key by alltime and has no hourly rows under it on that date; another account has rows under it then, and holds it by alltime, or nobody does and it
-- has hourly rows. No dates stand for an alltime row: its account has daily rows under other keys alone, and one that lacks its own has them under this.
-- Returned, or kept for later, are the keys of which that changed.
WITH contested AS MATERIALIZED (
    SELECT h.login, h.platform, h.broker, h.account_id AS holder, o.account_id AS owner, o.today, h.daily_from, h.daily_to
    FROM prop_trading_model.recon_identity AS h
    JOIN prop_trading_model.recon_identity AS o ON (o.login, o.platform, o.broker) = (h.login, h.platform, h.broker) AND o.account_id <> h.account_id
    WHERE {{keys}} AND NOT h.today AND h.daily_from IS NOT NULL
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
    WHERE {{keys}} AND h.today AND h.daily_from IS NULL AND NOT o.today AND o.daily_from IS NOT NULL
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
    WHERE {{keys}} AND (h.login, h.platform, h.broker, h.holder) NOT IN (SELECT login, platform, broker, holder FROM fresh)
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
-- The days on which each holder of some natural keys had it. A sole holder that alltime knows has it from its
-- first day on; where there are several, each has it on its daily range, and after the last of all ranges the one that
-- took over after all others, or, where the ranges do not tell who that is, each that alltime knows. Nothing is guessed: an account of which no
-- first day is known holds its key from today ({{today}}) on.
WITH touched AS (
    SELECT DISTINCT login, platform, broker FROM {{keys}} AS k (login, platform, broker)
), known AS MATERIALIZED (
    -- A foreign daily row counts for the account whose key it has, and not for the one whose id it carries.
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
            WHEN keys > 1 THEN coalesce(daily_from, {{today}})
            ELSE coalesce(least(daily_from, first_trade), {{today}})
        END AS valid_from,
        CASE WHEN holders > 1 OR NOT today THEN daily_to ELSE 'infinity' END AS valid_to,
        CASE WHEN holders > 1 AND today AND (successor OR NOT coalesce(has_successor, false)) THEN coalesce(last_daily + 1, first_trade, {{today}}) END AS open_from
    FROM judged
    UNION ALL
    SELECT login, platform, broker, account_id, NULL, NULL, NULL FROM known WHERE is_foreign
)
UPDATE prop_trading_model.recon_identity AS i
SET valid_from = r.valid_from, valid_to = r.valid_to, open_from = r.open_from
FROM ranges AS r
WHERE (i.login, i.platform, i.broker, i.account_id) = (r.login, r.platform, r.broker, r.account_id)
  AND (i.valid_from, i.valid_to, i.open_from) IS DISTINCT FROM (r.valid_from, r.valid_to, r.open_from)

-- name: sent_in_scan
-- The natural keys that a scan of alltime metrics saw, with their accounts.
SELECT login, platform, broker, account_id FROM prop_trading_model.recon_scan WHERE run_id = $1 AND login IS NOT NULL AND platform IS NOT NULL

-- name: sent_in_fetch
-- The natural keys of a fetch of metrics, with their accounts. An id that has several of them, or that alltime has under another one, is not believed:
-- only a scan shows whether upstream sends it for all.
SELECT login, platform, broker, account_id
FROM (
    SELECT login::text AS login, platform::text AS platform, coalesce(broker::text, '') AS broker, account_id::text AS account_id,
           count(*) OVER (PARTITION BY account_id) AS keys
    FROM {{stage}}
    WHERE fetch_id = $1 AND refused IS NULL AND account_id <> '' AND login IS NOT NULL AND platform IS NOT NULL
    GROUP BY login, platform, broker, account_id
) AS s
WHERE keys = 1 AND NOT EXISTS (
    SELECT FROM prop_trading_model.recon_identity AS i
    WHERE i.account_id = s.account_id AND i.today AND (i.login, i.platform, i.broker) <> (s.login, s.platform, s.broker)
)

-- name: note_upstream_holders
-- Under which accounts upstream sends natural keys, as far as a placeholder is in question: the account of one of those keys ({{among}}), or what it
-- sends itself. Returned are the accounts that are new by this, and the placeholders whose key upstream has under other ids alone, with those.
WITH keys AS MATERIALIZED (
    SELECT login, platform, broker, account_id, least(daily_from, first_trade) AS first_day
    FROM prop_trading_model.recon_identity
    WHERE {{among}} AND prop_trading_model.recon_is_placeholder(account_id, login, platform, broker)
), all_sent AS MATERIALIZED (
    {{sent}}
), sent AS MATERIALIZED (
    SELECT DISTINCT s.login, s.platform, s.broker, s.account_id
    FROM all_sent AS s
    WHERE prop_trading_model.recon_is_placeholder(s.account_id, s.login, s.platform, s.broker)
       OR (s.login, s.platform, s.broker) IN (SELECT login, platform, broker FROM keys)
), gone AS (
    DELETE FROM prop_trading_model.recon_upstream_holders AS u
    USING (SELECT DISTINCT login, platform, broker FROM sent) AS s
    WHERE (s.login, s.platform, s.broker) = (u.login, u.platform, u.broker)
      AND (u.login, u.platform, u.broker, u.account_id) NOT IN (SELECT login, platform, broker, account_id FROM sent)
), noted AS (
    INSERT INTO prop_trading_model.recon_upstream_holders (login, platform, broker, account_id, first_day)
    SELECT s.login, s.platform, s.broker, s.account_id, min(k.first_day)
    FROM sent AS s
    LEFT JOIN keys AS k USING (login, platform, broker)
    -- What is known of an account with an id of its own tells its own rows.
    WHERE prop_trading_model.recon_is_placeholder(s.account_id, s.login, s.platform, s.broker) OR NOT EXISTS (
        SELECT FROM prop_trading_model.recon_identity AS i
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

-- name: get_natural_keys
-- The natural keys that accounts hold or held, and those of findings that concern them: what was found may be so no more.
SELECT login, platform, broker FROM prop_trading_model.recon_identity WHERE account_id = ANY($1::text[])
UNION
SELECT login, platform, broker FROM prop_trading_model.recon_identity_findings WHERE candidates && $1::text[] OR holder = ANY($1::text[])

-- name: clear_findings
-- Findings about these natural keys ({{keys}}), before they are looked for again.
DELETE FROM prop_trading_model.recon_identity_findings WHERE {{keys}}

-- name: find_null_ids
-- Trades of {{raw}} without an account id, by natural key and by the ids that fit on their dates.
INSERT INTO prop_trading_model.recon_identity_findings (table_name, login, platform, broker, holder, candidates, fits, rows, dates)
SELECT $1, login, platform, broker, NULL, candidates, md5(array_to_string(candidates, '|')), sum(rows),
       coalesce(array_agg(DISTINCT trade_date) FILTER (WHERE trade_date BETWEEN '0001-01-01' AND '9999-12-31'), '{}')
FROM (
    SELECT login, platform, broker, trade_date, g.rows - coalesce(p.rows, 0) AS rows
    FROM (
        SELECT coalesce(login::text, '') AS login, coalesce(platform::text, '') AS platform, coalesce(broker::text, '') AS broker, trade_date,
               count(*) AS rows
        FROM {{raw}}
        WHERE account_id IS NULL AND {{logins}}{{since}}
        GROUP BY 1, 2, 3, 4
    ) AS g
    LEFT JOIN (
        -- What a restore brought back without an id stays so. The copies tell of it, so that the trades are read by index alone.
        SELECT coalesce(c.row_data ->> 'login', '') AS login, coalesce(c.row_data ->> 'platform', '') AS platform,
               coalesce(c.row_data ->> 'broker', '') AS broker, p.date AS trade_date, count(*) AS rows
        FROM prop_trading_model.recon_pins AS p
        JOIN prop_trading_model.recon_removed_rows AS c ON c.removed_id = p.removed_id
        WHERE p.table_name = $1 AND c.row_data ->> 'account_id' IS NULL
        GROUP BY 1, 2, 3, 4
    ) AS p USING (login, platform, broker, trade_date)
    WHERE g.rows > coalesce(p.rows, 0)
) AS nulls
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(DISTINCT i.account_id ORDER BY i.account_id), '{}') AS candidates
    FROM prop_trading_model.recon_identity AS i
    WHERE (i.login, i.platform, i.broker) = (nulls.login, nulls.platform, nulls.broker)
      AND (nulls.trade_date BETWEEN i.valid_from AND i.valid_to OR nulls.trade_date >= i.open_from)
      -- Nobody held a key on a date that no calendar holds.
      AND nulls.trade_date BETWEEN '0001-01-01' AND '9999-12-31'
) AS fitting
WHERE {{keys}}
GROUP BY login, platform, broker, candidates
ON CONFLICT DO NOTHING

-- name: groups_of_holders
-- The first and last trade of {{raw}} by account id ($5: which) and natural key.
SELECT account_id::text AS holder, login::text AS login, platform::text AS platform, coalesce(broker::text, '') AS broker,
       min(trade_date) AS first_day, max(trade_date) AS last_day
FROM {{raw}}
WHERE account_id IS NOT NULL AND account_id = ANY($5::text[]) AND trade_date BETWEEN {{first_day}} AND '9999-12-31'
GROUP BY 1, 2, 3, 4

-- name: groups_as_swept
-- The same of all account ids, as a sweep summed it up.
SELECT account_id AS holder, login, platform, broker, min(first_day) AS first_day, max(last_day) AS last_day
FROM recon_swept
WHERE table_name = $1
GROUP BY account_id, login, platform, broker

-- name: find_foreign_ids
-- Trades of {{raw}} that carry a placeholder, or an id that their natural key did not have on their date: another account had the key then, or the
-- account had another key then, or did not hold the key yet. Groups that lie inside one range are passed over first.
INSERT INTO prop_trading_model.recon_identity_findings (table_name, login, platform, broker, holder, candidates, fits, rows, dates)
WITH groups AS (
    {{groups}}
), suspects AS MATERIALIZED (
    SELECT
        *,
        (
            prop_trading_model.recon_is_placeholder(holder, login, platform, broker)
            -- Another account's login stands for an unknown id no less than the account's own.
            OR EXISTS (SELECT FROM prop_trading_model.recon_identity AS i WHERE i.login = g.holder)
        )
        AND NOT EXISTS (SELECT FROM prop_trading_model.recon_identity AS i WHERE i.account_id = g.holder) AS placeholder
    FROM groups AS g
    WHERE NOT EXISTS (
        SELECT FROM prop_trading_model.recon_identity AS i
        WHERE (i.login, i.platform, i.broker, i.account_id) = (g.login, g.platform, g.broker, g.holder)
          AND i.valid_from <= g.first_day AND i.valid_to >= g.last_day
    )
), days AS (
    SELECT s.holder, s.login, s.platform, s.broker, s.placeholder, t.trade_date, count(*) AS rows
    FROM suspects AS s
    JOIN {{raw}} AS t
      ON t.account_id = s.holder AND t.login::text = s.login AND t.platform::text = s.platform AND coalesce(t.broker::text, '') = s.broker
     AND t.trade_date BETWEEN {{first_day}} AND '9999-12-31'{{unpinned}}
    GROUP BY 1, 2, 3, 4, 5, 6
), judged AS (
    SELECT
        d.*,
        ARRAY(
            SELECT DISTINCT i.account_id
            FROM prop_trading_model.recon_identity AS i
            WHERE (i.login, i.platform, i.broker) = (d.login, d.platform, d.broker)
              AND (d.trade_date BETWEEN i.valid_from AND i.valid_to OR d.trade_date >= i.open_from)
            ORDER BY i.account_id
        ) AS candidates,
        EXISTS (
            SELECT FROM prop_trading_model.recon_identity AS i
            WHERE i.account_id = d.holder AND (i.login, i.platform, i.broker) <> (d.login, d.platform, d.broker)
              AND (d.trade_date BETWEEN i.valid_from AND i.valid_to OR d.trade_date >= i.open_from)
        ) AS elsewhere,
        -- By the account's own first day, whatever key it had then: old daily rows may be gone that would tell when it had this one.
        d.trade_date < (
            SELECT coalesce(min(least(i.daily_from, i.first_trade)), min(least(i.valid_from, i.open_from)))
            FROM prop_trading_model.recon_identity AS i
            WHERE i.account_id = d.holder
            HAVING bool_or((i.login, i.platform, i.broker) = (d.login, d.platform, d.broker))
        ) AS too_early
    FROM days AS d
)
SELECT $1, login, platform, broker, holder, candidates, md5(array_to_string(candidates, '|')), sum(rows),
       coalesce(array_agg(DISTINCT trade_date) FILTER (WHERE trade_date BETWEEN '0001-01-01' AND '9999-12-31'), '{}')
FROM judged
WHERE {{keys}} AND (placeholder OR (NOT holder = ANY(candidates) AND (candidates <> '{}' OR elsewhere OR coalesce(too_early, false))))
GROUP BY login, platform, broker, holder, candidates
ON CONFLICT DO NOTHING

-- name: find_placeholder_metrics
-- Metrics rows of {{raw}} under a placeholder id, by natural key and by the ids that fit on their dates.
INSERT INTO prop_trading_model.recon_identity_findings (table_name, login, platform, broker, holder, candidates, fits, rows, dates)
SELECT $1, login, platform, broker, holder, candidates, md5(array_to_string(candidates, '|')), sum(rows),
       coalesce(array_agg(DISTINCT day) FILTER (WHERE day BETWEEN '0001-01-01' AND '9999-12-31'), '{}')
FROM (
    SELECT t.login::text AS login, t.platform::text AS platform, coalesce(t.broker::text, '') AS broker, t.account_id::text AS holder,
           coalesce({{day}}, {{today}}) AS day, count(*) AS rows
    FROM {{raw}} AS t
    WHERE t.login IS NOT NULL AND t.platform IS NOT NULL AND {{accounts}}{{t_since}}{{unpinned}}
      AND prop_trading_model.recon_is_placeholder(t.account_id, t.login::text, t.platform::text, t.broker::text)
    GROUP BY 1, 2, 3, 4, 5
) AS placeholders
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(DISTINCT i.account_id ORDER BY i.account_id), '{}') AS candidates
    FROM prop_trading_model.recon_identity AS i
    WHERE (i.login, i.platform, i.broker) = (placeholders.login, placeholders.platform, placeholders.broker)
      AND (placeholders.day BETWEEN i.valid_from AND i.valid_to OR placeholders.day >= i.open_from) AND placeholders.day BETWEEN '0001-01-01' AND '9999-12-31'
) AS fitting
WHERE {{keys}}
GROUP BY login, platform, broker, holder, candidates
ON CONFLICT DO NOTHING

-- name: find_foreign_metrics
-- Daily and alltime rows ($1, $2) of some natural keys that carry the id of an account which did not hold the key then.
INSERT INTO prop_trading_model.recon_identity_findings (table_name, login, platform, broker, holder, candidates, fits, rows, dates)
SELECT CASE WHEN days = '{}' THEN $2 ELSE $1 END, login, platform, broker, holder, ARRAY[owner], md5(owner), greatest(cardinality(days), 1), days
FROM prop_trading_model.recon_foreign_metrics
WHERE {{keys}}
ON CONFLICT DO NOTHING

-- name: find_shared_keys
-- Natural keys that several accounts hold at the same time. An account that counts trades and has no daily rows may have held it any day. Foreign
-- rows are no holding.
INSERT INTO prop_trading_model.recon_identity_findings (table_name, login, platform, broker, holder, candidates, fits, rows, dates)
WITH held AS (
    SELECT
        login, platform, broker, account_id,
        CASE
            WHEN f.holder IS NOT NULL THEN CASE WHEN f.own_from IS NULL THEN 'empty'::daterange ELSE daterange(f.own_from, f.own_to, '[]') END
            WHEN daily_from IS NOT NULL THEN daterange(daily_from, daily_to, '[]')
            WHEN counts THEN '(,)'::daterange
            ELSE 'empty'::daterange
        END AS days
    FROM (SELECT *, account_id AS holder FROM prop_trading_model.recon_identity WHERE {{keys}}) AS i
    LEFT JOIN prop_trading_model.recon_foreign_metrics AS f USING (login, platform, broker, holder)
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

-- name: mend_null_ids
-- Fill the account id of trades of {{raw}} for which exactly one fits; a copy is kept. At most $2 rows, so that the transaction stays short, but the
-- first $3, which the table refused. A row that ingestion is writing is left for the next time. Last how many rows resisted: triggers of the table
-- keep their id.
WITH mendable AS MATERIALIZED (
    SELECT {{key}}{{place}}, f.candidates[1] AS account_id, to_jsonb(t) AS old_row
    FROM prop_trading_model.recon_identity_findings AS f
    JOIN {{raw}} AS t ON t.account_id IS NULL AND t.login::text = f.login AND t.trade_date = ANY(f.dates)
    WHERE f.table_name = $1 AND f.holder IS NULL AND cardinality(f.candidates) = 1 AND {{keys}}
      AND t.platform::text = f.platform AND coalesce(t.broker::text, '') = f.broker{{unpinned}}
    ORDER BY {{key}}
    LIMIT $2 OFFSET $3
    {{locked}}
), written AS (
    UPDATE {{raw}} AS t SET account_id = m.account_id
    FROM mendable AS m
    WHERE {{same_row}} AND t.account_id IS NULL
    RETURNING t.account_id, t.account_id IS NOT DISTINCT FROM m.account_id AS mended, t.trade_date AS day, m.old_row
), copies AS (
    INSERT INTO prop_trading_model.recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT {{run}}, account_id, $1, day, 'overwritten', old_row FROM written WHERE mended
)
SELECT account_id, NULL AS holder, count(*) AS rows, 0::bigint AS md5_rows, array_agg(DISTINCT day) AS days, 0::bigint AS resisting
FROM written
WHERE mended
GROUP BY account_id
UNION ALL
SELECT NULL, NULL, 0, 0, NULL, count(*) - (SELECT count(*) FROM written WHERE mended) FROM mendable HAVING count(*) > 0

-- name: mend_foreign_ids
-- Give trades of {{raw}} that carry another's id or a placeholder to the one account that fits; a copy is kept. At most $2 rows, but the first $3.
WITH mendable AS MATERIALIZED (
    SELECT {{key}}{{place}}, f.candidates[1] AS account_id, t.account_id AS holder, to_jsonb(t) AS old_row, t.trade_date AS day,
           f.holder <> f.login AND prop_trading_model.recon_is_placeholder(f.holder, f.login, f.platform, f.broker) AS is_md5
    FROM prop_trading_model.recon_identity_findings AS f
    JOIN {{raw}} AS t ON t.account_id = f.holder AND t.login::text = f.login AND t.trade_date = ANY(f.dates)
    WHERE f.table_name = $1 AND cardinality(f.candidates) = 1 AND {{keys}}
      AND t.platform::text = f.platform AND coalesce(t.broker::text, '') = f.broker{{unpinned}}
    ORDER BY {{key}}
    LIMIT $2 OFFSET $3
    {{locked}}
), written AS (
    UPDATE {{raw}} AS t SET account_id = m.account_id
    FROM mendable AS m
    WHERE {{same_row}} AND t.account_id = m.holder
    RETURNING t.account_id, t.account_id IS NOT DISTINCT FROM m.account_id AS mended, m.holder, m.old_row, m.day, m.is_md5
), copies AS (
    INSERT INTO prop_trading_model.recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT {{run}}, account_id, $1, day, 'overwritten', old_row FROM written WHERE mended
)
SELECT account_id, holder, count(*) AS rows, count(*) FILTER (WHERE is_md5) AS md5_rows, array_agg(DISTINCT day) AS days, 0::bigint AS resisting
FROM written
WHERE mended
GROUP BY account_id, holder
UNION ALL
SELECT NULL, NULL, 0, 0, NULL, count(*) - (SELECT count(*) FROM written WHERE mended) FROM mendable HAVING count(*) > 0

-- name: mend_metrics
-- Metrics rows of {{raw}} under an id that is not theirs: given to the account that they belong to, or put aside where that account has the
-- row already; a copy is kept of each as it stands when it is locked. One that ingestion is writing is left for the next time.
WITH {{judged}}
), taken AS MATERIALIZED (
    SELECT DISTINCT m.number FROM judged AS m JOIN {{raw}} AS t ON {{owner_key}}
), known AS MATERIALIZED (
    SELECT m.*, to_jsonb(t) AS old_row
    FROM judged AS m
    JOIN {{raw}} AS t ON {{same_row}}
    WHERE t.login::text = m.login AND t.platform::text = m.platform AND coalesce(t.broker::text, '') = m.broker
    {{locked_to_go}}
), doubled AS MATERIALIZED (
    SELECT * FROM known WHERE number IN (SELECT number FROM taken)
), free AS MATERIALIZED (
    SELECT * FROM known WHERE number NOT IN (SELECT number FROM taken)
), removed AS (
    DELETE FROM {{raw}} AS t USING doubled AS m WHERE {{same_row}} RETURNING m.owner, m.account_id AS holder, m.login, m.day, m.old_row
), reassigned AS (
    UPDATE {{raw}} AS t SET account_id = m.owner FROM free AS m
    WHERE {{same_row}}
    RETURNING m.owner, m.account_id AS holder, m.login, m.day, m.old_row, t.account_id IS NOT DISTINCT FROM m.owner AS mended
), mended AS (
    SELECT owner, holder, login, day, old_row, true AS is_removed FROM removed
    UNION ALL
    SELECT owner, holder, login, day, old_row, false FROM reassigned WHERE mended
), copies AS (
    INSERT INTO prop_trading_model.recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT {{copied}}, old_row FROM mended
)
SELECT owner AS account_id, holder, count(*) AS rows, count(*) FILTER (WHERE is_removed) AS removed, count(*) FILTER (WHERE {{stands_in}} AND holder NOT IN ('', login)) AS md5_rows,
       array_agg(DISTINCT CASE WHEN {{is_dated}} THEN day END) AS days, 0::bigint AS resisting
FROM mended
GROUP BY owner, holder
UNION ALL
SELECT NULL, NULL, 0, 0, 0, NULL, count(*) - (SELECT count(*) FROM mended) FROM judged HAVING count(*) > 0

-- name: judge_placeholders
-- Those under a placeholder ($4: which) whose natural key exactly one account had on their date. At most $2 rows, but the first $3, which the table refused.
placeholders AS MATERIALIZED (
    SELECT {{key}}{{place}}, t.login::text AS login, t.platform::text AS platform, coalesce(t.broker::text, '') AS broker, coalesce({{day}}, {{today}}) AS day
    FROM {{raw}} AS t
    WHERE t.account_id = ANY($4::text[]){{t_since}}{{unpinned}} AND prop_trading_model.recon_is_placeholder(t.account_id, t.login::text, t.platform::text, t.broker::text)
), judged AS MATERIALIZED (
    -- Two placeholders may stand for one row: one of them now, the other finds the row there next time.
    SELECT DISTINCT ON ({{target}}) p.*, fitting.candidates[1] AS owner, row_number() OVER () AS number
    FROM placeholders AS p
    CROSS JOIN LATERAL (
        SELECT array_agg(DISTINCT i.account_id) AS candidates
        FROM prop_trading_model.recon_identity AS i
        WHERE (i.login, i.platform, i.broker) = (p.login, p.platform, p.broker)
          AND (p.day BETWEEN i.valid_from AND i.valid_to OR p.day >= i.open_from)
    ) AS fitting
    WHERE cardinality(fitting.candidates) = 1
    ORDER BY {{target}}
    LIMIT $2 OFFSET $3

-- name: judge_unsent
-- Those of accounts ($2) and dates ($3) that upstream does not send for them, with a natural key that another account holds by alltime and those do not, and
-- under which that account has metrics rows on the same date.
listed AS MATERIALIZED (
    SELECT {{key}}{{place}}, t.login::text AS login, t.platform::text AS platform, coalesce(t.broker::text, '') AS broker, {{day}} AS day
    FROM unnest($2::text[], $3::date[]) AS unsent (account_id, day)
    JOIN {{raw}} AS t ON t.account_id = unsent.account_id AND {{day}} = unsent.day{{unpinned}}
), owners AS MATERIALIZED (
    SELECT p.login, p.platform, p.broker, p.account_id AS holder, p.day, min(i.account_id) AS owner
    FROM (SELECT DISTINCT login, platform, broker, account_id, day FROM listed) AS p
    JOIN prop_trading_model.recon_identity AS i ON (i.login, i.platform, i.broker) = (p.login, p.platform, p.broker) AND i.today
    GROUP BY p.login, p.platform, p.broker, p.account_id, p.day
    HAVING count(*) = 1 AND min(i.account_id) <> p.account_id
), borne_out AS MATERIALIZED (
    SELECT DISTINCT o.login, o.platform, o.broker, o.holder, o.owner, o.day
    FROM owners AS o
    JOIN prop_trading_model.raw_metrics_daily AS t ON t.account_id = o.owner AND t.login::text = o.login AND t.date = o.day
    WHERE t.platform::text = o.platform AND coalesce(t.broker::text, '') = o.broker
    UNION
    SELECT o.login, o.platform, o.broker, o.holder, o.owner, o.day
    FROM owners AS o
    JOIN prop_trading_model.raw_metrics_hourly AS t ON t.account_id = o.owner AND t.login::text = o.login AND t.date = o.day
    WHERE t.platform::text = o.platform AND coalesce(t.broker::text, '') = o.broker
), judged AS MATERIALIZED (
    -- Two accounts may have the same row of a third: one of them now, the other finds the row there next time.
    SELECT DISTINCT ON ({{unsent_target}}) l.*, b.owner, row_number() OVER () AS number
    FROM listed AS l
    JOIN borne_out AS b ON (b.login, b.platform, b.broker, b.holder, b.day) = (l.login, l.platform, l.broker, l.account_id, l.day)
    ORDER BY {{unsent_target}}

-- name: get_findings_summary
-- Natural keys whose rows no account, or more than one, fits.
SELECT table_name, login, platform, broker, holder, candidates, rows
FROM prop_trading_model.recon_identity_findings
WHERE cardinality(candidates) <> 1
ORDER BY rows DESC, login
LIMIT $1

-- name: count_findings
-- How many natural keys fit no account, and how many fit more than one.
SELECT
    count(DISTINCT (login, platform, broker)) FILTER (WHERE candidates = '{}') AS unmatched,
    count(DISTINCT (login, platform, broker)) FILTER (WHERE cardinality(candidates) > 1) AS ambiguous
FROM prop_trading_model.recon_identity_findings

-- name: get_affected_accounts
-- Accounts that a finding concerns, or whose open issues are about identity.
SELECT DISTINCT account_id FROM prop_trading_model.trade_recon JOIN (
    SELECT unnest(candidates) AS account_id FROM prop_trading_model.recon_identity_findings
    UNION ALL
    SELECT holder FROM prop_trading_model.recon_identity_findings WHERE holder IS NOT NULL
    UNION ALL
    SELECT account_id FROM prop_trading_model.recon_issue_history WHERE closed_at IS NULL AND type = ANY($1::text[])
) AS concerned USING (account_id)

-- name: unpinned
-- What the statements on rows t of a table ($1) add: the row is not pinned, since what a restore brought back keeps the id that it had.
      AND NOT EXISTS (SELECT FROM prop_trading_model.recon_pins AS p WHERE p.table_name = $1 AND p.row_key = ARRAY[{{unit}}])
