-- name: beat
-- Worker heartbeat. If its lease ($4) had ended, all its claims are released and their number
-- returned, since its fetches are stale even if no one else claimed the accounts. It serves one run
-- ($5; null: all) and reports what hinders it ($6, error $7), since how many seconds ($8), in how
-- many it retries ($9) and gives up ($10).
WITH lapsed AS MATERIALIZED (
    SELECT FROM prop_trading_model.recon_workers WHERE worker_id = $1
        AND heartbeat_at < now() - make_interval(secs => $4)
), held AS MATERIALIZED (
    SELECT account_id FROM prop_trading_model.trade_recon WHERE claimed_by = $1
        AND EXISTS (SELECT FROM lapsed)
    ORDER BY account_id
    FOR NO KEY UPDATE
), freed AS (
    UPDATE prop_trading_model.trade_recon AS t SET claim_id = NULL, claimed_by = NULL,
        claimed_at = NULL
    FROM held WHERE t.account_id = held.account_id
    RETURNING 1
)
INSERT INTO prop_trading_model.recon_workers
    (worker_id, host, pid, only_run, waits_for, waits_detail, waits_since, next_try_at, given_up_at)
VALUES (
    $1, $2, $3, $5, $6, $7, now() - make_interval(secs => $8::double precision),
    now() + make_interval(secs => $9::double precision),
    now() + make_interval(secs => $10::double precision)
)
ON CONFLICT (worker_id) DO UPDATE SET
    heartbeat_at = now(), only_run = excluded.only_run, waits_for = excluded.waits_for,
    waits_detail = excluded.waits_detail,
    waits_since = excluded.waits_since, next_try_at = excluded.next_try_at,
    given_up_at = excluded.given_up_at
RETURNING (SELECT count(*) FROM freed) AS lost

-- name: leave
-- The worker ends: release its claims at once.
WITH held AS MATERIALIZED (
    SELECT account_id FROM prop_trading_model.trade_recon WHERE claimed_by = $1 ORDER BY account_id
        FOR NO KEY UPDATE
), freed AS (
    UPDATE prop_trading_model.trade_recon AS t SET claim_id = NULL, claimed_by = NULL,
        claimed_at = NULL
    FROM held WHERE t.account_id = held.account_id
)
DELETE FROM prop_trading_model.recon_workers WHERE worker_id = $1

-- name: purge_dead_workers
-- Delete heartbeat rows of long dead workers.
DELETE FROM prop_trading_model.recon_workers WHERE heartbeat_at < now() - interval '1 day'

-- name: claim_accounts
-- Claim the next accounts of a run: waiting, and unclaimed or with an expired claim; postponed ones
-- last. Together they have at most 100,000 disagreeing dates, which dominate memory; an account
-- with more comes alone.
WITH waiting AS MATERIALIZED (
    SELECT t.account_id, a.postponed_until, t.mismatched_days, a.confirmed, a.held,
        a.requests IS NOT NULL AS begun,
           -- The last holder's work may be unrecorded, or ids were repaired during preparation.
           t.claimed_by IS NOT NULL OR (
               SELECT r.request ->> 'account_ids' IS NOT NULL
                   OR r.maintenance @? '$.keyvalue() ? (@.key like_regex "^(closed_trades_updated|open_trades_updated|md5_hashes_fixed|metrics_rows_updated)$" && @.value > 0)'
               FROM prop_trading_model.recon_runs AS r WHERE r.run_id = $1
           ) AS is_written
    FROM prop_trading_model.recon_attempts AS a
    JOIN prop_trading_model.trade_recon AS t ON t.account_id = a.account_id
    WHERE a.run_id = $1 AND a.outcome IS NULL
        AND (a.postponed_until IS NULL OR a.postponed_until <= now())
      -- Not from a run paused or ended since; from one confirmed in part, only confirmed accounts.
      AND EXISTS (
          SELECT FROM prop_trading_model.recon_runs AS r
          WHERE r.run_id = $1 AND r.status IN ('queued', 'running')
              AND (r.stop_at IS NULL OR r.stop_at > now())
            AND (a.confirmed OR NOT r.only_confirmed)
      )
      AND (
          t.claimed_by IS NULL
          -- A claim is valid by its own age or by the worker's heartbeat, which this snapshot may
          -- not show yet.
          OR t.claimed_at < now() - make_interval(secs => $5)
             AND NOT EXISTS (
                 SELECT FROM prop_trading_model.recon_workers AS w
                 WHERE w.worker_id = t.claimed_by
                     AND w.heartbeat_at > now() - make_interval(secs => $5)
             )
      )
    ORDER BY a.postponed_until NULLS FIRST, a.position
    LIMIT $4
    -- Lock both rows: an account recorded by another worker since must not be claimed from an old
    -- snapshot.
    FOR NO KEY UPDATE OF t, a SKIP LOCKED
), due AS MATERIALIZED (
    SELECT account_id, postponed_until IS NOT NULL OR confirmed AS postponed, begun, is_written,
        CASE WHEN confirmed THEN held END AS confirmed
    FROM (
        SELECT *, sum(coalesce(mismatched_days, 0)) OVER ordered AS dates,
            row_number() OVER ordered AS number
        FROM waiting
        -- Already in claiming order, without another sort.
        WINDOW ordered AS (ROWS UNBOUNDED PRECEDING)
    ) AS summed
    WHERE dates <= 100000 OR number = 1
), claimed AS (
    -- Lookup by key regardless of estimates for 5,000 rows: a join with `due` reads the whole
    -- table.
    UPDATE prop_trading_model.trade_recon
    SET claim_id = $2, claimed_by = $3, claimed_at = now()
    WHERE account_id = ANY (ARRAY(SELECT account_id FROM due))
)
SELECT * FROM due

-- name: record_gone
-- End waiting accounts of a run that were deleted from trade_recon as gone; returns their number.
WITH gone AS (
    UPDATE prop_trading_model.recon_attempts AS a
    SET outcome = 'gone', finished_at = now(), issues_left = NULL,
        detail = 'The account was deleted from trade_recon while it waited in the run; what was written for it before stays.'
    WHERE a.run_id = $1 AND a.outcome IS NULL
      AND NOT EXISTS
          (SELECT FROM prop_trading_model.trade_recon AS t WHERE t.account_id = a.account_id)
    RETURNING a.account_id
)
UPDATE prop_trading_model.recon_runs
SET gone = gone + (SELECT count(*) FROM gone)
WHERE run_id = $1 AND EXISTS (SELECT FROM gone)
RETURNING (SELECT count(*) FROM gone) AS accounts

-- name: get_waiting
-- Waiting accounts of a run.
SELECT account_id::text AS account_id FROM prop_trading_model.recon_attempts WHERE run_id = $1
    AND outcome IS NULL ORDER BY position, account_id

-- name: get_due
-- The first $2 waiting accounts of a run ($1), neither postponed nor claimed.
SELECT a.account_id::text AS account_id
FROM prop_trading_model.recon_attempts AS a
JOIN prop_trading_model.trade_recon AS t ON t.account_id = a.account_id
WHERE a.run_id = $1 AND a.outcome IS NULL
    AND (a.postponed_until IS NULL OR a.postponed_until <= now()) AND t.claimed_by IS NULL
  AND EXISTS (
      SELECT FROM prop_trading_model.recon_runs AS r
      WHERE r.run_id = $1 AND r.status IN ('queued', 'running')
          AND (a.confirmed OR NOT r.only_confirmed)
  )
ORDER BY a.position
LIMIT $2

-- name: probe_accounts
-- Probe, to be rolled back: write rows of accounts ($1) as claim $2 of worker $3 and a record
-- would.
UPDATE prop_trading_model.trade_recon
SET claim_id = $2, claimed_by = $3, claimed_at = now(), last_checked = now(),
    last_reconciled = now(), issues = issues,
    reconciliation_status = reconciliation_status, failed_attempts = failed_attempts,
    next_attempt_at = now()
WHERE account_id = ANY($1::text[])

-- name: record_unwritable
-- Fail accounts ($2) with unwritable trade_recon rows in the run's record only, with reasons ($3).
WITH failed AS (
    INSERT INTO prop_trading_model.recon_attempts AS a
        (run_id, account_id, position, outcome, finished_at, requests, rows_inserted, rows_updated,
            rows_moved, rows_removed, rows_set_aside, values_nulled,
         issues_found, issues_left, detail)
    SELECT $1, account_id, 0, 'failed', now(), 0, 0, 0, 0, 0, 0, 0, '{}', '{}', detail
    FROM unnest($2::text[], $3::text[]) AS refused (account_id, detail)
    ON CONFLICT (run_id, account_id) DO UPDATE SET outcome = excluded.outcome,
        finished_at = excluded.finished_at, detail = excluded.detail
    WHERE a.outcome IS NULL
    RETURNING 1
)
UPDATE prop_trading_model.recon_runs SET failed = failed + (SELECT count(*) FROM failed)
    WHERE run_id = $1

-- name: get_first_passes
-- Findings and effort of accounts that a run postponed or whose batch was interrupted.
SELECT account_id, issues_found, requests, own_seconds, own_requests, rows_inserted, rows_updated,
    rows_moved, rows_removed, rows_set_aside, values_nulled
FROM prop_trading_model.recon_attempts
WHERE run_id = $1 AND account_id = ANY($2::text[])

-- name: get_written_of_accounts
-- Writes of a run ($1) to accounts ($2) by change feed and copies, and open issues: a killed
-- process recorded nothing else, nor are ids repaired before the batches.
SELECT w.account_id, coalesce(sum(w.inserted), 0)::bigint AS inserted,
    coalesce(sum(w.updated), 0)::bigint AS updated,
       coalesce(sum(w.moved), 0)::bigint AS moved, coalesce(sum(w.removed), 0)::bigint AS removed,
       ARRAY(SELECT h.type FROM prop_trading_model.recon_issue_history AS h
           WHERE h.account_id = w.account_id AND h.closed_at IS NULL ORDER BY h.type) AS issues_open
FROM (
    SELECT account_id, (SELECT sum(rows) FROM unnest(inserted_rows) AS of_days (rows)) AS inserted,
        0 AS updated, 0 AS moved, 0 AS removed
    FROM prop_trading_model.recon_changes
    WHERE run_id = $1 AND inserted_rows IS NOT NULL AND account_id = ANY($2::text[])
    UNION ALL
    SELECT account_id::text, 0, (reason = 'overwritten')::integer, (reason = 'moved')::integer,
        (reason IN ('removed', 'placeholder'))::integer
    FROM prop_trading_model.recon_removed_rows
    WHERE run_id = $1 AND account_id = ANY($2::text[])
) AS w
GROUP BY w.account_id

-- name: is_held
-- Whether a claim holds any of the accounts ($2).
SELECT EXISTS
    (SELECT FROM prop_trading_model.trade_recon WHERE account_id = ANY($2::text[])
    AND claim_id = $1)

-- name: note_first_passes
-- Record findings and effort ($3) of interrupted batches of a run ($1) and claim ($2), unless
-- recorded since.
UPDATE prop_trading_model.recon_attempts AS a
SET requests = r.requests, own_seconds = r.seconds, own_requests = r.own_requests,
    rows_inserted = r.inserted, rows_updated = r.updated, rows_moved = r.moved,
    rows_removed = r.removed,
    rows_set_aside = r.set_aside, values_nulled = r.values_nulled,
    issues_found = ARRAY(SELECT jsonb_array_elements_text(r.found))
FROM jsonb_to_recordset($3) AS r (
    account_id text, requests integer, seconds double precision, own_requests double precision,
    inserted bigint, updated bigint, moved bigint, removed bigint, set_aside bigint,
    values_nulled bigint,
    found jsonb
), prop_trading_model.trade_recon AS t
WHERE a.run_id = $1 AND a.account_id = r.account_id AND a.outcome IS NULL
    AND t.account_id = r.account_id AND t.claim_id = $2

-- name: release_lost_claims
-- Release accounts of a worker ($1) under claims that it does not know ($2: known ones).
UPDATE prop_trading_model.trade_recon AS t
SET claim_id = NULL, claimed_by = NULL, claimed_at = NULL
FROM (
    SELECT account_id FROM prop_trading_model.trade_recon WHERE claimed_by = $1
        AND NOT claim_id = ANY($2::uuid[]) ORDER BY account_id FOR NO KEY UPDATE
) AS held
WHERE t.account_id = held.account_id

-- name: release_claim
-- Release accounts without a record.
UPDATE prop_trading_model.trade_recon AS t
SET claim_id = NULL, claimed_by = NULL, claimed_at = NULL
FROM (
    SELECT account_id FROM prop_trading_model.trade_recon WHERE account_id = ANY($2::text[])
        AND claim_id = $1 ORDER BY account_id FOR NO KEY UPDATE
) AS held
WHERE t.account_id = held.account_id
