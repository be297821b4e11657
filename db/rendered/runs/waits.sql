-- name: get_processes
-- Processes that worked on runs within a day, except those that serve only another run than $1,
-- with what hinders them, and the database's time.
SELECT worker_id, host, pid, heartbeat_at, waits_for, waits_detail, waits_since, next_try_at,
    given_up_at, now() AS now
FROM "prop_trading_model".recon_workers
WHERE only_run IS NULL OR only_run = $1
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, now()

-- name: get_held_accounts
-- Number of accounts waiting in a run ($1) that each process ($2) holds, and its last claim.
SELECT t.claimed_by, count(*) AS accounts, max(t.claimed_at) AS claimed_at
FROM "prop_trading_model".trade_recon AS t
JOIN "prop_trading_model".recon_attempts AS a ON a.account_id = t.account_id AND a.run_id = $1
    AND a.outcome IS NULL
WHERE t.claimed_by = ANY($2::uuid[])
GROUP BY t.claimed_by

-- name: get_idle_accounts
-- Of the first accounts ($2 at most) waiting in a run ($1): how many are free, how many postponed,
-- and until when.
SELECT count(*)
    FILTER (WHERE first.postponed_until IS NULL OR first.postponed_until <= now()) AS due,
       count(*) FILTER (WHERE first.postponed_until > now() AND first.postponed_until < 'infinity')
           AS postponed,
       min(first.postponed_until) FILTER (WHERE first.postponed_until > now()) AS postponed_until,
       count(*) FILTER (WHERE t.claimed_by IS NOT NULL) AS claimed
FROM (
    SELECT account_id, postponed_until FROM "prop_trading_model".recon_attempts WHERE run_id = $1
        AND outcome IS NULL ORDER BY position LIMIT $2
) AS first
JOIN "prop_trading_model".trade_recon AS t ON t.account_id = first.account_id

-- name: get_blockers
-- Other sessions that have held locks for writing on trade_recon for longer than a moment, oldest
-- first. Since when sessions of other roles hold them is visible to few roles.
SELECT a.pid, a.usename::text AS role, coalesce(a.application_name, '') AS program,
    a.xact_start AS since
FROM pg_locks AS l
JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'relation'
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.relation = '"prop_trading_model".trade_recon'::regclass AND l.granted
      AND l.mode <> 'AccessShareLock'
  AND a.application_name IS DISTINCT FROM 'trade-recon'
      AND coalesce(a.xact_start < clock_timestamp() - interval '1 second', true)
ORDER BY a.xact_start NULLS LAST
LIMIT 1

-- name: get_runs_under_way
-- Number of active runs beside $1, and the oldest of them.
SELECT count(*) AS runs, (array_agg(run_id ORDER BY created_at))[1] AS first
FROM "prop_trading_model".recon_runs
WHERE status = 'running' AND run_id <> $1
