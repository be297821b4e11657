-- name: find_active_run
-- The run that a free worker serves next: runs of named accounts first, since people wait for them,
-- the smallest of these first, then the oldest. With $2 only those of few named accounts, with $3
-- only inspections, which need no upstream.
SELECT run_id, kind, request, prepared_at IS NOT NULL AS prepared, confirmed_at,
       -- Where some of the accounts were confirmed, it is no reason to hold these.
       CASE WHEN NOT only_confirmed THEN suspicion END AS suspicion, total, rows_compared,
       unchanged + healed + explained + partial + failed + flapping + needs_confirmation
           + found AS recorded, search_requests, known_search_requests, history_from
FROM prop_trading_model.recon_runs AS r
WHERE status IN ('queued', 'running') AND ($1::uuid IS NULL OR run_id = $1)
  -- One whose time is up is ended by what watches for that, but where nothing of it is left it
  -- comes to its own end.
  AND (
      stop_at IS NULL OR stop_at > now()
      OR prepared_at IS NOT NULL AND NOT EXISTS (
          SELECT FROM prop_trading_model.recon_attempts AS a
          WHERE a.run_id = r.run_id AND a.outcome IS NULL AND (a.confirmed OR NOT r.only_confirmed)
      )
  )
  AND (NOT $2::boolean OR CASE
      WHEN jsonb_typeof(request -> 'account_ids') = 'array'
      THEN jsonb_array_length(request -> 'account_ids') <= 100 ELSE false END)
  AND (NOT $3::boolean OR kind = 'inspect')
ORDER BY CASE
    WHEN jsonb_typeof(request -> 'account_ids') = 'array'
    THEN jsonb_array_length(request -> 'account_ids') END, created_at

-- name: get_left_runs
-- Runs whose process is gone, if no process other than $1 lives (within the lease of $2 seconds) to
-- finish them.
SELECT run_id, kind, created_at
FROM prop_trading_model.recon_runs
WHERE status IN ('queued', 'running')
  AND NOT EXISTS
      (SELECT FROM prop_trading_model.recon_workers WHERE worker_id <> $1
      AND heartbeat_at > now() - make_interval(secs => $2))
ORDER BY created_at
