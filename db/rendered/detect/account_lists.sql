-- name: get_known_accounts
-- Ids present in trade_recon.
SELECT account_id FROM "prop_trading_model".trade_recon WHERE account_id = ANY($1::text[]) ORDER BY 1

-- name: get_unknown_accounts
-- Ids of no account: absent from trade_recon and from all raw tables, or placeholders.
SELECT account_id FROM unnest($1::text[]) AS named (account_id)
EXCEPT
SELECT account_id::text FROM "prop_trading_model".trade_recon WHERE account_id = ANY($1::text[])
EXCEPT
SELECT account_id FROM "prop_trading_model".recon_identity WHERE account_id = ANY($1::text[])
EXCEPT
SELECT account_id::text FROM "prop_trading_model".raw_metrics_alltime
WHERE account_id = ANY($1::text[])
    AND NOT "prop_trading_model".recon_is_placeholder(account_id, login::text, platform::text,
    broker::text)
EXCEPT
SELECT account_id::text FROM "prop_trading_model".raw_metrics_daily
WHERE account_id = ANY($1::text[])
    AND NOT "prop_trading_model".recon_is_placeholder(account_id, login::text, platform::text,
    broker::text)
EXCEPT
SELECT account_id::text FROM "prop_trading_model".raw_metrics_hourly
WHERE account_id = ANY($1::text[])
    AND NOT "prop_trading_model".recon_is_placeholder(account_id, login::text, platform::text,
    broker::text)
EXCEPT
SELECT account_id::text FROM "prop_trading_model".raw_trades_closed
WHERE account_id = ANY($1::text[])
    AND NOT "prop_trading_model".recon_is_placeholder(account_id, login::text, platform::text,
    broker::text)

-- name: get_all_accounts
-- All known accounts.
SELECT account_id::text AS account_id FROM "prop_trading_model".trade_recon ORDER BY 1

-- name: get_well_accounts
-- Two accounts outside $1 that agree and did not fail, to test whether the API answers. Requested
-- by id, hence none known by placeholder only.
SELECT account_id
FROM "prop_trading_model".trade_recon AS t
WHERE trades_recon_checksum AND failed_attempts = 0 AND num_trades_alltime > 0 AND account_id !~ ','
    AND account_id <> ALL ($1::text[])
  AND NOT EXISTS (
      SELECT FROM "prop_trading_model".recon_identity AS i
      WHERE i.account_id = t.account_id
          AND "prop_trading_model".recon_is_placeholder(i.account_id, i.login, i.platform, i.broker)
      OFFSET 0
  )
LIMIT 2

-- name: get_traded_days
-- Last trading date of accounts, and the last of those with fewest trades; accounts without trades
-- are left out.
SELECT account_id, max(date) AS last,
    (array_agg(date ORDER BY num_trades, date DESC))[1] AS quietest
FROM "prop_trading_model".raw_metrics_daily WHERE account_id = ANY($1::text[])
    AND num_trades > 0 GROUP BY account_id

-- name: get_logins
-- Past and present logins of accounts, and whether an account is known by placeholder only, without
-- an id upstream.
SELECT account_id, array_agg(DISTINCT login ORDER BY login) AS logins,
    bool_or(stands_in) AS by_login
FROM (
    SELECT account_id, login,
        "prop_trading_model".recon_is_placeholder(account_id, login, platform, broker) AS stands_in
    FROM "prop_trading_model".recon_identity
    WHERE account_id = ANY($1::text[])
    UNION ALL
    SELECT account_id, login::text, false FROM "prop_trading_model".raw_trades_closed
        WHERE account_id = ANY($1::text[]) GROUP BY account_id, login
    UNION ALL
    -- For accounts without alltime and daily rows.
    SELECT account_id, login::text, false FROM "prop_trading_model".raw_metrics_hourly
    WHERE account_id = ANY(ARRAY(
        SELECT account_id FROM unnest($1::text[]) AS wanted (account_id)
        EXCEPT
        SELECT account_id FROM "prop_trading_model".recon_identity WHERE account_id = ANY($1::text[])
    ))
    GROUP BY account_id, login
) AS held
WHERE login <> ''
GROUP BY account_id

-- name: get_logins_of_placeholders
-- Logins of accounts known by placeholder only.
SELECT account_id, array_agg(DISTINCT login ORDER BY login) AS logins
FROM "prop_trading_model".recon_identity
WHERE account_id = ANY($1::text[])
    AND "prop_trading_model".recon_is_placeholder(account_id, login, platform, broker)
GROUP BY account_id

-- name: get_locked_accounts
-- Accounts ($1) with locked rows.
WITH free AS MATERIALIZED (
    SELECT account_id FROM "prop_trading_model".trade_recon WHERE account_id = ANY($1::text[])
        ORDER BY account_id FOR NO KEY UPDATE SKIP LOCKED
)
SELECT account_id::text AS account_id FROM "prop_trading_model".trade_recon
    WHERE account_id = ANY($1::text[])
EXCEPT
SELECT account_id::text FROM free
ORDER BY account_id

-- name: get_refuted_accounts
-- Accounts with open issues that only counts show ($1: codes), whose tables agree because others
-- repaired them. Only flapping, backing-off or exhausted ones; runs handle all others.
SELECT account_id
FROM "prop_trading_model".trade_recon AS t
WHERE trades_recon_checksum AND mismatched_days = 0 AND claimed_by IS NULL
  AND (reconciliation_status IN ('flapping', 'exhausted') OR reconciliation_status = 'failed'
      AND next_attempt_at > now())
  AND (coalesce(num_trades_alltime, 0) = 0 OR has_alltime AND has_daily AND has_hourly
      AND has_raw_closed)
  AND EXISTS (
      SELECT FROM "prop_trading_model".recon_issue_history AS h WHERE h.account_id = t.account_id
          AND h.closed_at IS NULL AND h.type = ANY($1::text[])
  )
ORDER BY account_id

-- name: ask_again
-- Schedule accounts ($1) for upstream in the next run regardless of waits, and dates ($2, $3) for
-- finer rows.
WITH held AS MATERIALIZED (
    SELECT account_id FROM "prop_trading_model".trade_recon WHERE account_id = ANY($1::text[])
    -- A common order prevents deadlocks between workers.
    ORDER BY account_id
    FOR NO KEY UPDATE
), noted AS (
    INSERT INTO "prop_trading_model".recon_descents (account_id, date)
    SELECT * FROM unnest($2::text[], $3::date[])
    ON CONFLICT DO NOTHING
)
UPDATE "prop_trading_model".trade_recon AS t
SET next_attempt_at = NULL, explained_as = NULL, explained_times = 0, ask_again_at = NULL
FROM held
WHERE t.account_id = held.account_id

-- name: sample_accounts
-- $1 accounts: the same ones each time, in no order of theirs.
SELECT account_id::text AS account_id FROM "prop_trading_model".trade_recon
ORDER BY hashtext(account_id::text), account_id LIMIT $1

-- name: sample_mismatched
-- How many accounts a run takes, and $1 of them: the same ones each time, in no order of theirs.
WITH mismatched AS MATERIALIZED (
    SELECT account_id::text AS account_id FROM "prop_trading_model".v_recon_mismatched
)
SELECT
    (SELECT count(*) FROM mismatched) AS accounts,
    ARRAY(SELECT account_id FROM mismatched ORDER BY hashtext(account_id), account_id LIMIT $1) AS sample
