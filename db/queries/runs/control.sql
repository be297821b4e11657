-- name: pause_run
-- Pause a run: no worker takes further accounts of it until it is resumed, and its preparation
-- stops.
UPDATE prop_trading_model.recon_runs
SET status = 'paused', paused_at = now(), prepared_by = CASE
    WHEN prepared_at IS NOT NULL THEN prepared_by END
WHERE run_id = $1 AND status IN ('queued', 'running')
RETURNING run_id

-- name: resume_run
-- Let a paused run go on where it stopped.
UPDATE prop_trading_model.recon_runs
SET status = CASE WHEN prepared_at IS NULL THEN 'queued' ELSE 'running' END
WHERE run_id = $1 AND status = 'paused'
RETURNING run_id

-- name: cancel_run
-- End a run for good, with the reason; waiting accounts stay in its record as left.
UPDATE prop_trading_model.recon_runs
SET status = 'cancelled', finished_at = now(), error = $2, prepared_by = CASE
    WHEN prepared_at IS NOT NULL THEN prepared_by END
WHERE run_id = $1 AND status IN ('queued', 'running', 'paused', 'needs_confirmation')
RETURNING run_id

-- name: suspend_run
-- Stop a run since upstream is suspect, with the reason: nothing more is written until it is
-- confirmed.
UPDATE prop_trading_model.recon_runs
SET status = 'needs_confirmation', finished_at = now(), error = $2, suspicion = $2,
    prepared_by = CASE WHEN prepared_at IS NOT NULL THEN prepared_by END
WHERE run_id = $1 AND status IN ('running', 'paused')
  -- A batch that was under way when somebody confirmed judged what was shown then.
  AND confirmed_at IS NOT DISTINCT FROM $3
RETURNING run_id

-- name: confirm_run
-- Let a run write what it held: its held accounts wait in it again, with what was found and done
-- for them, and an earlier stop is forgotten. Only what was shown of them is confirmed: the run
-- counts its losses from zero.
WITH confirmed AS (
    UPDATE prop_trading_model.recon_runs
    SET confirmed_at = now(), finished_at = NULL, left_over = NULL, error = NULL, suspicion = NULL,
        only_confirmed = false, needs_confirmation = 0, newly_held = 0, held_since = NULL,
        status = CASE WHEN prepared_at IS NULL THEN 'queued' ELSE 'running' END,
        stop_at = CASE WHEN stop_at > now() THEN stop_at END
    WHERE run_id = $1
        AND (status = 'needs_confirmation' OR status = 'completed_with_issues'
        AND needs_confirmation > 0)
    RETURNING run_id
), waiting AS (
    UPDATE prop_trading_model.recon_attempts AS a
    SET outcome = NULL, finished_at = NULL, issues_left = NULL, detail = NULL, confirmed = true,
        -- Before all others: should these stop the run again, what was confirmed is written.
        postponed_until = NULL, position = -abs(position)
    FROM confirmed
    WHERE a.run_id = confirmed.run_id AND a.outcome = 'needs_confirmation'
    RETURNING a.account_id
), asked AS (
    -- Upstream may have sent them again since: alltime is asked, since their open issue says that
    -- it lacks them.
    DELETE FROM prop_trading_model.recon_drift AS d USING waiting WHERE d.run_id = $1
        AND d.account_id = waiting.account_id AND d.absent
), counted AS (
    DELETE FROM prop_trading_model.recon_run_losses AS l USING confirmed
        WHERE l.run_id = confirmed.run_id
)
SELECT run_id FROM confirmed

-- name: get_standing_holds
-- The number of accounts that a run ($1) held, those still held (not recorded by a later run since,
-- nor accepted until after a date, $2), and whether an audit that began after the run was stopped
-- found upstream well.
SELECT count(*) AS held,
       coalesce(array_agg(a.account_id::text ORDER BY a.account_id)
           FILTER (WHERE
           (t.reconciliation_status = 'needs_confirmation'
           OR t.reconciliation_status = 'explained' AND EXISTS (
           SELECT FROM prop_trading_model.recon_accepted_issues AS h
           WHERE h.account_id = t.account_id AND h.ended_at IS NULL AND h.was_held
               AND h.until <= coalesce($2::date, current_date)
       ))), '{}') AS standing,
       EXISTS (
           SELECT FROM prop_trading_model.recon_runs AS r
           JOIN prop_trading_model.recon_runs AS later ON later.upstream_well
               AND later.started_at > r.finished_at
           WHERE r.run_id = $1
       ) AS is_well_since
FROM prop_trading_model.recon_attempts AS a
LEFT JOIN prop_trading_model.trade_recon AS t ON t.account_id = a.account_id
WHERE a.run_id = $1 AND a.outcome = 'needs_confirmation'

-- name: get_not_held
-- Those of the accounts ($2) that a run ($1) does not hold, or no longer holds on a date ($3).
SELECT given.account_id
FROM unnest($2::text[]) AS given (account_id)
WHERE NOT EXISTS (
    SELECT FROM prop_trading_model.recon_attempts AS a
    JOIN prop_trading_model.trade_recon AS t ON t.account_id = a.account_id
    WHERE a.run_id = $1 AND a.account_id = given.account_id AND a.outcome = 'needs_confirmation'
      AND (t.reconciliation_status = 'needs_confirmation' OR t.reconciliation_status = 'explained'
          AND EXISTS (
          SELECT FROM prop_trading_model.recon_accepted_issues AS h
          WHERE h.account_id = t.account_id AND h.ended_at IS NULL AND h.was_held
              AND h.until <= coalesce($3::date, current_date)
      ))
)

-- name: confirm_accounts
-- Let a run ($1) write what it held of accounts ($2), and nothing else: the others stay held, and
-- accounts that it did not reach stay so. Whether upstream is suspect remains open.
WITH held AS MATERIALIZED (
    SELECT account_id FROM prop_trading_model.recon_attempts
    WHERE run_id = $1 AND account_id = ANY($2::text[]) AND outcome = 'needs_confirmation'
), confirmed AS (
    UPDATE prop_trading_model.recon_runs
    SET confirmed_at = now(), finished_at = NULL, left_over = NULL, error = NULL,
        only_confirmed = true, held_since = NULL,
        needs_confirmation = needs_confirmation - (SELECT count(*) FROM held),
        newly_held = least(newly_held, needs_confirmation - (SELECT count(*) FROM held)),
        status = 'running', stop_at = CASE WHEN stop_at > now() THEN stop_at END
    WHERE run_id = $1 AND prepared_at IS NOT NULL AND EXISTS (SELECT FROM held)
      AND (status = 'needs_confirmation' OR status = 'completed_with_issues'
          AND needs_confirmation > 0)
    RETURNING run_id
), waiting AS (
    UPDATE prop_trading_model.recon_attempts AS a
    SET outcome = NULL, finished_at = NULL, issues_left = NULL, detail = NULL, confirmed = true,
        postponed_until = NULL, position = -abs(position)
    FROM confirmed, held
    WHERE a.run_id = confirmed.run_id AND a.account_id = held.account_id
    RETURNING a.account_id
), asked AS (
    DELETE FROM prop_trading_model.recon_drift AS d USING waiting WHERE d.run_id = $1
        AND d.account_id = waiting.account_id AND d.absent
), counted AS (
    DELETE FROM prop_trading_model.recon_run_losses AS l USING confirmed
        WHERE l.run_id = confirmed.run_id
)
SELECT run_id FROM confirmed

-- name: end_overdue_runs
-- End runs whose time is up and that are not prepared or still have accounts waiting; others end by
-- themselves.
UPDATE prop_trading_model.recon_runs AS r
SET status = 'completed_with_issues', finished_at = now(), prepared_by = CASE
    WHEN prepared_at IS NOT NULL THEN prepared_by END,
    error = 'The run ended at its stop_at, '
        || to_char(stop_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC.'
WHERE status IN ('queued', 'running', 'paused') AND stop_at <= now()
  AND (
      prepared_at IS NULL
      OR EXISTS (
          SELECT FROM prop_trading_model.recon_attempts AS a
          WHERE a.run_id = r.run_id AND a.outcome IS NULL AND (a.confirmed OR NOT r.only_confirmed)
      )
  )
RETURNING run_id

-- name: get_working_runs
-- Those of the runs ($1) that still have work.
SELECT run_id FROM prop_trading_model.recon_runs WHERE run_id = ANY(($1::text[])::uuid[])
    AND status IN ('queued', 'running') AND (stop_at IS NULL OR stop_at > now())
