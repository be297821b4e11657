-- name: create_run
-- Create a run, to be served by any worker; no row if its key was used before, or if it must be the
-- only active one ($5) and is not.
INSERT INTO prop_trading_model.recon_runs
    (run_id, kind, request, status, stop_at, is_sole, idempotency_key, request_digest)
VALUES ($1, $2, $3, 'queued', $4, $5, $6, $7)
ON CONFLICT DO NOTHING
RETURNING run_id

-- name: get_run_of_key
-- The run that was started with an idempotency key.
SELECT run_id, request_digest FROM prop_trading_model.recon_runs WHERE idempotency_key = $1

-- name: finish_run
-- End a run without waiting or claimed accounts; exactly one caller gets the row. Suspicion of
-- upstream ends ($6) if all was confirmed.
UPDATE prop_trading_model.recon_runs AS r
SET status = $2, finished_at = now(), error = $3, upstream_well = $4, left_over = $5,
    suspicion = CASE WHEN NOT $6::boolean THEN r.suspicion END
WHERE run_id = $1 AND status = 'running' AND prepared_at IS NOT NULL
  AND NOT CASE WHEN r.only_confirmed
      THEN EXISTS (
          SELECT FROM prop_trading_model.recon_attempts
          WHERE run_id = $1 AND outcome IS NULL
              AND (postponed_until IS NULL OR postponed_until < 'infinity') AND confirmed
      )
      ELSE EXISTS (
          SELECT FROM prop_trading_model.recon_attempts WHERE run_id = $1 AND outcome IS NULL
              AND (postponed_until IS NULL OR postponed_until < 'infinity')
      )
  END
RETURNING run_id

-- name: get_run_state
-- Whether accounts of the run still wait, and the counts that decide its status.
SELECT
    r.status, r.suspicion, r.total, r.needs_confirmation, r.kind, r.known_accounts,
    r.only_confirmed,
    CASE jsonb_typeof(r.maintenance -> 'accounts_refused')
        WHEN 'number' THEN (r.maintenance ->> 'accounts_refused')::bigint ELSE 0 END AS refused,
    r.needs_confirmation - r.newly_held AS held_before,
    r.unchanged + r.healed + r.explained + r.partial + r.flapping
    + r.needs_confirmation AS compared,
    -- Of an audit over all of which nothing waits: how many accounts there are to be compared.
    CASE WHEN r.kind = 'audit' AND r.request ->> 'account_ids' IS NULL
              AND NOT EXISTS (
                  SELECT FROM prop_trading_model.recon_attempts
                  WHERE run_id = $1 AND outcome IS NULL
                      AND (postponed_until IS NULL OR postponed_until < 'infinity')
              )
        THEN (SELECT count(*) FROM prop_trading_model.trade_recon)
    END AS known,
    (SELECT count(*) FROM prop_trading_model.recon_run_losses WHERE run_id = $1 AND lowers)
        AS lowered,
    (SELECT count(*) FROM prop_trading_model.recon_run_losses WHERE run_id = $1 AND lowers
        AND rewrites) AS rewritten,
    r.maintenance ->> 'incomplete' AS incomplete,
    CASE WHEN r.only_confirmed
        THEN EXISTS (
            SELECT FROM prop_trading_model.recon_attempts
            WHERE run_id = $1 AND outcome IS NULL
                AND (postponed_until IS NULL OR postponed_until < 'infinity') AND confirmed
        )
        ELSE EXISTS (
            SELECT FROM prop_trading_model.recon_attempts WHERE run_id = $1 AND outcome IS NULL
                AND (postponed_until IS NULL OR postponed_until < 'infinity')
        )
    END AS waiting,
    EXISTS (SELECT FROM prop_trading_model.recon_attempts WHERE run_id = $1 AND outcome IS NULL
        AND postponed_until = 'infinity') AS untried,
    EXISTS (SELECT FROM prop_trading_model.recon_attempts WHERE run_id = $1 AND outcome IS NULL)
        AS unreached,
    r.search_requests + r.known_search_requests AS searched, r.fault, r.missing_partitions,
    r.history_from
FROM prop_trading_model.recon_runs AS r
WHERE run_id = $1

-- name: count_written
-- Count rows that a run ($1) wrote or set aside and that no process counted, by their copies and
-- records: those of a killed process, and those whose ids were repaired.
UPDATE prop_trading_model.recon_runs AS r
SET rows_inserted = greatest(r.rows_inserted, i.rows),
    rows_updated = greatest(r.rows_updated, c.updated),
    rows_moved = greatest(r.rows_moved, c.moved),
    rows_removed = greatest(r.rows_removed, c.removed),
    rows_set_aside = greatest(r.rows_set_aside, a.rows)
FROM (SELECT coalesce(sum(rows), 0) AS rows FROM prop_trading_model.recon_run_inserts
    WHERE run_id = $1) AS i, (
    SELECT count(*) FILTER (WHERE reason = 'overwritten') AS updated,
        count(*) FILTER (WHERE reason = 'moved') AS moved,
           count(*) FILTER (WHERE reason IN ('removed', 'placeholder')) AS removed
    FROM prop_trading_model.recon_removed_rows
    WHERE run_id = $1
) AS c, (
    SELECT coalesce(sum(copies), 0) AS rows FROM prop_trading_model.recon_set_aside_rows
    -- What is stored but for a value, and what waits for a partition, is not set aside.
    WHERE run_id = $1 AND NOT starts_with(reason, 'stored with')
        AND NOT starts_with(reason, 'no partition')
) AS a
WHERE r.run_id = $1
    AND (i.rows > r.rows_inserted OR c.updated > r.rows_updated OR c.moved > r.rows_moved
    OR c.removed > r.rows_removed OR a.rows > r.rows_set_aside)

-- name: end_run
-- End a run early, for a reason: accounts that still wait stay in its record as left.
UPDATE prop_trading_model.recon_runs SET status = $2, error = $3, finished_at = now(),
    prepared_by = CASE WHEN prepared_at IS NOT NULL THEN prepared_by END
WHERE run_id = $1 AND status IN ('queued', 'running', 'paused')
RETURNING run_id

-- name: note_history
-- Record the first date that a run ($1) compares; null: all.
UPDATE prop_trading_model.recon_runs SET history_from = $2 WHERE run_id = $1
    AND history_from IS DISTINCT FROM $2

-- name: get_standing_suspicion
-- Whether another run than $1 was stopped since upstream was suspect, is not confirmed, and no
-- audit that began after it found upstream well.
SELECT EXISTS (
    SELECT FROM prop_trading_model.recon_runs
    WHERE suspicion IS NOT NULL AND run_id <> $1
      AND finished_at
          > coalesce((SELECT max(started_at) FROM prop_trading_model.recon_runs WHERE upstream_well
          AND run_id <> $1), '-infinity')
)

-- name: note_suspicion
-- Mark upstream as suspect, unless confirmed since ($3): the run's batches hold whatever upstream
-- lowers, and it stops after them.
UPDATE prop_trading_model.recon_runs SET suspicion = $2 WHERE run_id = $1
    AND confirmed_at IS NOT DISTINCT FROM $3

-- name: note_search
-- Count requests that the search for failing accounts cost, and keep the first reason for which the
-- run will fail.
UPDATE prop_trading_model.recon_runs SET search_requests = search_requests + $2,
    known_search_requests = known_search_requests + $3, fault = coalesce(fault, $4)
WHERE run_id = $1

-- name: add_phase_seconds
-- Add time spent in a phase, summed over workers.
UPDATE prop_trading_model.recon_runs
SET phases = phases
    || jsonb_build_object($2::text, round((coalesce((phases ->> $2)::numeric, 0) + $3::numeric), 3))
WHERE run_id = $1

-- name: set_api_statistics
-- Store the API statistics of one worker process for the run, beside those of others.
UPDATE prop_trading_model.recon_runs SET api = api || jsonb_build_object($2::text, $3::jsonb)
    WHERE run_id = $1

-- name: is_past
-- Whether a moment is past by the clock that ends runs.
SELECT $1::timestamptz <= now()
