-- name: create_swept
-- Sum up each raw table, read once, by account id and natural key as stored. CREATE TABLE AS reads
-- in parallel, INSERT would not. `mark` sums trades times a 43-bit hash of the date: tables that
-- count alike on every date have equal marks, others with probability 2^-43. Without impossible
-- dates, which get_odd_rows names, and, except for open trades, dates before the history. Marks of
-- amounts use factors from 1 to 2, so that rounding differences stay small; closed trades have
-- none, since it would double the cost of a row.
CREATE TEMP TABLE recon_swept ON COMMIT DROP AS
SELECT 'raw_metrics_alltime' AS table_name, NULL::bigint AS most, account_id::text AS account_id,
    login::text AS login, platform::text AS platform, coalesce(broker::text, '') AS broker,
       1::bigint AS rows, prop_trading_model.recon_count(num_trades)::bigint AS trades,
       0::numeric AS mark, {{first_trade}} AS first_day, NULL::date AS last_day,
       prop_trading_model.recon_is_placeholder(account_id::text, login::text, platform::text,
           broker::text) AS stands_in,
       {{alltime_amounts}}, 0::double precision AS money_mark
FROM {{alltime}}
UNION ALL
SELECT 'raw_metrics_daily', NULL, account_id::text, login::text, platform::text,
    coalesce(broker::text, ''), rows, trades::bigint, mark, first_day, last_day,
       prop_trading_model.recon_is_placeholder(account_id::text, login::text, platform::text,
           broker::text), profit, lots, money_mark
FROM (
    SELECT account_id, login, platform, broker, count(*) AS rows,
        coalesce(sum(prop_trading_model.recon_count(num_trades)), 0) AS trades,
           sum((prop_trading_model.recon_count(num_trades)::bigint % 1048576) * {{number_of_date}})
               AS mark, min(date) AS first_day, max(date) AS last_day{{daily_amounts}}
    FROM {{daily}}
    WHERE date BETWEEN {{first_day}} AND '9999-12-31'
    GROUP BY account_id, login, platform, broker
) AS daily
UNION ALL
-- Natural keys come from daily rows, as its index lacks some; judge_swept_hourly reads those of
-- placeholders.
SELECT 'raw_metrics_hourly', most::bigint, account_id::text, login::text, NULL, NULL, rows,
    trades::bigint, mark, NULL, NULL, false, profit, lots, money_mark
FROM (
    SELECT account_id, login, count(*) AS rows,
        coalesce(sum(prop_trading_model.recon_count(num_trades)), 0) AS trades,
           max(prop_trading_model.recon_count(num_trades)) AS most,
           sum((prop_trading_model.recon_count(num_trades)::bigint % 1048576) * {{number_of_date}})
               AS mark{{hourly_amounts}}
    FROM {{hourly}}
    WHERE date BETWEEN {{first_day}} AND '9999-12-31'
    GROUP BY account_id, login
) AS hourly
UNION ALL
SELECT 'raw_trades_closed', NULL, account_id::text, login::text, platform::text,
    coalesce(broker::text, ''), rows, rows, mark, first_day, last_day,
       prop_trading_model.recon_is_placeholder(account_id::text, login::text, platform::text,
           broker::text), profit, lots, money_mark
FROM (
    SELECT account_id, login, platform, broker, count(*) AS rows,
        sum({{number_of_trade_date}}) AS mark,
           min(trade_date) AS first_day, max(trade_date) AS last_day{{closed_amounts}}
    FROM {{closed}}
    WHERE account_id IS NOT NULL AND trade_date BETWEEN {{first_day}} AND '9999-12-31'
    GROUP BY account_id, login, platform, broker
) AS closed
UNION ALL
SELECT 'raw_trades_open', NULL, account_id::text, login::text, platform::text,
    coalesce(broker::text, ''), rows, 0, 0, first_day, last_day,
       prop_trading_model.recon_is_placeholder(account_id::text, login::text, platform::text,
           broker::text), 0, 0, 0
FROM (
    SELECT account_id, login, platform, broker, count(*) AS rows, min(trade_date) AS first_day,
        max(trade_date) AS last_day
    FROM {{open}}
    WHERE account_id IS NOT NULL AND trade_date BETWEEN '0001-01-01' AND '9999-12-31'
    GROUP BY account_id, login, platform, broker
) AS open

-- name: judge_swept_hourly
-- Hourly rows under placeholders by their own natural keys, read only for ids that may be one: a
-- login, or an MD5 in length that other metrics tables do not know as an id.
WITH suspects AS MATERIALIZED (
    SELECT account_id, login FROM recon_swept
    WHERE table_name = 'raw_metrics_hourly'
        AND (account_id = login OR char_length(account_id) IN (0, 32))
    EXCEPT
    SELECT account_id, login FROM recon_swept
        WHERE table_name IN ('raw_metrics_alltime', 'raw_metrics_daily') AND NOT stands_in
), judged AS MATERIALIZED (
    SELECT account_id::text AS account_id, login::text AS login, min(platform::text) AS platform,
        min(coalesce(broker::text, '')) AS broker
    FROM {{hourly}}
    WHERE account_id = ANY(ARRAY(SELECT account_id FROM suspects)){{since_date}}
      AND prop_trading_model.recon_is_placeholder(account_id::text, login::text, platform::text,
          broker::text)
    GROUP BY account_id, login
)
UPDATE recon_swept AS s
SET stands_in = true, platform = j.platform, broker = j.broker
FROM judged AS j
WHERE s.table_name = 'raw_metrics_hourly' AND s.account_id = j.account_id AND s.login = j.login

-- name: analyze_swept
-- Statistics for planning what is derived.
ANALYZE recon_swept (table_name, account_id)

-- name: create_swept_list
-- Account ids of the raw tables, by the rule of mv_all_account_ids.
CREATE TEMP TABLE recon_swept_list ON COMMIT DROP AS
SELECT account_id
FROM recon_swept AS s
WHERE NOT stands_in AND char_length(account_id) <= 255 AND (
    table_name NOT IN ('raw_trades_closed', 'raw_trades_open')
        OR NOT EXISTS
        (SELECT FROM prop_trading_model.recon_identity AS i WHERE i.login = s.account_id)
)
UNION
SELECT account_id FROM prop_trading_model.recon_identity WHERE char_length(account_id) <= 255

-- name: is_list_stale
-- Whether the published list misses an account or has one too many; the latter is unknown if the
-- sweep leaves rows out.
SELECT EXISTS
    (SELECT account_id FROM recon_swept_list EXCEPT SELECT account_id::text
    FROM prop_trading_model.mv_all_account_ids)
    OR {{lists_all}}
        AND EXISTS (SELECT account_id::text
        FROM prop_trading_model.mv_all_account_ids EXCEPT SELECT account_id
        FROM recon_swept_list)

-- name: new_accounts
-- Accounts that trade_recon does not know yet. EXCEPT hashes: PostgreSQL expects an empty table to
-- stay empty, and would rescan all inserted so far for each account.
SELECT account_id FROM recon_swept_list EXCEPT SELECT account_id FROM prop_trading_model.trade_recon

-- name: list_stand_ins
-- Droppable entries of trade_recon that are no accounts, such as placeholders listed by an earlier
-- system. An id absent from raw tables is one only if it stands for a known natural key.
WITH unlisted AS MATERIALIZED (
    SELECT account_id::text AS account_id FROM prop_trading_model.trade_recon
        WHERE claimed_by IS NULL
    EXCEPT
    SELECT account_id FROM recon_swept_list
)
SELECT t.account_id
FROM unlisted AS u JOIN prop_trading_model.trade_recon AS t ON t.account_id = u.account_id
    AND t.claimed_by IS NULL
WHERE ({{may_go}})
  -- Entries waiting in a run are left to it.
  AND NOT EXISTS (
      SELECT
      FROM prop_trading_model.recon_attempts AS a
      JOIN prop_trading_model.recon_runs AS r USING (run_id)
      WHERE a.account_id = u.account_id AND a.outcome IS NULL
          AND r.status IN ('queued', 'running', 'paused', 'needs_confirmation')
  )
  AND (
      u.account_id = ''
      OR EXISTS (SELECT FROM recon_swept AS s WHERE s.account_id = u.account_id AND s.stands_in)
      OR EXISTS (SELECT FROM prop_trading_model.recon_identity AS i WHERE i.login = u.account_id)
      OR char_length(u.account_id) = 32
          AND lower(u.account_id)
              IN (SELECT md5(login || '|' || platform || '|' || broker)
              FROM prop_trading_model.recon_identity)
  )

-- name: create_swept_accounts
-- Totals of each account, and whether its tables may disagree on a date; alltime covers all dates
-- until bound_swept_accounts.
CREATE TEMP TABLE recon_swept_accounts ON COMMIT DROP AS
SELECT *, (daily, daily_mark) <> (hourly, hourly_mark)
    OR (daily, daily_mark) <> (closed, closed_mark) AS differs, true AS is_known
FROM (
    SELECT
        account_id,
        bool_or(table_name = 'raw_metrics_alltime') AS has_alltime,
        coalesce(sum(trades) FILTER (WHERE table_name = 'raw_metrics_alltime'), 0)::bigint
        AS alltime,
        bool_or(table_name = 'raw_metrics_daily') AS has_daily,
        coalesce(sum(trades) FILTER (WHERE table_name = 'raw_metrics_daily'), 0)::bigint AS daily,
        coalesce(sum(mark) FILTER (WHERE table_name = 'raw_metrics_daily'), 0) AS daily_mark,
        bool_or(table_name = 'raw_metrics_hourly') AS has_hourly,
        coalesce(sum(trades) FILTER (WHERE table_name = 'raw_metrics_hourly'), 0)::bigint AS hourly,
        coalesce(sum(mark) FILTER (WHERE table_name = 'raw_metrics_hourly'), 0) AS hourly_mark,
        bool_or(table_name = 'raw_trades_closed') AS has_closed,
        coalesce(sum(trades) FILTER (WHERE table_name = 'raw_trades_closed'), 0)::bigint AS closed,
        coalesce(sum(mark) FILTER (WHERE table_name = 'raw_trades_closed'), 0) AS closed_mark,
        coalesce(sum(rows) FILTER (WHERE table_name = 'raw_metrics_alltime'), 0)::bigint
            AS alltime_rows,
        coalesce(sum(profit) FILTER (WHERE table_name = 'raw_metrics_alltime'), 0)
            AS alltime_profit,
            coalesce(sum(lots) FILTER (WHERE table_name = 'raw_metrics_alltime'), 0)
            AS alltime_lots,
        coalesce(sum(rows) FILTER (WHERE table_name = 'raw_metrics_daily'), 0)::bigint
            AS daily_rows,
        coalesce(sum(profit) FILTER (WHERE table_name = 'raw_metrics_daily'), 0) AS daily_profit,
        coalesce(sum(lots) FILTER (WHERE table_name = 'raw_metrics_daily'), 0) AS daily_lots,
        coalesce(sum(money_mark) FILTER (WHERE table_name = 'raw_metrics_daily'), 0)
        AS daily_money_mark,
        coalesce(sum(rows) FILTER (WHERE table_name = 'raw_metrics_hourly'), 0)::bigint
            AS hourly_rows,
        coalesce(sum(profit) FILTER (WHERE table_name = 'raw_metrics_hourly'), 0) AS hourly_profit,
        coalesce(sum(lots) FILTER (WHERE table_name = 'raw_metrics_hourly'), 0) AS hourly_lots,
        coalesce(sum(money_mark) FILTER (WHERE table_name = 'raw_metrics_hourly'), 0)
        AS hourly_money_mark,
        coalesce(sum(rows) FILTER (WHERE table_name = 'raw_trades_closed'), 0)::bigint
            AS closed_rows,
        coalesce(sum(profit) FILTER (WHERE table_name = 'raw_trades_closed'), 0) AS closed_profit,
        coalesce(sum(lots) FILTER (WHERE table_name = 'raw_trades_closed'), 0) AS closed_lots
    FROM recon_swept
    WHERE table_name <> 'raw_trades_open'
    GROUP BY account_id
) AS summed

-- name: analyze_swept_accounts
-- Statistics of the totals.
ANALYZE recon_swept_accounts (account_id)

-- name: lacks_history
-- Whether upstream's count before the history from $1 on is unknown for an account with alltime.
SELECT EXISTS (
    SELECT FROM recon_swept_accounts AS s
    LEFT JOIN prop_trading_model.recon_history AS h ON h.account_id = s.account_id
    WHERE s.has_alltime AND h.history_from IS DISTINCT FROM $1::date
)

-- name: take_history_from_stored
-- Counts of accounts before the history from $1 on, taken from stored daily rows if alltime equals
-- what is known to precede these rows plus their counts. Upstream is asked about all others.
WITH unknown AS MATERIALIZED (
    SELECT s.account_id, s.alltime - s.daily AS outside, h.history_from, h.trades, h.net_profit,
        h.total_lots
    FROM recon_swept_accounts AS s
    LEFT JOIN prop_trading_model.recon_history AS h ON h.account_id = s.account_id
    WHERE s.has_alltime AND (h.account_id IS NULL OR h.history_from < $1::date)
), before AS MATERIALIZED (
    SELECT d.account_id::text AS account_id,
        sum(prop_trading_model.recon_count(d.num_trades))::bigint AS trades,
        sum({{daily_profit}}) AS net_profit, sum({{daily_lots}}) AS total_lots
    FROM {{daily}} AS d
    LEFT JOIN prop_trading_model.recon_history AS h ON h.account_id = d.account_id
    WHERE d.date BETWEEN '0001-01-01' AND $1::date - 1 AND d.date
        >= coalesce(h.history_from, '0001-01-01')
    GROUP BY d.account_id
)
INSERT INTO prop_trading_model.recon_history
    (account_id, history_from, trades, net_profit, total_lots)
SELECT u.account_id, $1::date, u.outside,
       CASE WHEN u.history_from IS NULL THEN 0 ELSE u.net_profit END + coalesce(b.net_profit, 0),
       CASE WHEN u.history_from IS NULL THEN 0 ELSE u.total_lots END + coalesce(b.total_lots, 0)
FROM unknown AS u
LEFT JOIN before AS b ON b.account_id = u.account_id
WHERE u.outside = coalesce(u.trades, 0) + coalesce(b.trades, 0)
ORDER BY u.account_id
ON CONFLICT (account_id) DO UPDATE
SET history_from = excluded.history_from, trades = excluded.trades,
    net_profit = excluded.net_profit, total_lots = excluded.total_lots, read_at = now()

-- name: bound_swept_accounts
-- Subtract upstream's count before the history from $1 on from alltime; while unknown, the tables
-- cannot be said to agree.
UPDATE recon_swept_accounts AS s
SET alltime = s.alltime - coalesce(k.trades, 0), is_known = k.account_id IS NOT NULL,
    -- Unknown figures leave no comparable amount.
    alltime_profit = s.alltime_profit - k.profit, alltime_lots = s.alltime_lots - k.lots
FROM (
    SELECT s.account_id AS wanted, h.account_id, h.trades, {{history_profit}} AS profit,
        {{history_lots}} AS lots
    FROM recon_swept_accounts AS s
    LEFT JOIN prop_trading_model.recon_history AS h ON h.account_id = s.account_id
        AND h.history_from = $1::date
    WHERE s.has_alltime
) AS k
WHERE k.wanted = s.account_id
    AND (k.account_id IS NULL OR k.trades <> 0 OR k.profit <> 0 OR k.lots <> 0)

-- name: count_rows_before
-- Rows stored before the history from $1 on, which are neither counted nor changed.
SELECT 'raw_metrics_daily' AS table_name, count(*) AS rows FROM {{daily}}
    WHERE date BETWEEN '0001-01-01' AND $1::date - 1
UNION ALL
SELECT 'raw_metrics_hourly', count(*) FROM {{hourly}}
    WHERE date BETWEEN '0001-01-01' AND $1::date - 1
UNION ALL
SELECT 'raw_trades_closed', count(*) FROM {{closed}}
    WHERE trade_date BETWEEN '0001-01-01' AND $1::date - 1

-- name: count_differing
-- Number of accounts, and of those that may have a disagreeing date.
SELECT count(*) AS accounts, count(*) FILTER (WHERE differs) AS differing FROM recon_swept_accounts

-- name: create_swept_days
-- Number of disagreeing dates of these accounts.
CREATE TEMP TABLE recon_swept_days ON COMMIT DROP AS
SELECT account_id::text AS account_id, count(*) AS mismatched_days
FROM {{days}} AS days
WHERE daily <> hourly OR daily <> closed
GROUP BY account_id

-- name: differing_accounts
-- Accounts with totals other than stored.
SELECT
    r.account_id, coalesce(s.has_alltime, false) AS has_alltime, coalesce(s.alltime, 0) AS alltime,
    coalesce(s.has_daily, false) AS has_daily,
    coalesce(s.daily, 0) AS daily, coalesce(s.has_hourly, false) AS has_hourly,
    coalesce(s.hourly, 0) AS hourly,
    coalesce(s.has_closed, false) AS has_closed, coalesce(s.closed, 0) AS closed,
    coalesce(d.mismatched_days, 0) AS mismatched_days,
    coalesce(m.mismatched_money, 0) AS mismatched_money,
    coalesce(s.is_known AND s.alltime >= 0 AND s.alltime = s.daily AND s.daily = s.hourly
        AND s.hourly = s.closed, true) AS checksum
FROM prop_trading_model.trade_recon AS r
LEFT JOIN recon_swept_accounts AS s ON s.account_id = r.account_id
LEFT JOIN recon_swept_days AS d ON d.account_id = r.account_id
LEFT JOIN recon_swept_money AS m ON m.account_id = r.account_id
WHERE (r.has_alltime, r.num_trades_alltime, r.has_daily, r.num_trades_daily, r.has_hourly,
    r.num_trades_hourly, r.has_raw_closed, r.num_trades_raw_closed,
       r.mismatched_days, r.mismatched_money, r.trades_recon_checksum)
      IS DISTINCT FROM
      (coalesce(s.has_alltime, false), coalesce(s.alltime, 0), coalesce(s.has_daily, false),
          coalesce(s.daily, 0), coalesce(s.has_hourly, false),
       coalesce(s.hourly, 0), coalesce(s.has_closed, false), coalesce(s.closed, 0),
       coalesce(d.mismatched_days, 0), coalesce(m.mismatched_money, 0),
       coalesce(s.is_known AND s.alltime >= 0 AND s.alltime = s.daily AND s.daily = s.hourly
           AND s.hourly = s.closed, true))

-- name: refresh_stats
-- Write changed totals and checksums; returns their number, and locked accounts, which are not
-- written.
WITH differing AS MATERIALIZED (
    {{differing}}
), free AS MATERIALIZED (
    SELECT r.account_id
    FROM prop_trading_model.trade_recon AS r
    WHERE r.account_id IN (SELECT account_id FROM differing)
    -- A common order prevents deadlocks between workers.
    ORDER BY r.account_id
    FOR NO KEY UPDATE OF r SKIP LOCKED
), written AS (
    UPDATE prop_trading_model.trade_recon AS r
    SET has_alltime = now.has_alltime, num_trades_alltime = now.alltime,
        has_daily = now.has_daily, num_trades_daily = now.daily,
        has_hourly = now.has_hourly, num_trades_hourly = now.hourly,
        has_raw_closed = now.has_closed, num_trades_raw_closed = now.closed,
        mismatched_days = now.mismatched_days, mismatched_money = now.mismatched_money,
        trades_recon_checksum = now.checksum, issues = {{issues}}
    FROM differing AS now
    JOIN free USING (account_id)
    WHERE r.account_id = now.account_id
)
SELECT (SELECT count(*) FROM free) AS changed,
    ARRAY(SELECT account_id::text FROM differing EXCEPT SELECT account_id::text FROM free
    ORDER BY 1) AS locked

-- name: create_swept_few_hours
-- Dates with more than {{few_hours_trades}} trades in one hourly row, read only for accounts with
-- such an hour.
CREATE TEMP TABLE recon_swept_few_hours ON COMMIT DROP AS
SELECT account_id::text AS account_id, array_agg(date ORDER BY date) AS dates
FROM (
    SELECT account_id, date
    FROM {{hourly}}
    WHERE account_id = ANY(ARRAY(
        SELECT account_id FROM recon_swept WHERE table_name = 'raw_metrics_hourly'
            AND most > {{few_hours_trades}} AND NOT stands_in
    )) AND date BETWEEN {{first_day}} AND '9999-12-31'
    GROUP BY account_id, date
    HAVING count(*) = 1 AND sum(prop_trading_model.recon_count(num_trades)) > {{few_hours_trades}}
) AS days
GROUP BY account_id

-- name: note_few_hours
-- Record them for known accounts, clearing all others.
WITH found AS MATERIALIZED (
    SELECT f.account_id, f.dates FROM recon_swept_few_hours AS f
        JOIN prop_trading_model.trade_recon AS t ON t.account_id = f.account_id
), gone AS (
    DELETE FROM prop_trading_model.recon_few_hours AS f
        WHERE NOT EXISTS (SELECT FROM found WHERE found.account_id = f.account_id)
)
INSERT INTO prop_trading_model.recon_few_hours AS f (account_id, dates)
SELECT account_id, dates FROM found ORDER BY account_id
ON CONFLICT (account_id) DO UPDATE SET dates = excluded.dates, noted_at = now()
WHERE f.dates IS DISTINCT FROM excluded.dates

-- name: stale_accounts
-- Accounts ($1, null: all) whose status reports trouble that is over, or none despite trouble.
-- Claimed and held accounts are left to runs; accounts never detected without stored rows stay as
-- they are.
SELECT t.account_id, t.trades_recon_checksum AND t.mismatched_days = 0 AND t.mismatched_money = 0
    AND t.issues = '[]' AS is_whole
FROM prop_trading_model.trade_recon AS t
WHERE ($1::text[] IS NULL OR t.account_id = ANY($1::text[])) AND t.claimed_by IS NULL
  AND CASE
      WHEN NOT t.trades_recon_checksum OR t.mismatched_days > 0 OR t.mismatched_money > 0
          OR t.issues <> '[]'
          THEN t.reconciliation_status IN ('reconciled', 'pending')
      ELSE t.reconciliation_status
          IN ('failed', 'exhausted', 'needs_reconciliation', 'explained', 'flapping', 'pending')
          AND (t.reconciliation_status <> 'pending' OR t.has_alltime OR t.has_daily OR t.has_hourly
              OR t.has_raw_closed)
          AND NOT EXISTS
              (SELECT FROM prop_trading_model.recon_descents AS d WHERE d.account_id = t.account_id)
          AND NOT EXISTS
              (SELECT FROM prop_trading_model.recon_issue_history AS h
              WHERE h.account_id = t.account_id AND h.closed_at IS NULL)
  END

-- name: follow_state
-- Update the status of stale accounts; returns their number.
WITH stale AS MATERIALIZED (
    {{stale}}
    -- A common order prevents deadlocks between workers.
    ORDER BY t.account_id
    FOR NO KEY UPDATE OF t SKIP LOCKED
)
UPDATE prop_trading_model.trade_recon AS t
SET reconciliation_status = CASE WHEN s.is_whole THEN 'reconciled' ELSE 'needs_reconciliation' END,
    failed_attempts = CASE WHEN s.is_whole THEN 0 ELSE t.failed_attempts END,
    next_attempt_at = CASE WHEN s.is_whole THEN NULL ELSE t.next_attempt_at END,
    explained_as = CASE WHEN s.is_whole THEN NULL ELSE t.explained_as END, explained_times = CASE
        WHEN s.is_whole THEN 0 ELSE t.explained_times END,
    ask_again_at = CASE WHEN s.is_whole THEN NULL ELSE t.ask_again_at END,
    last_reconciled = CASE WHEN s.is_whole THEN now() ELSE t.last_reconciled END
FROM stale AS s
WHERE t.account_id = s.account_id

-- name: refresh_account_list
-- Refresh the account list without blocking readers.
REFRESH MATERIALIZED VIEW CONCURRENTLY prop_trading_model.mv_all_account_ids

-- name: refresh_account_list_plainly
-- For a view never filled, for which PostgreSQL rejects CONCURRENTLY.
REFRESH MATERIALIZED VIEW prop_trading_model.mv_all_account_ids
