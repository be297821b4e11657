-- name: get_kept_figures
-- The report's figures as last counted, and when.
SELECT figures, computed_at, now() AS read_at FROM prop_trading_model.recon_report WHERE only_row

-- name: get_last_run
-- The newest ended run, why it ended so, the accounts that it holds on a date ($1), and its API
-- statistics.
SELECT run_id, kind, status, finished_at, requests, api, error, needs_confirmation, newly_held,
    held_since, confirmed_at, left_over,
    CASE WHEN needs_confirmation > 0 THEN (
        SELECT count(*) FROM prop_trading_model.recon_attempts AS a
            JOIN prop_trading_model.trade_recon AS t ON t.account_id = a.account_id
        WHERE a.run_id = r.run_id AND a.outcome = 'needs_confirmation'
            AND (t.reconciliation_status = 'needs_confirmation'
            OR t.reconciliation_status = 'explained' AND EXISTS (
            SELECT FROM prop_trading_model.recon_accepted_issues AS h
            WHERE h.account_id = t.account_id AND h.ended_at IS NULL AND h.was_held
                AND h.until <= coalesce($1::date, current_date)
        ))
    ) ELSE 0 END AS still_held
FROM prop_trading_model.recon_runs AS r WHERE finished_at IS NOT NULL ORDER BY finished_at DESC
    LIMIT 1

-- name: get_holding_run
-- The newest ended run with accounts that still wait for confirmation on a date ($1).
SELECT r.run_id, kind, status, finished_at, error, needs_confirmation, newly_held, held_since,
    confirmed_at, left_over, s.still_held
FROM prop_trading_model.recon_runs AS r
CROSS JOIN LATERAL (
        SELECT count(*) AS still_held FROM prop_trading_model.recon_attempts AS a
            JOIN prop_trading_model.trade_recon AS t ON t.account_id = a.account_id
        WHERE a.run_id = r.run_id AND a.outcome = 'needs_confirmation'
            AND (t.reconciliation_status = 'needs_confirmation'
            OR t.reconciliation_status = 'explained' AND EXISTS (
            SELECT FROM prop_trading_model.recon_accepted_issues AS h
            WHERE h.account_id = t.account_id AND h.ended_at IS NULL AND h.was_held
                AND h.until <= coalesce($1::date, current_date)
        ))
) AS s
WHERE finished_at IS NOT NULL AND needs_confirmation > 0 AND s.still_held > 0
    ORDER BY finished_at DESC LIMIT 1

-- name: get_last_audit
-- The newest audit that compared all accounts: one that ended at its stop_at, or took only some
-- accounts, did not.
SELECT run_id, finished_at, skipped + failed + gone AS left_out FROM prop_trading_model.recon_runs
WHERE kind = 'audit' AND request ->> 'account_ids' IS NULL AND request ->> 'max_accounts' IS NULL
    AND prepared_at IS NOT NULL
  AND status IN ('succeeded', 'completed_with_issues')
      AND coalesce(left_over ->> 'waiting', '0') = '0'
-- By when it asked: one that was held may end long after a later one.
ORDER BY started_at DESC
LIMIT 1

-- name: lock_kept_figures
-- Lock the figures for counting; no row while another process counts, or if it did less than $1
-- seconds, or $2 times its duration, ago.
WITH due AS (
    SELECT figures -> 'activity' AS activity
    FROM prop_trading_model.recon_report
    WHERE only_row
      AND (
          computed_at IS NULL
          -- A clock that was set back stops nobody.
          OR computed_at NOT BETWEEN now()
              - make_interval(secs => greatest($1::double precision, $2::double precision * CASE
              WHEN seconds BETWEEN 0 AND 86400 THEN seconds ELSE 0 END)) AND now()
      )
    FOR UPDATE SKIP LOCKED
), restored AS (
    -- Where somebody emptied the table.
    INSERT INTO prop_trading_model.recon_report (only_row)
    SELECT true WHERE NOT EXISTS (SELECT FROM prop_trading_model.recon_report)
    ON CONFLICT (only_row) DO NOTHING
    RETURNING figures
)
SELECT activity FROM due
UNION ALL
SELECT figures FROM restored

-- name: keep_figures
-- Store figures counted from this transaction's snapshot.
UPDATE prop_trading_model.recon_report SET figures = $1, seconds = $2, computed_at = now()
    WHERE only_row

-- name: is_ready
-- Whether the schema answers, and whether the server takes no writes: a standby does not.
SELECT (SELECT count(*) FROM prop_trading_model.recon_migrations) AS migrations,
    current_setting('transaction_read_only') = 'on' AS is_read_only
