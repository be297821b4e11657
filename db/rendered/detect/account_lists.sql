-- name: get_known_accounts
-- Those of the ids that trade_recon knows.
SELECT account_id FROM "prop_trading_model".trade_recon WHERE account_id = ANY($1::text[]) ORDER BY 1

-- name: get_unknown_accounts
-- Those of the ids that no account has: trade_recon does not know them, and no raw table has a row
-- of them. A placeholder is no account.
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
-- All accounts that are known.
SELECT account_id::text AS account_id FROM "prop_trading_model".trade_recon ORDER BY 1

-- name: get_mismatched_accounts
-- Accounts that a run would look at.
SELECT account_id FROM "prop_trading_model".v_recon_mismatched ORDER BY account_id

-- name: get_well_accounts
-- Two accounts beside those of $1 that agree and did not fail: requests for them show whether the
-- API answers at all. They are asked for by id, which upstream has not for those that stand under a
-- placeholder.
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
-- The last date on which accounts traded, and the last of those of fewest trades; those that never
-- did are left out.
SELECT account_id, max(date) AS last,
    (array_agg(date ORDER BY num_trades, date DESC))[1] AS quietest
FROM "prop_trading_model".raw_metrics_daily WHERE account_id = ANY($1::text[])
    AND num_trades > 0 GROUP BY account_id

-- name: get_logins
-- The logins under which accounts trade or traded, and whether an account stands under the
-- placeholder of its natural key: upstream has no id for it.
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
    -- Of accounts of which neither alltime nor daily rows are left.
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
-- The logins of those of the accounts that stand under the placeholder of their natural key.
SELECT account_id, array_agg(DISTINCT login ORDER BY login) AS logins
FROM "prop_trading_model".recon_identity
WHERE account_id = ANY($1::text[])
    AND "prop_trading_model".recon_is_placeholder(account_id, login, platform, broker)
GROUP BY account_id

-- name: get_locked_accounts
-- Those of accounts ($1) whose rows somebody holds.
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
-- Accounts with open issues that are seen in counts alone ($1: their codes) whose tables agree by
-- now: somebody else repaired them. Only such that no full run takes for the time being: they flap,
-- back off or are exhausted. All others are left to runs.
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
-- Accounts ($1) about which upstream is asked by the next run, whatever was to be waited for, and
-- dates ($2, $3) whose finer rows it reads.
WITH held AS MATERIALIZED (
    SELECT account_id FROM "prop_trading_model".trade_recon WHERE account_id = ANY($1::text[])
    -- In one order, so that no two of us wait for each other.
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
