-- name: clear_scan
-- Delete what the audit of an ended run noted of upstream.
WITH days AS (DELETE FROM "prop_trading_model".recon_scan_days WHERE run_id = $1)
DELETE FROM "prop_trading_model".recon_scan WHERE run_id = $1

-- name: note_held_since
-- Record the earliest run since which accounts that run $1 leaves held, and that were held before
-- it, are held.
UPDATE "prop_trading_model".recon_runs
SET held_since = (
    SELECT first.run_id
    FROM "prop_trading_model".recon_attempts AS h
    CROSS JOIN LATERAL (
        SELECT a.run_id, a.finished_at
        FROM "prop_trading_model".recon_attempts AS a
        WHERE a.account_id = h.account_id AND a.run_id <> $1 AND a.outcome = 'needs_confirmation'
          AND a.finished_at > coalesce((
              SELECT max(b.finished_at) FROM "prop_trading_model".recon_attempts AS b
              -- An inspection changes nothing of what is held.
              WHERE b.account_id = h.account_id AND b.outcome NOT IN ('needs_confirmation', 'found')
          ), '-infinity')
        ORDER BY a.finished_at
        LIMIT 1
    ) AS first
    WHERE h.run_id = $1 AND h.outcome = 'needs_confirmation'
    ORDER BY first.finished_at
    LIMIT 1
)
WHERE run_id = $1 AND needs_confirmation > newly_held
