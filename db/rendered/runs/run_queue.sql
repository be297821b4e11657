-- name: take_preparation
-- Take over the preparation of a run, unless a worker with a heartbeat has it.
UPDATE "prop_trading_model".recon_runs AS r
SET prepared_by = $2, status = 'running', started_at = coalesce(started_at, now()),
    covers_until = now(),
    covers_horizon = pg_snapshot_xmin(pg_current_snapshot())::text::bigint
WHERE run_id = $1 AND status IN ('queued', 'running') AND prepared_at IS NULL
    AND (stop_at IS NULL OR stop_at > now())
  AND (
      prepared_by IS NULL OR prepared_by = $2
      OR NOT EXISTS (
          SELECT FROM "prop_trading_model".recon_workers AS w
          WHERE w.worker_id = r.prepared_by AND w.heartbeat_at > now() - make_interval(secs => $3)
      )
  )
RETURNING run_id

-- name: enqueue_mismatched
-- Queue the accounts of a full ($2 false) or retry run: mismatched ones, the longest unchecked
-- first, explained ones last. A full run leaves accounts that back off or flap, and exhausted ones
-- for a day after their last failure. {{among}} limits them.
WITH mismatched AS (
    SELECT account_id, last_checked, reconciliation_status = 'explained' AS is_explained,
        NOT $2::boolean AND CASE
            WHEN reconciliation_status = 'exhausted'
                THEN coalesce(last_failed_attempt > now() - interval '1 day', true)
            ELSE coalesce(next_attempt_at > now(), false)
        END AS waits
    FROM "prop_trading_model".trade_recon
    JOIN "prop_trading_model".v_recon_mismatched USING (account_id)
    WHERE {{among}}
), queued AS (
    INSERT INTO "prop_trading_model".recon_attempts (run_id, account_id, position)
    SELECT $1, account_id,
        row_number() OVER (ORDER BY is_explained, last_checked NULLS FIRST, account_id)
    FROM mismatched
    WHERE NOT waits
    ORDER BY is_explained, last_checked NULLS FIRST, account_id
    LIMIT $3
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT (SELECT count(*) FROM mismatched WHERE NOT waits)
    > (SELECT count(*) FROM queued) AS is_limited,
       greatest((SELECT count(*) FROM mismatched WHERE NOT waits) - $3::bigint, 0) AS beyond,
       (SELECT count(*) FROM mismatched WHERE waits) AS skipped

-- name: enqueue_accounts
-- Queue named accounts, in the order given.
INSERT INTO "prop_trading_model".recon_attempts (run_id, account_id, position)
SELECT $1, account_id, ordinal
    FROM unnest($2::text[]) WITH ORDINALITY AS named (account_id, ordinal)
ON CONFLICT DO NOTHING

-- name: enqueue_audited
-- Queue the accounts of an audit: of those compared ($2, null: all, except $4, which were not
-- answered) the mismatched ones, those that the audit found different, and those that it reads
-- again, at most $3, without those that back off (exhausted ones are taken). With $5 all are
-- queued, as every row is compared. Returns how many were equal, and how many are left out.
WITH compared AS (
    SELECT t.account_id, t.last_checked,
           m.account_id IS NOT NULL
               OR EXISTS (SELECT FROM "prop_trading_model".recon_drift AS d WHERE d.run_id = $1
                   AND d.account_id = t.account_id)
               OR EXISTS (SELECT FROM "prop_trading_model".recon_doubted_dates AS d
                   WHERE d.read_run = $1 AND d.account_id = t.account_id)
               OR $5::boolean AS different,
           $2::text[] IS NULL AND CASE reconciliation_status
               WHEN 'exhausted' THEN false
               -- What flaps is held back from runs over all, and taken by one audit a day, also by
               -- one that comes a little early.
               WHEN 'flapping'
                   THEN coalesce(last_checked > now() - interval '12 hours'
                   AND next_attempt_at > now(), false)
               ELSE coalesce(next_attempt_at > now(), false)
           END AS waits
    FROM "prop_trading_model".trade_recon AS t
    LEFT JOIN "prop_trading_model".v_recon_mismatched AS m ON m.account_id = t.account_id
    WHERE ($2::text[] IS NULL OR t.account_id = ANY($2::text[]))
        AND NOT t.account_id = ANY($4::text[])
), queued AS (
    INSERT INTO "prop_trading_model".recon_attempts (run_id, account_id, position)
    SELECT $1, account_id, row_number() OVER (ORDER BY last_checked NULLS FIRST, account_id)
    FROM compared
    WHERE different AND NOT waits
    ORDER BY last_checked NULLS FIRST, account_id
    LIMIT $3
    ON CONFLICT DO NOTHING
), equal AS MATERIALIZED (
    SELECT t.account_id FROM "prop_trading_model".trade_recon AS t
        JOIN compared AS c USING (account_id)
    WHERE NOT c.different
    -- In one order, so that no two of us wait for each other. One that someone holds is equal as
    -- well, and keeps its state.
    ORDER BY t.account_id
    FOR NO KEY UPDATE OF t SKIP LOCKED
), checked AS (
    UPDATE "prop_trading_model".trade_recon AS t
    SET last_checked = now(), last_reconciled = now(), reconciliation_status = 'reconciled',
        failed_attempts = 0, next_attempt_at = NULL,
        whole_copy = (SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('"prop_trading_model".recon_removed_rows', 'removed_id')::regclass), 0))
    FROM equal AS e
    WHERE e.account_id = t.account_id
)
SELECT
    count(*) FILTER (WHERE NOT different) AS equal,
    count(*) FILTER (WHERE different)
        - least(count(*) FILTER (WHERE different AND NOT waits),
        coalesce($3::bigint, 9223372036854775807)) AS skipped
FROM compared

-- name: take_doubts
-- Have the audit $1 read again the dates of accounts ($2, null: all) on which runs lowered figures
-- within the last week, at most $3, those that waited longest first. Older ones are believed.
WITH believed AS (
    DELETE FROM "prop_trading_model".recon_doubted_dates WHERE noted_at < now() - interval '7 days'
), taken AS MATERIALIZED (
    SELECT account_id, date
    FROM "prop_trading_model".recon_doubted_dates
    WHERE noted_at >= now() - interval '7 days'
        AND ($2::text[] IS NULL OR account_id = ANY($2::text[]))
    ORDER BY read_at NULLS FIRST, account_id, date
    LIMIT $3
)
UPDATE "prop_trading_model".recon_doubted_dates AS d
SET read_at = now(), read_run = $1
FROM taken
WHERE d.account_id = taken.account_id AND d.date = taken.date

-- name: count_accounts
-- Number of known accounts.
SELECT count(*) FROM "prop_trading_model".trade_recon

-- name: get_oldest_accounts
-- Accounts that were unchecked for the longest time.
SELECT account_id FROM "prop_trading_model".trade_recon ORDER BY last_checked NULLS FIRST, account_id
    LIMIT $1

-- name: hold_preparation
-- Keep the preparation until the end of the transaction; no row if another worker has it by now, or
-- the run was paused or ended.
SELECT run_id FROM "prop_trading_model".recon_runs WHERE run_id = $1 AND prepared_by = $2
    AND prepared_at IS NULL AND status = 'running' FOR NO KEY UPDATE

-- name: note_given_ids
-- Record as healed accounts (of $2, null: all; not $3) that the run ($1) need not take: ids were
-- given back to rows of theirs while it was prepared, and they agree by now. Returns their number.
WITH given AS (
    SELECT account_id::text AS account_id, count(*) AS rows,
           array_agg(DISTINCT CASE
               WHEN row_data ->> 'account_id' IS NOT NULL THEN 'foreign_account_id'
               WHEN table_name = 'raw_trades_open' THEN 'null_account_id_open_trades'
               WHEN table_name = 'raw_trades_closed' THEN 'null_account_id_closed_trades'
               ELSE 'foreign_account_id'
           END) AS found
    FROM "prop_trading_model".recon_removed_rows
    WHERE run_id = $1 AND reason = 'overwritten'
    GROUP BY account_id
), noted AS (
    INSERT INTO "prop_trading_model".recon_attempts
        (run_id, account_id, position, outcome, finished_at, own_seconds, own_requests, requests,
            rows_inserted, rows_updated, rows_moved, rows_removed,
         rows_set_aside, values_nulled, issues_found, issues_left)
    SELECT $1, t.account_id, 0, 'healed', now(), 0, 0, 0, 0, g.rows, 0, 0, 0, 0, g.found, '{}'
    FROM given AS g
    JOIN "prop_trading_model".trade_recon AS t ON t.account_id = g.account_id
    WHERE ($2::text[] IS NULL OR t.account_id = ANY($2::text[]))
        AND NOT t.account_id = ANY($3::text[])
      AND NOT EXISTS
          (SELECT FROM "prop_trading_model".v_recon_mismatched AS m WHERE m.account_id = t.account_id)
      -- What an audit found different is not healed by that, though it may wait for a later run.
      AND NOT EXISTS
          (SELECT FROM "prop_trading_model".recon_drift AS d WHERE d.run_id = $1
          AND d.account_id = t.account_id)
      AND NOT EXISTS
          (SELECT FROM "prop_trading_model".recon_doubted_dates AS d WHERE d.read_run = $1
          AND d.account_id = t.account_id)
    ON CONFLICT (run_id, account_id) DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM noted

-- name: finish_preparation
-- Record that the run's accounts are known, and $6 of them healed, so that batches may begin; the
-- same when repeated after a crash. $5: it covers whatever was written before.
UPDATE "prop_trading_model".recon_runs
SET prepared_at = now(), skipped = $2, unchanged = $3, healed = $6, maintenance = $4,
    covers_until = CASE WHEN $5::boolean THEN covers_until END,
    known_accounts = (SELECT count(*) FROM "prop_trading_model".trade_recon),
    total = $3 + (SELECT count(*) FROM "prop_trading_model".recon_attempts WHERE run_id = $1)
WHERE run_id = $1
