-- name: get_account
-- One account, and its status on a date ($2): an acceptance that has ended by then no longer
-- explains it.
SELECT t.*, CASE
    WHEN l.account_id IS NULL OR t.reconciliation_status <> 'explained' THEN t.reconciliation_status
    WHEN l.was_held THEN 'needs_confirmation'
    WHEN coalesce(t.explained_as, '') = '' THEN 'needs_reconciliation'
    ELSE t.reconciliation_status
END AS status,
    (SELECT f.dates FROM "prop_trading_model".recon_few_hours AS f WHERE f.account_id = t.account_id)
        AS few_hours,
    -- The earlier system's function leaves them empty; of two columns of one name the later counts.
    coalesce(t.num_trades_alltime, 0) AS num_trades_alltime,
    coalesce(t.num_trades_daily, 0) AS num_trades_daily,
    coalesce(t.num_trades_hourly, 0) AS num_trades_hourly,
    coalesce(t.num_trades_raw_closed, 0) AS num_trades_raw_closed
FROM "prop_trading_model".trade_recon AS t
LEFT JOIN LATERAL (
    SELECT x.account_id, bool_or(x.was_held) AS was_held
    FROM "prop_trading_model".recon_accepted_issues AS x
    WHERE x.account_id = t.account_id AND x.ended_at IS NULL
        AND x.until <= coalesce($2::date, current_date) AND t.reconciliation_status = 'explained'
    GROUP BY x.account_id
) AS l ON true
WHERE t.account_id = $1

-- name: get_attempts
-- The newest attempts at an account.
SELECT a.*, r.kind FROM "prop_trading_model".recon_attempts AS a
    JOIN "prop_trading_model".recon_runs AS r USING (run_id)
WHERE a.account_id = $1 AND a.finished_at IS NOT NULL
ORDER BY a.finished_at DESC
LIMIT $2

-- name: get_history
-- The newest openings and closings of an account's issues.
SELECT type, severity, opened_at, opened_run, closed_at, closed_run, closing_evidence
FROM "prop_trading_model".recon_issue_history
WHERE account_id = $1
ORDER BY opened_at DESC, issue_id DESC
LIMIT $2

-- name: get_set_aside
-- Rows of upstream that are not stored as sent, of an account, newest first.
SELECT table_name AS "table", row_key AS key, date, copies, reason, first_seen, last_seen,
    row_data::text AS row_text
FROM "prop_trading_model".recon_set_aside_rows
WHERE account_id = $1
ORDER BY last_seen DESC, table_name, row_key
LIMIT $2

-- name: list_accounts
-- Accounts by id behind $3, at most $4: with the statuses ($1) that they have on a date ($5), and
-- the open issue ($2); null: any.
SELECT account_id, status, coalesce(num_trades_alltime, 0) AS num_trades_alltime,
    coalesce(num_trades_daily, 0) AS num_trades_daily,
       coalesce(num_trades_hourly, 0) AS num_trades_hourly,
       coalesce(num_trades_raw_closed, 0) AS num_trades_raw_closed,
       failed_attempts, last_checked, last_reconciled, next_attempt_at,
       ARRAY(
           SELECT issue ->> 'type'
               FROM jsonb_array_elements(CASE jsonb_typeof(issues) WHEN 'array' THEN issues
               ELSE '[]' END) AS issue
           WHERE issue ->> 'type' IS NOT NULL
       ) AS issues
FROM (
    SELECT t.account_id::text AS account_id, CASE
        WHEN l.account_id IS NULL
            OR t.reconciliation_status <> 'explained' THEN t.reconciliation_status
        WHEN l.was_held THEN 'needs_confirmation'
        WHEN coalesce(t.explained_as, '') = '' THEN 'needs_reconciliation'
        ELSE t.reconciliation_status
    END AS status,
        t.num_trades_alltime, t.num_trades_daily, t.num_trades_hourly, t.num_trades_raw_closed,
        t.failed_attempts, t.last_checked, t.last_reconciled,
        t.next_attempt_at, t.issues
    FROM "prop_trading_model".trade_recon AS t
    LEFT JOIN LATERAL (
        SELECT x.account_id, bool_or(x.was_held) AS was_held
        FROM "prop_trading_model".recon_accepted_issues AS x
        WHERE x.account_id = t.account_id AND x.ended_at IS NULL
            AND x.until <= coalesce($5::date, current_date)
            AND t.reconciliation_status = 'explained'
        GROUP BY x.account_id
    ) AS l ON true
    -- What is explained may be in another state by now; other accounts are in the state that is
    -- stored.
    WHERE ($1::text[] IS NULL OR t.reconciliation_status = ANY($1)
        OR t.reconciliation_status = 'explained')
      AND ($3::text IS NULL OR t.account_id > $3)
      AND ($2::text IS NULL OR t.issues @> jsonb_build_array(jsonb_build_object('type', $2::text)))
) AS accounts
WHERE $1::text[] IS NULL OR status = ANY($1)
ORDER BY account_id
LIMIT $4

-- name: get_attempt
-- A run's attempt at an account.
SELECT * FROM "prop_trading_model".recon_attempts WHERE run_id = $1 AND account_id = $2

-- name: get_run_attempts
-- A run's attempts at its accounts, in the order in which they were queued, and whether their
-- totals agree by now.
SELECT a.account_id, a.outcome, a.issues_found, a.issues_left, a.detail, t.trades_recon_checksum,
    f.account_id IS NOT NULL AS has_few_hours
FROM "prop_trading_model".recon_attempts AS a
LEFT JOIN "prop_trading_model".trade_recon AS t USING (account_id)
LEFT JOIN "prop_trading_model".recon_few_hours AS f USING (account_id)
WHERE a.run_id = $1 AND a.outcome IS NOT NULL
ORDER BY a.position, a.account_id

-- name: count_checked_by_date
-- Accounts by the date (UTC) of their last check, within the last seven days, newest first, as the
-- earlier system's report counts them.
SELECT
    (last_checked AT TIME ZONE 'UTC')::date AS check_date,
    count(*) AS accounts_checked,
    count(*) FILTER (WHERE trades_recon_checksum) AS resolved,
    count(*) FILTER (WHERE failed_attempts > 0) AS failed
FROM "prop_trading_model".trade_recon
WHERE last_checked
    >= (date_trunc('day', now() AT TIME ZONE 'UTC') - interval '7 days') AT TIME ZONE 'UTC'
GROUP BY 1
ORDER BY 1 DESC

-- name: list_pins
-- Pinned rows of an account by table and date, including its trades under another id or none.
SELECT p.table_name AS table, p.row_key AS key, p.date, p.account_id::text AS account_id,
    p.removed_id, p.run_id, p.reason, p.pinned_at
FROM "prop_trading_model".recon_pins AS p
WHERE p.account_id = $1
    OR EXISTS (
        SELECT FROM "prop_trading_model".recon_identity AS i
        WHERE i.account_id = $1
            AND p.table_name IN ('raw_trades_closed', 'raw_trades_open')
            AND (i.platform, i.broker, i.login)
            = (p.row_key[1], coalesce(p.row_key[2], ''), p.row_key[3])
            AND (p.date BETWEEN i.valid_from AND i.valid_to OR p.date >= i.open_from)
            AND NOT EXISTS (
                SELECT FROM "prop_trading_model".recon_identity AS h
                WHERE (h.login, h.platform, h.broker) = (i.login, i.platform, i.broker)
                    AND h.account_id = p.account_id
                    AND (p.date BETWEEN h.valid_from AND h.valid_to OR p.date >= h.open_from)
            )
    )
ORDER BY p.table_name, p.date, p.row_key
LIMIT $2
