-- name: get_progress
-- The overall figures, as the view shows them.
SELECT total_accounts, reconciled, needs_reconciliation, has_failures, has_issues, reconciliation_percentage, last_activity, oldest_unreconciled
FROM prop_trading_model.v_reconciliation_progress

-- name: get_issue_types
-- Open issues by type, with five accounts of each.
SELECT issue_type, severity, account_count, sample_accounts FROM prop_trading_model.get_issue_statistics()

-- name: get_activity
-- Accounts checked, resolved and failed in the last seven days.
SELECT
    finished_at::date AS day,
    count(*) AS accounts_checked,
    count(*) FILTER (WHERE outcome IN ('unchanged', 'healed', 'explained')) AS resolved,
    count(*) FILTER (WHERE outcome = 'failed') AS failed
FROM prop_trading_model.recon_attempts
WHERE finished_at > now() - interval '7 days'
GROUP BY 1
ORDER BY 1

-- name: get_reconciled_through
-- The first date that an open issue names, and how many accounts disagree on dates that are not known yet.
-- INFO is upstream's own; an issue about a whole account (drift apart) says nothing of dates.
SELECT
    (
        SELECT count(*) FROM prop_trading_model.trade_recon AS t
        WHERE (NOT trades_recon_checksum OR mismatched_days > 0) AND issues = '[]'
    ) + count(*) FILTER (
        WHERE first_date IS NULL AND type IN ('missing_metrics_tables', 'missing_trade_records', 'trade_count_mismatch', 'upstream_drift')
    ) AS undated,
    min(first_date) AS first_date
FROM (
    SELECT
        issue ->> 'type' AS type,
        -- Entries of an earlier system may hold anything.
        (
            SELECT min(substring(day from '^\d{4}-\d\d-\d\d')::date)
            FROM jsonb_array_elements_text(CASE jsonb_typeof(issue -> 'missing_dates') WHEN 'array' THEN issue -> 'missing_dates' ELSE '[]' END) AS dates (day)
        ) AS first_date
    FROM prop_trading_model.trade_recon, jsonb_array_elements(issues) AS issue
    WHERE issues <> '[]' AND NOT coalesce(issue ->> 'severity' = '5', false)
) AS open_issues

-- name: get_last_run
-- The newest run that ended, and its API statistics.
SELECT run_id, kind, status, finished_at, requests, api FROM prop_trading_model.recon_runs WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT 1

-- name: count_unresolved
-- Accounts that runs pass over or could not heal, by status.
SELECT reconciliation_status AS status, count(*) AS accounts FROM prop_trading_model.trade_recon GROUP BY 1 ORDER BY 1

-- name: get_account
-- One account as it stands.
SELECT * FROM prop_trading_model.trade_recon WHERE account_id = $1

-- name: get_attempts
-- The last attempts at an account.
SELECT a.*, r.kind FROM prop_trading_model.recon_attempts AS a JOIN prop_trading_model.recon_runs AS r USING (run_id)
WHERE a.account_id = $1 AND a.finished_at IS NOT NULL
ORDER BY a.finished_at DESC
LIMIT $2

-- name: get_history
-- The last openings and closings of an account's issues.
SELECT type, severity, opened_at, opened_run, closed_at, closed_run, closing_evidence
FROM prop_trading_model.recon_issue_history
WHERE account_id = $1
ORDER BY opened_at DESC, issue_id DESC
LIMIT $2

-- name: get_attempt
-- What one run did to one account.
SELECT * FROM prop_trading_model.recon_attempts WHERE run_id = $1 AND account_id = $2

-- name: get_run_attempts
-- What one run did to each of its accounts, in the order in which they were queued.
SELECT account_id, outcome, issues_found, issues_left, detail FROM prop_trading_model.recon_attempts
WHERE run_id = $1 AND outcome IS NOT NULL
ORDER BY position, account_id

-- name: is_ready
-- Whether the schema is there and answers.
SELECT count(*) FROM prop_trading_model.recon_migrations

-- name: get_kept_figures
-- The report's figures as they were last counted.
SELECT figures, computed_at FROM prop_trading_model.recon_report WHERE only_row

-- name: lock_kept_figures
-- Become the one that counts; no row while somebody else does.
SELECT only_row FROM prop_trading_model.recon_report WHERE only_row FOR UPDATE SKIP LOCKED

-- name: keep_figures
-- Keep the figures that were counted from this transaction's snapshot.
UPDATE prop_trading_model.recon_report SET figures = $1, seconds = $2, computed_at = now() WHERE only_row
