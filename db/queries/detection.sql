-- name: refresh_account_list
-- The account list, refreshed while readers go on reading it.
REFRESH MATERIALIZED VIEW CONCURRENTLY prop_trading_model.mv_all_account_ids

-- name: refresh_account_list_plainly
-- The same where PostgreSQL refuses CONCURRENTLY (the view was never filled).
REFRESH MATERIALIZED VIEW prop_trading_model.mv_all_account_ids

-- name: add_listed_accounts
-- Accounts of the list that trade_recon does not know yet. By EXCEPT, which hashes: of an empty table PostgreSQL expects nothing, and would
-- read again for each account all that the statement has inserted so far.
INSERT INTO prop_trading_model.trade_recon (account_id)
SELECT account_id FROM prop_trading_model.mv_all_account_ids
EXCEPT
SELECT account_id FROM prop_trading_model.trade_recon
ON CONFLICT DO NOTHING

-- name: forget_placeholders
-- Entries of the account list that are no accounts: an earlier system listed the ids that stand for unknown ones.
DELETE FROM prop_trading_model.trade_recon AS t
WHERE t.claimed_by IS NULL
  AND (
      prop_trading_model.recon_is_placeholder(t.account_id, NULL)
      OR EXISTS (SELECT FROM prop_trading_model.recon_identity AS i WHERE i.login = t.account_id)
         AND NOT EXISTS (SELECT FROM prop_trading_model.mv_all_account_ids AS listed WHERE listed.account_id = t.account_id)
         AND NOT EXISTS (SELECT FROM prop_trading_model.recon_identity AS own WHERE own.account_id = t.account_id)
  )

-- name: add_accounts
-- Accounts that upstream has and the warehouse has no row of.
INSERT INTO prop_trading_model.trade_recon (account_id)
SELECT unnest($1::text[])
ON CONFLICT DO NOTHING

-- name: refresh_stats
-- The totals and the checksum of accounts, written only where they changed. {{accounts}} limits both sides alike, so that the limit reaches the indexes;
-- {{locked}} tells what becomes of rows that someone else holds.
WITH fresh AS (
    SELECT
        known.account_id,
        coalesce(has_alltime, false) AS has_alltime, coalesce(alltime, 0) AS alltime,
        coalesce(has_daily, false) AS has_daily, coalesce(daily, 0) AS daily,
        coalesce(has_hourly, false) AS has_hourly, coalesce(hourly, 0) AS hourly,
        coalesce(has_closed, false) AS has_closed, coalesce(closed, 0) AS closed,
        coalesce(mismatched_days, 0) AS mismatched_days,
        coalesce(alltime, 0) >= 0 AND coalesce(alltime, 0) = coalesce(daily, 0) AND coalesce(daily, 0) = coalesce(hourly, 0)
            AND coalesce(hourly, 0) = coalesce(closed, 0) AS checksum
    FROM (SELECT account_id FROM prop_trading_model.trade_recon WHERE {{accounts}}) AS known
    LEFT JOIN (SELECT * FROM prop_trading_model.v_recon_stats WHERE {{accounts}}) AS stats ON stats.account_id = known.account_id
), changed AS MATERIALIZED (
    SELECT fresh.*
    FROM fresh
    JOIN prop_trading_model.trade_recon AS r ON r.account_id = fresh.account_id
    WHERE (r.has_alltime, r.num_trades_alltime, r.has_daily, r.num_trades_daily, r.has_hourly, r.num_trades_hourly, r.has_raw_closed, r.num_trades_raw_closed,
           r.mismatched_days, r.trades_recon_checksum)
          IS DISTINCT FROM
          (fresh.has_alltime, fresh.alltime, fresh.has_daily, fresh.daily, fresh.has_hourly, fresh.hourly, fresh.has_closed, fresh.closed,
           fresh.mismatched_days, fresh.checksum)
    -- In one order, so that no two of us wait for each other.
    ORDER BY r.account_id
    FOR NO KEY UPDATE OF r {{locked}}
)
UPDATE prop_trading_model.trade_recon AS r
SET has_alltime = changed.has_alltime, num_trades_alltime = changed.alltime,
    has_daily = changed.has_daily, num_trades_daily = changed.daily,
    has_hourly = changed.has_hourly, num_trades_hourly = changed.hourly,
    has_raw_closed = changed.has_closed, num_trades_raw_closed = changed.closed,
    mismatched_days = changed.mismatched_days, trades_recon_checksum = changed.checksum
FROM changed
WHERE r.account_id = changed.account_id

-- name: get_totals
-- The stored totals of accounts, and their open issues.
SELECT account_id, has_alltime, num_trades_alltime, has_daily, num_trades_daily, has_hourly, num_trades_hourly, has_raw_closed, num_trades_raw_closed, issues, explained_as,
       reconciliation_status
FROM prop_trading_model.trade_recon
WHERE account_id = ANY($1::text[])

-- name: get_days
-- The dates on which the tables disagree, of accounts.
SELECT account_id, date, daily, hourly, closed, daily_rows, hourly_rows
FROM prop_trading_model.v_recon_days
WHERE account_id = ANY($1::text[]) AND (daily <> hourly OR daily <> closed)
ORDER BY account_id, date

-- name: get_spans
-- First and last date with a row, and the number of such dates, of accounts.
SELECT account_id, min(date) AS first_day, max(date) AS last_day, count(*) AS known_days
FROM prop_trading_model.v_recon_days
WHERE account_id = ANY($1::text[])
GROUP BY account_id

-- name: get_size
-- How many accounts are known, and how many trades are counted for them.
SELECT count(*) AS accounts,
       coalesce(sum(greatest(num_trades_alltime, num_trades_daily, num_trades_hourly, num_trades_raw_closed)), 0)::bigint AS trades
FROM prop_trading_model.trade_recon

-- name: get_coverage
-- How many of these accounts have a row on a date.
SELECT date, count(*) AS accounts
FROM prop_trading_model.v_recon_days
WHERE account_id = ANY($1::text[])
GROUP BY date

-- name: get_logins
-- The logins under which accounts trade or traded.
SELECT account_id, array_agg(DISTINCT login ORDER BY login) AS logins
FROM (
    SELECT account_id, login FROM prop_trading_model.recon_identity WHERE account_id = ANY($1::text[])
    UNION
    SELECT account_id, login::text FROM prop_trading_model.raw_trades_closed WHERE account_id = ANY($1::text[])
) AS held
GROUP BY account_id

-- name: get_findings
-- Rows with a missing or wrong account id that are these accounts' or fit them.
SELECT table_name, login, platform, broker, holder, candidates, rows, dates
FROM prop_trading_model.recon_identity_findings
WHERE candidates && $1::text[] OR holder = ANY($1::text[])

-- name: get_drift
-- What the audit of a run found about accounts.
SELECT account_id, absent, evidence
FROM prop_trading_model.recon_drift
WHERE run_id = $1 AND account_id = ANY($2::text[])

-- name: get_mismatched_accounts
-- Accounts that a run would look at.
SELECT account_id FROM prop_trading_model.v_recon_mismatched ORDER BY account_id

-- name: get_descents
-- Dates of accounts whose finer rows are still to be read below a drift.
SELECT account_id, array_agg(date) AS dates FROM prop_trading_model.recon_descents WHERE account_id = ANY($1::text[]) GROUP BY account_id

-- name: get_unknown_accounts
-- Those of the ids that no account has: trade_recon does not know them, and no raw table has a row of them. A placeholder is no account.
SELECT account_id FROM unnest($1::text[]) AS named (account_id)
WHERE NOT EXISTS (SELECT FROM prop_trading_model.trade_recon AS t WHERE t.account_id = named.account_id)
  AND NOT EXISTS (
      SELECT FROM prop_trading_model.raw_metrics_alltime AS t
      WHERE t.account_id = named.account_id AND NOT prop_trading_model.recon_is_placeholder(t.account_id, t.login::text)
  )
  AND NOT EXISTS (
      SELECT FROM prop_trading_model.raw_metrics_daily AS t
      WHERE t.account_id = named.account_id AND NOT prop_trading_model.recon_is_placeholder(t.account_id, t.login::text)
  )
  AND NOT EXISTS (
      SELECT FROM prop_trading_model.raw_metrics_hourly AS t
      WHERE t.account_id = named.account_id AND NOT prop_trading_model.recon_is_placeholder(t.account_id, t.login::text)
  )
  AND NOT EXISTS (
      SELECT FROM prop_trading_model.raw_trades_closed AS t
      WHERE t.account_id = named.account_id AND NOT prop_trading_model.recon_is_placeholder(t.account_id, t.login::text)
  )
