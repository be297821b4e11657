-- name: purge_of_runs
-- Delete up to $2 rows of recon_attempts that belong to a run and an account, of runs ended more than $1
-- days ago.
DELETE FROM "prop_trading_model".recon_attempts AS t
USING (
    SELECT o.run_id, o.account_id
    FROM "prop_trading_model".recon_runs AS r
    JOIN "prop_trading_model".recon_attempts AS o ON o.run_id = r.run_id
    WHERE r.finished_at < now() - make_interval(days => $1)
    LIMIT $2
) AS old
WHERE t.run_id = old.run_id AND t.account_id = old.account_id

-- name: purge_scans
-- Delete scans of audits that ended, were suspended or forgotten, left by a process that is gone.
DELETE FROM "prop_trading_model".recon_scan AS t
WHERE NOT EXISTS
    (SELECT FROM "prop_trading_model".recon_runs AS r WHERE r.run_id = t.run_id
    AND r.status IN ('queued', 'running', 'paused'))

-- name: purge_counts
-- Delete up to $2 rows of recon_run_inserts counted by runs ended more than $1 days ago, by their key
-- insert_id.
DELETE FROM "prop_trading_model".recon_run_inserts
WHERE insert_id IN (
    SELECT o.insert_id
    FROM "prop_trading_model".recon_runs AS r
    JOIN "prop_trading_model".recon_run_inserts AS o ON o.run_id = r.run_id
    WHERE r.finished_at < now() - make_interval(days => $1)
    LIMIT $2
)

-- name: purge_runs
-- Delete up to $2 runs that ended more than $1 days ago and have no attempts left; the newest run
-- stays, for the report.
DELETE FROM "prop_trading_model".recon_runs
WHERE run_id IN (
    SELECT run_id
    FROM "prop_trading_model".recon_runs AS r
    WHERE finished_at < now() - make_interval(days => $1)
      AND NOT EXISTS (SELECT FROM "prop_trading_model".recon_attempts AS a WHERE a.run_id = r.run_id)
      AND finished_at < (SELECT max(finished_at) FROM "prop_trading_model".recon_runs)
    LIMIT $2
)

-- name: purge_issues
-- Delete up to $2 issues closed more than $1 days ago.
DELETE FROM "prop_trading_model".recon_issue_history
WHERE issue_id IN (
    SELECT issue_id FROM "prop_trading_model".recon_issue_history
        WHERE closed_at < now() - make_interval(days => $1) ORDER BY closed_at LIMIT $2
)

-- name: purge_orders
-- Delete up to $2 orders given more than $1 days ago.
DELETE FROM "prop_trading_model".recon_orders
WHERE order_id
    IN (SELECT order_id FROM "prop_trading_model".recon_orders
    WHERE given_at < now() - make_interval(days => $1) ORDER BY order_id LIMIT $2)

-- name: purge_accepted
-- Delete up to $2 acceptances that ended more than $1 days ago.
DELETE FROM "prop_trading_model".recon_accepted_issues
WHERE acceptance_id IN (
    SELECT acceptance_id FROM "prop_trading_model".recon_accepted_issues
    WHERE ended_at < now() - make_interval(days => $1) ORDER BY ended_at LIMIT $2
)
