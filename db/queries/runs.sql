-- name: create_run
-- A new run, waiting for a worker; no row if its key was used before, or if it must be the only one ($5) and another one is active.
INSERT INTO prop_trading_model.recon_runs (run_id, kind, request, status, stop_at, is_sole, idempotency_key, request_digest)
VALUES ($1, $2, $3, 'queued', $4, $5, $6, $7)
ON CONFLICT DO NOTHING
RETURNING run_id

-- name: get_run_of_key
-- The run that was started with an idempotency key.
SELECT run_id, request_digest FROM prop_trading_model.recon_runs WHERE idempotency_key = $1

-- name: get_sole_run
-- The active run that wants to be the only one of its sort.
SELECT run_id, status FROM prop_trading_model.recon_runs WHERE is_sole AND status IN ('queued', 'running', 'paused')

-- name: notify_workers
-- Tell who listens ($1) that a run is new or steered; in the transaction that does it, so that who hears of it finds it.
SELECT pg_notify($1, $2)

-- name: get_run
-- One run as it stands, with the number of accounts that still wait, and of those among them that wait for the next run or for somebody who
-- confirms them.
SELECT r.*, a.waiting, a.untried
FROM prop_trading_model.recon_runs AS r,
    LATERAL (
        SELECT count(*) AS waiting,
               count(*) FILTER (WHERE postponed_until = 'infinity' OR r.only_confirmed AND NOT confirmed) AS untried
        FROM prop_trading_model.recon_attempts
        WHERE run_id = r.run_id AND outcome IS NULL
    ) AS a
WHERE r.run_id = $1

-- name: count_still_held
-- How many of the accounts that a run ($1) held are held to this moment: a later run may have recorded some, or somebody accepted them until after a date ($2).
SELECT count(*) FROM prop_trading_model.recon_attempts AS a JOIN prop_trading_model.trade_recon AS t ON t.account_id = a.account_id
WHERE a.run_id = $1 AND a.outcome = 'needs_confirmation' AND (t.reconciliation_status = 'needs_confirmation' OR t.reconciliation_status = 'explained' AND EXISTS (
    SELECT FROM prop_trading_model.recon_accepted_issues AS h
    WHERE h.account_id = t.account_id AND h.ended_at IS NULL AND h.was_held AND h.until <= coalesce($2::date, current_date)
))

-- name: count_pinned_rows
-- How many rows are pinned that were so before a run ($1) ended, of its named accounts; of all if it names none.
SELECT count(*)
FROM prop_trading_model.recon_pins AS p
JOIN prop_trading_model.recon_runs AS r ON r.run_id = $1 AND p.pinned_at <= r.finished_at
WHERE jsonb_typeof(r.request -> 'account_ids') IS DISTINCT FROM 'array' OR r.request -> 'account_ids' ? p.account_id::text

-- name: get_gone_accounts
-- The first ($2) accounts that were deleted from trade_recon while they waited in the run.
SELECT account_id FROM prop_trading_model.recon_attempts WHERE run_id = $1 AND outcome = 'gone' ORDER BY position, account_id LIMIT $2

-- name: list_runs
-- Runs, newest first, at most $4: those of the states ($1) and kinds ($2) named, null being any, and older than run $3, where that is given. A run
-- that holds no account any more is in the state that follows from the rest of what it left, on which of $5 somebody must act,
-- where no acceptance that ended by a date ($6) counts.
SELECT run_id, kind, status, created_at, started_at, finished_at, stop_at, confirmed_at, history_from, error, total, unchanged, healed, explained, partial,
       failed, flapping, needs_confirmation, gone, found, skipped, requests, rows_inserted, rows_updated, rows_moved, rows_removed, rows_set_aside, newly_held,
       held_since, left_over,
    CASE WHEN needs_confirmation > 0 THEN (
        SELECT count(*) FROM prop_trading_model.recon_attempts AS a JOIN prop_trading_model.trade_recon AS t ON t.account_id = a.account_id
        WHERE a.run_id = r.run_id AND a.outcome = 'needs_confirmation' AND (t.reconciliation_status = 'needs_confirmation' OR t.reconciliation_status = 'explained' AND EXISTS (
            SELECT FROM prop_trading_model.recon_accepted_issues AS h
            WHERE h.account_id = t.account_id AND h.ended_at IS NULL AND h.was_held AND h.until <= coalesce($6::date, current_date)
        ))
    ) ELSE 0 END AS still_held
FROM prop_trading_model.recon_runs AS r
WHERE ($2::text[] IS NULL OR kind = ANY($2))
  AND ($1::text[] IS NULL OR CASE
      WHEN needs_confirmation = 0 OR status NOT IN ('needs_confirmation', 'completed_with_issues') OR EXISTS (
          SELECT FROM prop_trading_model.recon_attempts AS a JOIN prop_trading_model.trade_recon AS t ON t.account_id = a.account_id
          WHERE a.run_id = r.run_id AND a.outcome = 'needs_confirmation' AND (t.reconciliation_status = 'needs_confirmation' OR t.reconciliation_status = 'explained' AND EXISTS (
            SELECT FROM prop_trading_model.recon_accepted_issues AS h
            WHERE h.account_id = t.account_id AND h.ended_at IS NULL AND h.was_held AND h.until <= coalesce($6::date, current_date)
        ))
      ) THEN status
      WHEN left_over IS NULL OR EXISTS (SELECT FROM jsonb_each_text(left_over) AS l WHERE l.key = ANY($5) AND l.value <> '0') THEN 'completed_with_issues'
      ELSE 'succeeded'
  END = ANY($1))
  AND ($3::uuid IS NULL OR (created_at, run_id) < (SELECT b.created_at, b.run_id FROM prop_trading_model.recon_runs AS b WHERE b.run_id = $3))
ORDER BY created_at DESC, run_id DESC
LIMIT $4

-- name: get_run_held
-- The first accounts ($2 at most) that a run ($1) holds still on a date ($3), and why.
SELECT a.account_id, a.detail FROM prop_trading_model.recon_attempts AS a
JOIN prop_trading_model.trade_recon AS t ON t.account_id = a.account_id
WHERE a.run_id = $1 AND a.outcome = 'needs_confirmation' AND (t.reconciliation_status = 'needs_confirmation' OR t.reconciliation_status = 'explained' AND EXISTS (
    SELECT FROM prop_trading_model.recon_accepted_issues AS h
    WHERE h.account_id = t.account_id AND h.ended_at IS NULL AND h.was_held AND h.until <= coalesce($3::date, current_date)
))
ORDER BY abs(a.position), a.account_id
LIMIT $2

-- name: find_active_run
-- The run that a free worker serves next: those of named accounts, for which people wait, go first, of them the smallest, then the oldest.
-- With $2 only those of few named accounts, with $3 only inspections, which need no upstream.
SELECT run_id, kind, request, prepared_at IS NOT NULL AS prepared, confirmed_at,
       -- Where some of the accounts were confirmed, it is no reason to hold these.
       CASE WHEN NOT only_confirmed THEN suspicion END AS suspicion, total, rows_compared,
       unchanged + healed + explained + partial + failed + flapping + needs_confirmation + found AS recorded, search_requests, known_search_requests, history_from
FROM prop_trading_model.recon_runs AS r
WHERE status IN ('queued', 'running') AND ($1::uuid IS NULL OR run_id = $1)
  -- One whose time is up is ended by what watches for that, but where nothing of it is left it comes to its own end.
  AND (
      stop_at IS NULL OR stop_at > now()
      OR prepared_at IS NOT NULL AND NOT EXISTS (
          SELECT FROM prop_trading_model.recon_attempts AS a
          WHERE a.run_id = r.run_id AND a.outcome IS NULL AND (a.confirmed OR NOT r.only_confirmed)
      )
  )
  AND (NOT $2::boolean OR CASE WHEN jsonb_typeof(request -> 'account_ids') = 'array' THEN jsonb_array_length(request -> 'account_ids') <= 100 ELSE false END)
  AND (NOT $3::boolean OR kind = 'inspect')
ORDER BY CASE WHEN jsonb_typeof(request -> 'account_ids') = 'array' THEN jsonb_array_length(request -> 'account_ids') END, created_at

-- name: get_left_runs
-- Runs that a process left which is gone: no other one than $1 lives (of the lease $2, in seconds) that would finish them.
SELECT run_id, kind, created_at
FROM prop_trading_model.recon_runs
WHERE status IN ('queued', 'running')
  AND NOT EXISTS (SELECT FROM prop_trading_model.recon_workers WHERE worker_id <> $1 AND heartbeat_at > now() - make_interval(secs => $2))
ORDER BY created_at

-- name: note_history
-- The first date on which a run ($1) compares; null: all.
UPDATE prop_trading_model.recon_runs SET history_from = $2 WHERE run_id = $1 AND history_from IS DISTINCT FROM $2

-- name: note_missing_partitions
-- Why rows that a run ($1) fetched have no place: said once ($2), whichever accounts they are of.
UPDATE prop_trading_model.recon_runs SET missing_partitions = array_append(missing_partitions, $2::text)
WHERE run_id = $1 AND NOT $2 = ANY(missing_partitions) AND cardinality(missing_partitions) < 100

-- name: get_standing_suspicion
-- Whether an earlier run than $1 was stopped since upstream was suspect, nobody confirmed it, and no audit that began after it found upstream well.
SELECT EXISTS (
    SELECT FROM prop_trading_model.recon_runs
    WHERE suspicion IS NOT NULL AND run_id <> $1
      AND finished_at > coalesce((SELECT max(started_at) FROM prop_trading_model.recon_runs WHERE upstream_well AND run_id <> $1), '-infinity')
)

-- name: note_suspicion
-- Upstream is suspect: the run's batches hold whatever upstream lowers, and it stops after them; not if somebody confirmed it since ($3).
UPDATE prop_trading_model.recon_runs SET suspicion = $2 WHERE run_id = $1 AND confirmed_at IS NOT DISTINCT FROM $3

-- name: get_rewritten
-- Rows that runs rewrote of accounts ($1) since those were whole, and how many of them were removed; rows that were restored do not count, nor rows
-- that an account only got its id for.
SELECT t.account_id::text AS account_id, c.rows, c.removed
FROM prop_trading_model.trade_recon AS t
CROSS JOIN LATERAL (
    SELECT count(*) AS rows, count(*) FILTER (WHERE reason = 'removed') AS removed
    FROM prop_trading_model.recon_removed_rows AS r
    WHERE r.account_id = t.account_id AND r.removed_id > t.whole_copy AND r.run_id IS NOT NULL AND r.restored_at IS NULL
      AND NOT (r.reason = 'overwritten' AND r.row_data ->> 'account_id' IS NULL)
) AS c
WHERE t.account_id = ANY($1::text[]) AND c.rows > 0

-- name: take_preparation
-- Become the one that prepares the run; another may take over when the first one's heartbeat is gone.
UPDATE prop_trading_model.recon_runs AS r
SET prepared_by = $2, status = 'running', started_at = coalesce(started_at, now()), covers_until = now(),
    covers_horizon = pg_snapshot_xmin(pg_current_snapshot())::text::bigint
WHERE run_id = $1 AND status IN ('queued', 'running') AND prepared_at IS NULL AND (stop_at IS NULL OR stop_at > now())
  AND (
      prepared_by IS NULL OR prepared_by = $2
      OR NOT EXISTS (
          SELECT FROM prop_trading_model.recon_workers AS w
          WHERE w.worker_id = r.prepared_by AND w.heartbeat_at > now() - make_interval(secs => $3)
      )
  )
RETURNING run_id

-- name: enqueue_mismatched
-- The accounts of a full ($2 false) or retry run: mismatched ones, those that were explained behind all others, the longest unchecked first; a full run leaves those that back off or flap,
-- and exhausted ones for a day after their last failure.
-- {{among}} limits them.
WITH mismatched AS (
    SELECT account_id, last_checked, reconciliation_status = 'explained' AS is_explained, NOT $2::boolean AND CASE
            WHEN reconciliation_status = 'exhausted' THEN coalesce(last_failed_attempt > now() - interval '1 day', true)
            ELSE coalesce(next_attempt_at > now(), false)
        END AS waits
    FROM prop_trading_model.trade_recon
    JOIN prop_trading_model.v_recon_mismatched USING (account_id)
    WHERE {{among}}
), queued AS (
    INSERT INTO prop_trading_model.recon_attempts (run_id, account_id, position)
    SELECT $1, account_id, row_number() OVER (ORDER BY is_explained, last_checked NULLS FIRST, account_id)
    FROM mismatched
    WHERE NOT waits
    ORDER BY is_explained, last_checked NULLS FIRST, account_id
    LIMIT $3
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT (SELECT count(*) FROM mismatched WHERE NOT waits) > (SELECT count(*) FROM queued) AS is_limited,
       greatest((SELECT count(*) FROM mismatched WHERE NOT waits) - $3::bigint, 0) AS beyond, (SELECT count(*) FROM mismatched WHERE waits) AS skipped

-- name: enqueue_accounts
-- Named accounts, in the order given.
INSERT INTO prop_trading_model.recon_attempts (run_id, account_id, position)
SELECT $1, account_id, ordinal FROM unnest($2::text[]) WITH ORDINALITY AS named (account_id, ordinal)
ON CONFLICT DO NOTHING

-- name: enqueue_audited
-- The accounts of an audit: of those compared ($2, null: all; but $4, which were not answered), the mismatched ones and those that the
-- audit found different or reads again, but those that back off (exhausted ones are taken), at most $3; how many were equal, and how many are
-- left out. With $5 every row is compared, so that no count tells that an account is equal: all are taken.
WITH compared AS (
    SELECT t.account_id, t.last_checked,
           m.account_id IS NOT NULL
               OR EXISTS (SELECT FROM prop_trading_model.recon_drift AS d WHERE d.run_id = $1 AND d.account_id = t.account_id)
               OR EXISTS (SELECT FROM prop_trading_model.recon_doubted_dates AS d WHERE d.read_run = $1 AND d.account_id = t.account_id)
               OR $5::boolean AS different,
           $2::text[] IS NULL AND CASE reconciliation_status
               WHEN 'exhausted' THEN false
               -- What flaps is held back from runs over all, and taken by one audit a day, also by one that comes a little early.
               WHEN 'flapping' THEN coalesce(last_checked > now() - interval '12 hours' AND next_attempt_at > now(), false)
               ELSE coalesce(next_attempt_at > now(), false)
           END AS waits
    FROM prop_trading_model.trade_recon AS t
    LEFT JOIN prop_trading_model.v_recon_mismatched AS m ON m.account_id = t.account_id
    WHERE ($2::text[] IS NULL OR t.account_id = ANY($2::text[])) AND NOT t.account_id = ANY($4::text[])
), queued AS (
    INSERT INTO prop_trading_model.recon_attempts (run_id, account_id, position)
    SELECT $1, account_id, row_number() OVER (ORDER BY last_checked NULLS FIRST, account_id)
    FROM compared
    WHERE different AND NOT waits
    ORDER BY last_checked NULLS FIRST, account_id
    LIMIT $3
    ON CONFLICT DO NOTHING
), equal AS MATERIALIZED (
    SELECT t.account_id FROM prop_trading_model.trade_recon AS t JOIN compared AS c USING (account_id)
    WHERE NOT c.different
    -- In one order, so that no two of us wait for each other. One that someone holds is equal as well, and keeps its state.
    ORDER BY t.account_id
    FOR NO KEY UPDATE OF t SKIP LOCKED
), checked AS (
    UPDATE prop_trading_model.trade_recon AS t
    SET last_checked = now(), last_reconciled = now(), reconciliation_status = 'reconciled', failed_attempts = 0, next_attempt_at = NULL,
        whole_copy = (SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('prop_trading_model.recon_removed_rows', 'removed_id')::regclass), 0))
    FROM equal AS e
    WHERE e.account_id = t.account_id
)
SELECT
    count(*) FILTER (WHERE NOT different) AS equal,
    count(*) FILTER (WHERE different) - least(count(*) FILTER (WHERE different AND NOT waits), coalesce($3::bigint, 9223372036854775807)) AS skipped
FROM compared

-- name: take_doubts
-- The audit $1 reads again the dates of accounts ($2, null: all) on which runs lowered figures within the last week, at most $3 of them: those that
-- waited for the longest time. What is older than that is believed.
WITH believed AS (
    DELETE FROM prop_trading_model.recon_doubted_dates WHERE noted_at < now() - interval '7 days'
), taken AS MATERIALIZED (
    SELECT account_id, date
    FROM prop_trading_model.recon_doubted_dates
    WHERE noted_at >= now() - interval '7 days' AND ($2::text[] IS NULL OR account_id = ANY($2::text[]))
    ORDER BY read_at NULLS FIRST, account_id, date
    LIMIT $3
)
UPDATE prop_trading_model.recon_doubted_dates AS d
SET read_at = now(), read_run = $1
FROM taken
WHERE d.account_id = taken.account_id AND d.date = taken.date

-- name: count_accounts
-- How many accounts are known.
SELECT count(*) FROM prop_trading_model.trade_recon

-- name: get_oldest_accounts
-- The accounts that were not checked for the longest time.
SELECT account_id FROM prop_trading_model.trade_recon ORDER BY last_checked NULLS FIRST, account_id LIMIT $1

-- name: hold_preparation
-- Keep the run in this worker's hands until the end of the transaction; no row if another worker prepares it by now, or nobody shall.
SELECT run_id FROM prop_trading_model.recon_runs WHERE run_id = $1 AND prepared_by = $2 AND prepared_at IS NULL AND status = 'running' FOR NO KEY UPDATE

-- name: note_given_ids
-- Accounts (of $2, null: all; not $3) that the run ($1) need not take, since it gave ids back to rows of theirs as it was prepared, and they agree by now:
-- each is healed, with these rows. How many those are.
WITH given AS (
    SELECT account_id::text AS account_id, count(*) AS rows,
           array_agg(DISTINCT CASE
               WHEN row_data ->> 'account_id' IS NOT NULL THEN 'foreign_account_id'
               WHEN table_name = 'raw_trades_open' THEN 'null_account_id_open_trades'
               WHEN table_name = 'raw_trades_closed' THEN 'null_account_id_closed_trades'
               ELSE 'foreign_account_id'
           END) AS found
    FROM prop_trading_model.recon_removed_rows
    WHERE run_id = $1 AND reason = 'overwritten'
    GROUP BY account_id
), noted AS (
    INSERT INTO prop_trading_model.recon_attempts
        (run_id, account_id, position, outcome, finished_at, own_seconds, own_requests, requests, rows_inserted, rows_updated, rows_moved, rows_removed,
         rows_set_aside, values_nulled, issues_found, issues_left)
    SELECT $1, t.account_id, 0, 'healed', now(), 0, 0, 0, 0, g.rows, 0, 0, 0, 0, g.found, '{}'
    FROM given AS g
    JOIN prop_trading_model.trade_recon AS t ON t.account_id = g.account_id
    WHERE ($2::text[] IS NULL OR t.account_id = ANY($2::text[])) AND NOT t.account_id = ANY($3::text[])
      AND NOT EXISTS (SELECT FROM prop_trading_model.v_recon_mismatched AS m WHERE m.account_id = t.account_id)
      -- What an audit found different is not healed by that, though it may wait for a later run.
      AND NOT EXISTS (SELECT FROM prop_trading_model.recon_drift AS d WHERE d.run_id = $1 AND d.account_id = t.account_id)
      AND NOT EXISTS (SELECT FROM prop_trading_model.recon_doubted_dates AS d WHERE d.read_run = $1 AND d.account_id = t.account_id)
    ON CONFLICT (run_id, account_id) DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM noted

-- name: finish_preparation
-- The run's accounts are known, and $6 of them healed; batches may begin. Done again after a crash it counts the same. $5: it covers whatever was
-- written before.
UPDATE prop_trading_model.recon_runs
SET prepared_at = now(), skipped = $2, unchanged = $3, healed = $6, maintenance = $4, covers_until = CASE WHEN $5::boolean THEN covers_until END,
    known_accounts = (SELECT count(*) FROM prop_trading_model.trade_recon),
    total = $3 + (SELECT count(*) FROM prop_trading_model.recon_attempts WHERE run_id = $1)
WHERE run_id = $1

-- name: finish_run
-- End a run of which no account waits or is being worked on; exactly one caller gets the row. Upstream is suspect no more ($6) where all was confirmed.
UPDATE prop_trading_model.recon_runs AS r
SET status = $2, finished_at = now(), error = $3, upstream_well = $4, left_over = $5, suspicion = CASE WHEN NOT $6::boolean THEN r.suspicion END
WHERE run_id = $1 AND status = 'running' AND prepared_at IS NOT NULL
  AND NOT CASE WHEN r.only_confirmed
      THEN EXISTS (
          SELECT FROM prop_trading_model.recon_attempts
          WHERE run_id = $1 AND outcome IS NULL AND (postponed_until IS NULL OR postponed_until < 'infinity') AND confirmed
      )
      ELSE EXISTS (
          SELECT FROM prop_trading_model.recon_attempts WHERE run_id = $1 AND outcome IS NULL AND (postponed_until IS NULL OR postponed_until < 'infinity')
      )
  END
RETURNING run_id

-- name: get_run_state
-- Whether accounts of the run still wait, and by what it is judged.
SELECT
    r.status, r.suspicion, r.total, r.needs_confirmation, r.kind, r.known_accounts, r.only_confirmed,
    CASE jsonb_typeof(r.maintenance -> 'accounts_refused') WHEN 'number' THEN (r.maintenance ->> 'accounts_refused')::bigint ELSE 0 END AS refused,
    r.needs_confirmation - r.newly_held AS held_before, r.unchanged + r.healed + r.explained + r.partial + r.flapping + r.needs_confirmation AS compared,
    -- Of an audit over all of which nothing waits: how many accounts there are to be compared.
    CASE WHEN r.kind = 'audit' AND r.request ->> 'account_ids' IS NULL
              AND NOT EXISTS (
                  SELECT FROM prop_trading_model.recon_attempts
                  WHERE run_id = $1 AND outcome IS NULL AND (postponed_until IS NULL OR postponed_until < 'infinity')
              )
        THEN (SELECT count(*) FROM prop_trading_model.trade_recon)
    END AS known,
    (SELECT count(*) FROM prop_trading_model.recon_run_losses WHERE run_id = $1 AND lowers) AS lowered,
    (SELECT count(*) FROM prop_trading_model.recon_run_losses WHERE run_id = $1 AND lowers AND rewrites) AS rewritten,
    r.maintenance ->> 'incomplete' AS incomplete,
    CASE WHEN r.only_confirmed
        THEN EXISTS (
            SELECT FROM prop_trading_model.recon_attempts
            WHERE run_id = $1 AND outcome IS NULL AND (postponed_until IS NULL OR postponed_until < 'infinity') AND confirmed
        )
        ELSE EXISTS (
            SELECT FROM prop_trading_model.recon_attempts WHERE run_id = $1 AND outcome IS NULL AND (postponed_until IS NULL OR postponed_until < 'infinity')
        )
    END AS waiting,
    EXISTS (SELECT FROM prop_trading_model.recon_attempts WHERE run_id = $1 AND outcome IS NULL AND postponed_until = 'infinity') AS untried,
    EXISTS (SELECT FROM prop_trading_model.recon_attempts WHERE run_id = $1 AND outcome IS NULL) AS unreached,
    r.search_requests + r.known_search_requests AS searched, r.fault, r.missing_partitions, r.history_from
FROM prop_trading_model.recon_runs AS r
WHERE run_id = $1

-- name: count_written
-- Count for a run ($1) the rows that it wrote or set aside and that no process counted: those of one that was killed, and those whose ids were repaired.
-- They are told by what was kept of them.
UPDATE prop_trading_model.recon_runs AS r
SET rows_inserted = greatest(r.rows_inserted, i.rows), rows_updated = greatest(r.rows_updated, c.updated), rows_moved = greatest(r.rows_moved, c.moved),
    rows_removed = greatest(r.rows_removed, c.removed), rows_set_aside = greatest(r.rows_set_aside, a.rows)
FROM (SELECT coalesce(sum(rows), 0) AS rows FROM prop_trading_model.recon_run_inserts WHERE run_id = $1) AS i, (
    SELECT count(*) FILTER (WHERE reason = 'overwritten') AS updated, count(*) FILTER (WHERE reason = 'moved') AS moved,
           count(*) FILTER (WHERE reason IN ('removed', 'placeholder')) AS removed
    FROM prop_trading_model.recon_removed_rows
    WHERE run_id = $1
) AS c, (
    SELECT coalesce(sum(copies), 0) AS rows FROM prop_trading_model.recon_set_aside_rows
    -- What is stored but for a value, and what waits for a partition, is not set aside.
    WHERE run_id = $1 AND NOT starts_with(reason, 'stored with') AND NOT starts_with(reason, 'no partition')
) AS a
WHERE r.run_id = $1 AND (i.rows > r.rows_inserted OR c.updated > r.rows_updated OR c.moved > r.rows_moved OR c.removed > r.rows_removed OR a.rows > r.rows_set_aside)

-- name: end_run
-- End a run early, for a reason: the accounts that still wait stay in its record as those that are left.
UPDATE prop_trading_model.recon_runs SET status = $2, error = $3, finished_at = now(), prepared_by = CASE WHEN prepared_at IS NOT NULL THEN prepared_by END
WHERE run_id = $1 AND status IN ('queued', 'running', 'paused')
RETURNING run_id

-- name: clear_scan
-- What the audit of a finished run noted of upstream is not needed any more.
WITH days AS (DELETE FROM prop_trading_model.recon_scan_days WHERE run_id = $1)
DELETE FROM prop_trading_model.recon_scan WHERE run_id = $1

-- name: note_search
-- Count requests that the search for failing accounts cost, and keep the first reason for which the run will have failed.
UPDATE prop_trading_model.recon_runs SET search_requests = search_requests + $2, known_search_requests = known_search_requests + $3, fault = coalesce(fault, $4)
WHERE run_id = $1

-- name: add_phase_seconds
-- Time spent in a phase, summed over workers, and the API statistics of this worker so far.
UPDATE prop_trading_model.recon_runs
SET phases = phases || jsonb_build_object($2::text, round((coalesce((phases ->> $2)::numeric, 0) + $3::numeric), 3))
WHERE run_id = $1

-- name: set_api_statistics
-- The API statistics of one worker process for the run, beside those of the others.
UPDATE prop_trading_model.recon_runs SET api = api || jsonb_build_object($2::text, $3::jsonb) WHERE run_id = $1

-- name: record_attempts
-- The outcome of accounts, with all that the run did for them; $2 are the seconds of this batch alone.
UPDATE prop_trading_model.recon_attempts AS a
SET outcome = r.outcome, finished_at = now(), seconds = coalesce(a.seconds, 0) + $2, own_seconds = r.own_seconds, own_requests = r.own_requests, requests = r.requests, rows_inserted = r.inserted, rows_updated = r.updated,
    rows_moved = r.moved, rows_removed = r.removed, rows_set_aside = r.set_aside, values_nulled = r.nulled,
    issues_found = ARRAY(SELECT jsonb_array_elements_text(r.found)), issues_left = ARRAY(SELECT jsonb_array_elements_text(r.remaining)), detail = r.detail,
    held = nullif(r.held, 'null'), compared = nullif(r.compared, 'null'), seen = r.seen, confirmed = a.confirmed AND r.outcome <> 'needs_confirmation'
FROM jsonb_to_recordset($3) AS r (
    account_id text, outcome text, own_seconds double precision, own_requests double precision, requests integer, inserted bigint, updated bigint, moved bigint, removed bigint, set_aside bigint, nulled bigint,
    found jsonb, remaining jsonb, detail text, held jsonb, compared jsonb, seen text
)
WHERE a.run_id = $1 AND a.account_id = r.account_id

-- name: postpone_accounts
-- Put accounts back behind all others of their run, with what was found and done so far, and release them; $4 says after how many seconds
-- they may be claimed again, $5 the same in a run of named accounts, for which people wait. Untried ones are not claimed again by this run.
WITH postponed AS (
    UPDATE prop_trading_model.recon_attempts AS a
    SET postponed_until = CASE
            WHEN r.untried THEN 'infinity'
            ELSE now() + make_interval(secs => CASE WHEN run.request ->> 'account_ids' IS NULL THEN $4::double precision ELSE $5::double precision END)
        END,
        finished_at = CASE WHEN r.untried THEN now() END, detail = CASE WHEN r.untried THEN r.detail END,
        seconds = $2, own_seconds = r.own_seconds, own_requests = r.own_requests, requests = r.requests, rows_inserted = r.inserted, rows_updated = r.updated,
        rows_moved = r.moved, rows_removed = r.removed, rows_set_aside = r.set_aside, values_nulled = r.nulled,
        issues_found = ARRAY(SELECT jsonb_array_elements_text(r.found))
    FROM jsonb_to_recordset($3) AS r (
        account_id text, own_seconds double precision, own_requests double precision, requests integer, inserted bigint, updated bigint, moved bigint, removed bigint, set_aside bigint,
        nulled bigint, found jsonb, untried boolean, detail text
    ), prop_trading_model.recon_runs AS run
    WHERE a.run_id = $1 AND a.account_id = r.account_id AND run.run_id = $1
    RETURNING a.account_id
)
UPDATE prop_trading_model.trade_recon AS t
SET claim_id = NULL, claimed_by = NULL, claimed_at = NULL
FROM postponed AS p
WHERE t.account_id = p.account_id

-- name: is_past
-- Whether a moment is over by the clock that stops runs.
SELECT $1::timestamptz <= now()

-- name: record_accounts
-- The state of accounts after a run, and their release. Times to wait until are reckoned from $3, if that is given.
UPDATE prop_trading_model.trade_recon AS t
SET issues = coalesce(r.issues, t.issues), last_checked = now(),
    last_reconciled = CASE WHEN r.outcome IN ('unchanged', 'healed', 'explained') THEN now() ELSE t.last_reconciled END,
    -- It stops where the smallest type that the column may have ends.
    failed_attempts = CASE WHEN r.failing THEN t.failed_attempts + CASE WHEN t.failed_attempts < 32767 THEN 1 ELSE 0 END WHEN r.outcome IN ('unchanged', 'healed', 'explained') THEN 0 ELSE t.failed_attempts END,
    last_failed_attempt = CASE WHEN r.failing THEN now() ELSE t.last_failed_attempt END,
    next_attempt_at = coalesce(now() + (r.next_attempt_at - $3::timestamptz), r.next_attempt_at),
    reconciliation_status = CASE
        WHEN r.failing AND t.failed_attempts >= $2 - 1 THEN 'exhausted'
        WHEN r.failing THEN 'failed'
        WHEN r.outcome IN ('unchanged', 'healed') THEN 'reconciled'
        WHEN r.outcome IN ('explained', 'flapping', 'needs_confirmation') THEN r.outcome
        ELSE 'needs_reconciliation'
    END,
    explained_as = CASE WHEN r.outcome = 'explained' THEN r.signature END, explained_times = r.explained_times, ask_again_at = r.ask_again_at,
    whole_copy = CASE WHEN r.is_whole THEN (SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('prop_trading_model.recon_removed_rows', 'removed_id')::regclass), 0)) ELSE t.whole_copy END,
    claim_id = NULL, claimed_by = NULL, claimed_at = NULL
FROM jsonb_to_recordset($1) AS r (account_id text, outcome text, issues jsonb, failing boolean, signature text, next_attempt_at timestamptz,
                                explained_times integer, ask_again_at timestamptz, is_whole boolean)
WHERE t.account_id = r.account_id

-- name: record_unchanged
-- The outcome, the state and the release of accounts ($3) for which nothing was to be done.
WITH attempts AS (
    UPDATE prop_trading_model.recon_attempts
    SET outcome = 'unchanged', finished_at = now(), seconds = coalesce(seconds, 0) + $2, own_seconds = 0, own_requests = 0, requests = 0, rows_inserted = 0, rows_updated = 0,
        rows_moved = 0, rows_removed = 0, rows_set_aside = 0, values_nulled = 0, issues_found = '{}', issues_left = '{}', detail = NULL
    WHERE run_id = $1 AND account_id = ANY($3::text[])
)
UPDATE prop_trading_model.trade_recon
SET issues = '[]', last_checked = now(), last_reconciled = now(), failed_attempts = 0, next_attempt_at = NULL,
    reconciliation_status = 'reconciled', explained_as = NULL, explained_times = 0, ask_again_at = NULL, claim_id = NULL, claimed_by = NULL, claimed_at = NULL,
    whole_copy = (SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('prop_trading_model.recon_removed_rows', 'removed_id')::regclass), 0))
WHERE account_id = ANY($3::text[])

-- name: count_batch
-- Add a batch's outcomes to its run; in the transaction that releases its accounts, so that none counts twice.
UPDATE prop_trading_model.recon_runs
SET unchanged = unchanged + $2, healed = healed + $3, explained = explained + $4, partial = partial + $5, failed = failed + $6,
    requests = requests + $7, rows_inserted = rows_inserted + $8, rows_updated = rows_updated + $9, rows_moved = rows_moved + $10,
    rows_removed = rows_removed + $11, rows_set_aside = rows_set_aside + $12, values_nulled = values_nulled + $13, postponed = postponed + $14,
    flapping = flapping + $15, needs_confirmation = needs_confirmation + $16, rows_compared = rows_compared + $17,
    newly_held = newly_held + $18,
    -- A batch that was under way when its run was ended is the last that the run does; one that lost its accounts does nothing.
    finished_at = CASE WHEN finished_at IS NOT NULL AND $2::bigint + $3::bigint + $4::bigint + $5::bigint + $6::bigint + $15::bigint + $16::bigint > 0
                       THEN now() ELSE finished_at END
WHERE run_id = $1

-- name: add_compared
-- Add to a run what was compared by rows ($2: figures by table), in the transaction that records its accounts.
UPDATE prop_trading_model.recon_runs AS r
SET compared = (
    SELECT jsonb_object_agg(coalesce(o.table_name, n.table_name), jsonb_build_object(
        'rows', coalesce((o.figures ->> 'rows')::bigint, 0) + coalesce((n.figures ->> 'rows')::bigint, 0),
        'columns', greatest((o.figures ->> 'columns')::integer, (n.figures ->> 'columns')::integer),
        'differing', coalesce((o.figures ->> 'differing')::bigint, 0) + coalesce((n.figures ->> 'differing')::bigint, 0)
    ))
    FROM jsonb_each(r.compared) AS o (table_name, figures)
    FULL JOIN jsonb_each($2::jsonb) AS n (table_name, figures) USING (table_name)
)
WHERE run_id = $1

-- name: note_held_since
-- The earliest run since which accounts that run $1 leaves held are held, of those that were before it.
UPDATE prop_trading_model.recon_runs
SET held_since = (
    SELECT first.run_id
    FROM prop_trading_model.recon_attempts AS h
    CROSS JOIN LATERAL (
        SELECT a.run_id, a.finished_at
        FROM prop_trading_model.recon_attempts AS a
        WHERE a.account_id = h.account_id AND a.run_id <> $1 AND a.outcome = 'needs_confirmation'
          AND a.finished_at > coalesce((
              SELECT max(b.finished_at) FROM prop_trading_model.recon_attempts AS b
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

-- name: close_issues
-- Close what accounts ($1) no longer have: $2 holds what they have now, $3 limits the codes that this look judged, $5 the evidence by account
-- and code, $6 that of all others.
UPDATE prop_trading_model.recon_issue_history AS h
SET closed_at = now(), closed_run = $4, closing_evidence = coalesce($5::jsonb -> h.account_id -> h.type, $6)
WHERE h.closed_at IS NULL AND h.account_id = ANY($1::text[]) AND h.type = ANY($3::text[])
  -- NOT IN, which is looked up in a hash table: how many there are is not known to the planner, and a loop over thousands of them takes half a minute.
  AND (h.account_id::text, h.type::text) NOT IN (SELECT now_open.account_id, now_open.type FROM jsonb_to_recordset($2) AS now_open (account_id text, type text))

-- name: open_issues
-- Note what accounts have now and had not before; what stays open gets its newest severity. One that a run had healed and that is back right after
-- ($4), or is back in the same place within $3 seconds, is counted as opened again if another writer brought it back. Dates from $5 on still move:
-- trouble there proves nothing.
WITH found AS MATERIALIZED (
    SELECT
        f.*,
        (
            SELECT array_agg(day)
            FROM jsonb_array_elements_text(CASE
                WHEN jsonb_typeof(f.evidence -> 'missing_dates') = 'array' THEN f.evidence -> 'missing_dates'
                WHEN jsonb_typeof(f.evidence -> 'dates') = 'array' THEN f.evidence -> 'dates'
                ELSE '[]'
            END) AS dates (day)
        ) AS days
    FROM jsonb_to_recordset($1) AS f (account_id text, type text, severity integer, evidence jsonb)
), last AS MATERIALIZED (
    -- For all of them at once: looked for by account, an empty history is read as a whole for each, as it fills, and the plan for that may stay.
    SELECT DISTINCT ON (c.account_id, c.type) c.account_id::text AS account_id, c.type, c.reopened, c.evidence, c.closed_at,
           c.closed_run IS NOT NULL AND c.closing_evidence ->> 'closed_as' = 'healed' AS was_healed
    FROM prop_trading_model.recon_issue_history AS c
    WHERE c.account_id = ANY (ARRAY(SELECT account_id FROM found)) AND c.closed_at IS NOT NULL
    ORDER BY c.account_id, c.type, c.closed_at DESC
)
INSERT INTO prop_trading_model.recon_issue_history AS h (account_id, type, severity, opened_run, evidence, reopened)
SELECT f.account_id, f.type, f.severity, $2, f.evidence, coalesce(last.reopened + 1, 0)
FROM found AS f
LEFT JOIN last
  ON last.account_id = f.account_id AND last.type = f.type AND last.was_healed
  AND last.closed_at > now() - make_interval(secs => $3)
  AND CASE
      WHEN f.days IS NULL
          -- Trouble without dates is the same if the figures are.
          THEN last.closed_at > now() - make_interval(secs => $4)
              OR (last.evidence -> 'metadata') - 'settled_before' IS NOT DISTINCT FROM (f.evidence -> 'metadata') - 'settled_before'
      WHEN last.closed_at > now() - make_interval(secs => $4) THEN EXISTS (SELECT FROM unnest(f.days) AS now_open (day) WHERE day < $5::text)
      ELSE EXISTS (SELECT FROM unnest(f.days) AS now_open (day) WHERE day < $5::text AND coalesce(last.evidence -> 'missing_dates', last.evidence -> 'dates') ? day)
  END
  -- Another writer did it neither where upstream changed its word, nor where somebody restored rows since, or a run wrote some.
  AND (f.type <> 'upstream_drift' OR last.evidence #> '{metadata,upstream}' IS NOT DISTINCT FROM f.evidence #> '{metadata,upstream}')
  AND NOT EXISTS (
      SELECT FROM prop_trading_model.recon_removed_rows AS c
      WHERE c.account_id = f.account_id AND (c.restored_at > last.closed_at OR c.run_id IS NOT NULL AND c.removed_at > last.closed_at)
  )
ORDER BY f.account_id, f.type
ON CONFLICT (account_id, type) WHERE closed_at IS NULL DO UPDATE SET severity = excluded.severity
WHERE h.severity <> excluded.severity

-- name: renew_evidence
-- The evidence of issues that run $2 opened and that are open: it found more of the same ($1).
UPDATE prop_trading_model.recon_issue_history AS h
SET evidence = f.evidence, severity = f.severity
FROM jsonb_to_recordset($1) AS f (account_id text, type text, severity integer, evidence jsonb)
WHERE h.account_id = f.account_id AND h.type = f.type AND h.closed_at IS NULL AND h.opened_run = $2

-- name: get_reopened
-- How often in a row an issue of the accounts that is open now was healed and came back, the worst of each account.
SELECT account_id, max(reopened) AS reopened
FROM prop_trading_model.recon_issue_history
WHERE account_id = ANY($1::text[]) AND closed_at IS NULL AND reopened > 0
GROUP BY account_id

-- name: merge_issues
-- Replace in the accounts' open issues those of the codes that were judged ($2) by what was found ($1).
UPDATE prop_trading_model.trade_recon AS t
SET issues = coalesce((
        SELECT jsonb_agg(issue ORDER BY issue ->> 'severity', issue ->> 'type')
        FROM (
            SELECT issue FROM jsonb_array_elements(CASE jsonb_typeof(t.issues) WHEN 'array' THEN t.issues ELSE '[]' END) AS kept (issue) WHERE NOT issue ->> 'type' = ANY($2::text[])
            UNION ALL
            SELECT jsonb_array_elements(r.issues)
        ) AS merged
    ), '[]')
FROM jsonb_to_recordset($1) AS r (account_id text, issues jsonb)
WHERE t.account_id = r.account_id

-- name: get_run_result
-- What a run ($1) did to rows, summed up by table, by table and date, and by table and broker: rows that it inserted, those of which it kept copies, and
-- those that were set aside or stored with NULL in place of a value when it met them last. `level` tells of which of the three a line is.
SELECT CASE WHEN grouping(date) = 0 THEN 'date' WHEN grouping(broker) = 0 THEN 'broker' ELSE 'table' END AS level, table_name AS table, date, broker,
       sum(inserted)::bigint AS inserted, sum(overwritten)::bigint AS overwritten, sum(moved)::bigint AS moved, sum(removed)::bigint AS removed,
       sum(set_aside)::bigint AS set_aside, sum(nulled)::bigint AS nulled
FROM (
    SELECT table_name, date, broker, rows AS inserted, 0 AS overwritten, 0 AS moved, 0 AS removed, 0 AS set_aside, 0 AS nulled
    FROM prop_trading_model.recon_run_inserts WHERE run_id = $1
    UNION ALL
    SELECT table_name, date, row_data ->> 'broker', 0, (reason = 'overwritten')::integer, (reason = 'moved')::integer,
           (reason IN ('removed', 'placeholder'))::integer, 0, 0
    FROM prop_trading_model.recon_removed_rows WHERE run_id = $1
    UNION ALL
    SELECT table_name, date, row_data ->> 'broker', 0, 0, 0, 0, CASE WHEN is_stored THEN 0 ELSE copies END, CASE WHEN is_stored THEN copies ELSE 0 END
    FROM (SELECT *, starts_with(reason, 'stored with') AS is_stored FROM prop_trading_model.recon_set_aside_rows WHERE run_id = $1) AS a
) AS rows
GROUP BY GROUPING SETS ((table_name), (table_name, date), (table_name, broker))
ORDER BY level, table_name, date, broker

-- name: get_run_issues
-- The issues that a run ($1) found: of how many accounts, of how many it is open no more, and what was done for these accounts; an account of several
-- issues counts for each.
SELECT found.code AS issue, count(*) AS accounts, count(*) FILTER (WHERE NOT found.code = ANY(a.issues_left)) AS closed,
       coalesce(sum(a.rows_inserted), 0)::bigint AS inserted, coalesce(sum(a.rows_updated), 0)::bigint AS overwritten,
       coalesce(sum(a.rows_moved), 0)::bigint AS moved, coalesce(sum(a.rows_removed), 0)::bigint AS removed,
       coalesce(sum(a.rows_set_aside), 0)::bigint AS set_aside, coalesce(sum(a.values_nulled), 0)::bigint AS nulled
FROM prop_trading_model.recon_attempts AS a CROSS JOIN LATERAL unnest(a.issues_found) AS found (code)
WHERE a.run_id = $1 AND a.outcome IS NOT NULL
GROUP BY found.code
ORDER BY accounts DESC, found.code
