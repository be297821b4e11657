-- name: get_run
-- One run, with the number of its waiting accounts, and of those among them that wait for the next
-- run or for confirmation.
SELECT r.*, a.waiting, a.untried
FROM "prop_trading_model".recon_runs AS r,
    LATERAL (
        SELECT count(*) AS waiting,
               count(*) FILTER
                   (WHERE postponed_until = 'infinity' OR r.only_confirmed AND NOT confirmed)
                   AS untried
        FROM "prop_trading_model".recon_attempts
        WHERE run_id = r.run_id AND outcome IS NULL
    ) AS a
WHERE r.run_id = $1

-- name: list_runs
-- Runs, newest first, at most $4: of the statuses ($1) and kinds ($2), null being any, and older
-- than run $3, if given. A run that no longer holds an account has the status that follows from the
-- rest of what it left ($5: what needs action), with acceptances that ended by a date ($6) not
-- counted.
SELECT run_id, kind, status, created_at, started_at, finished_at, stop_at, confirmed_at,
    history_from, error, total, unchanged, healed, explained, partial,
       failed, flapping, needs_confirmation, gone, found, skipped, requests, rows_inserted,
       rows_updated, rows_moved, rows_removed, rows_set_aside, newly_held,
       held_since, left_over,
    CASE WHEN needs_confirmation > 0 THEN (
        SELECT count(*) FROM "prop_trading_model".recon_attempts AS a
            JOIN "prop_trading_model".trade_recon AS t ON t.account_id = a.account_id
        WHERE a.run_id = r.run_id AND a.outcome = 'needs_confirmation'
            AND (t.reconciliation_status = 'needs_confirmation'
            OR t.reconciliation_status = 'explained' AND EXISTS (
            SELECT FROM "prop_trading_model".recon_accepted_issues AS h
            WHERE h.account_id = t.account_id AND h.ended_at IS NULL AND h.was_held
                AND h.until <= coalesce($6::date, current_date)
        ))
    ) ELSE 0 END AS still_held
FROM "prop_trading_model".recon_runs AS r
WHERE ($2::text[] IS NULL OR kind = ANY($2))
  AND ($1::text[] IS NULL OR CASE
      WHEN needs_confirmation = 0 OR status NOT IN ('needs_confirmation', 'completed_with_issues')
          OR EXISTS (
          SELECT FROM "prop_trading_model".recon_attempts AS a
              JOIN "prop_trading_model".trade_recon AS t ON t.account_id = a.account_id
          WHERE a.run_id = r.run_id AND a.outcome = 'needs_confirmation'
              AND (t.reconciliation_status = 'needs_confirmation'
              OR t.reconciliation_status = 'explained' AND EXISTS (
            SELECT FROM "prop_trading_model".recon_accepted_issues AS h
            WHERE h.account_id = t.account_id AND h.ended_at IS NULL AND h.was_held
                AND h.until <= coalesce($6::date, current_date)
        ))
      ) THEN status
      WHEN left_over IS NULL
          OR EXISTS (SELECT FROM jsonb_each_text(left_over) AS l WHERE l.key = ANY($5)
          AND l.value <> '0') THEN 'completed_with_issues'
      ELSE 'succeeded'
  END = ANY($1))
  AND ($3::uuid IS NULL
      OR (created_at, run_id)
      < (SELECT b.created_at, b.run_id FROM "prop_trading_model".recon_runs AS b
      WHERE b.run_id = $3))
ORDER BY created_at DESC, run_id DESC
LIMIT $4

-- name: get_run_held
-- The first accounts ($2 at most) that a run ($1) still holds on a date ($3), and why.
SELECT a.account_id, a.detail FROM "prop_trading_model".recon_attempts AS a
JOIN "prop_trading_model".trade_recon AS t ON t.account_id = a.account_id
WHERE a.run_id = $1 AND a.outcome = 'needs_confirmation'
    AND (t.reconciliation_status = 'needs_confirmation' OR t.reconciliation_status = 'explained'
    AND EXISTS (
    SELECT FROM "prop_trading_model".recon_accepted_issues AS h
    WHERE h.account_id = t.account_id AND h.ended_at IS NULL AND h.was_held
        AND h.until <= coalesce($3::date, current_date)
))
ORDER BY abs(a.position), a.account_id
LIMIT $2

-- name: count_pinned_rows
-- Number of rows that were pinned before a run ($1) ended and still are: of its named accounts,
-- including trades of theirs under another id or none; of all accounts if it names none.
SELECT count(*)
FROM "prop_trading_model".recon_pins AS p
JOIN "prop_trading_model".recon_runs AS r ON r.run_id = $1 AND p.pinned_at <= r.finished_at
WHERE jsonb_typeof(r.request -> 'account_ids') IS DISTINCT FROM 'array'
    OR r.request -> 'account_ids' ? p.account_id::text
    OR EXISTS (
        SELECT FROM "prop_trading_model".recon_identity AS i
        WHERE r.request -> 'account_ids' ? i.account_id
            AND p.table_name IN ('raw_trades_closed', 'raw_trades_open')
            AND (i.platform, i.broker, i.login)
            = (p.row_key[1], coalesce(p.row_key[2], ''), p.row_key[3])
            AND (p.date BETWEEN i.valid_from AND i.valid_to OR p.date >= i.open_from)
            AND NOT EXISTS (
                SELECT FROM "prop_trading_model".recon_identity AS h
                WHERE (h.login, h.platform, h.broker) = (i.login, i.platform, i.broker)
                    AND h.account_id = p.account_id
                    AND (p.date BETWEEN h.valid_from AND h.valid_to OR p.date >= h.open_from)
            )
    )

-- name: count_still_held
-- Number of accounts held by a run ($1) that still are: not recorded by a later run, nor accepted
-- until after a date ($2).
SELECT count(*) FROM "prop_trading_model".recon_attempts AS a JOIN "prop_trading_model".trade_recon AS t
    ON t.account_id = a.account_id
WHERE a.run_id = $1 AND a.outcome = 'needs_confirmation'
    AND (t.reconciliation_status = 'needs_confirmation' OR t.reconciliation_status = 'explained'
    AND EXISTS (
    SELECT FROM "prop_trading_model".recon_accepted_issues AS h
    WHERE h.account_id = t.account_id AND h.ended_at IS NULL AND h.was_held
        AND h.until <= coalesce($2::date, current_date)
))

-- name: get_gone_accounts
-- The first ($2) accounts that were deleted from trade_recon while they waited in the run.
SELECT account_id FROM "prop_trading_model".recon_attempts WHERE run_id = $1 AND outcome = 'gone'
    ORDER BY position, account_id LIMIT $2

-- name: get_run_result
-- Rows changed by a run ($1), summed by table, by table and date, and by table and broker
-- (`level`): rows inserted, rows with copies, and rows set aside or stored with NULL that it was
-- the last to meet.
SELECT CASE WHEN grouping(date) = 0 THEN 'date' WHEN grouping(broker) = 0 THEN 'broker'
    ELSE 'table' END AS level, table_name AS table, date, broker,
       sum(inserted)::bigint AS inserted, sum(overwritten)::bigint AS overwritten,
       sum(moved)::bigint AS moved, sum(removed)::bigint AS removed,
       sum(set_aside)::bigint AS set_aside, sum(nulled)::bigint AS nulled
FROM (
    SELECT table_name, date, broker, rows AS inserted, 0 AS overwritten, 0 AS moved, 0 AS removed,
        0 AS set_aside, 0 AS nulled
    FROM "prop_trading_model".recon_run_inserts WHERE run_id = $1
    UNION ALL
    SELECT table_name, date, row_data ->> 'broker', 0, (reason = 'overwritten')::integer,
        (reason = 'moved')::integer,
           (reason IN ('removed', 'placeholder'))::integer, 0, 0
    FROM "prop_trading_model".recon_removed_rows WHERE run_id = $1
    UNION ALL
    SELECT table_name, date, row_data ->> 'broker', 0, 0, 0, 0, CASE WHEN is_stored THEN 0
        ELSE copies END, CASE WHEN is_stored THEN copies ELSE 0 END
    FROM (SELECT *, starts_with(reason, 'stored with') AS is_stored
        FROM "prop_trading_model".recon_set_aside_rows WHERE run_id = $1) AS a
) AS rows
GROUP BY GROUPING SETS ((table_name), (table_name, date), (table_name, broker))
ORDER BY level, table_name, date, broker

-- name: get_run_issues
-- Issues that a run ($1) found: number of accounts, of those without it by now, and what was done
-- for them; an account counts for each of its issues.
SELECT found.code AS issue, count(*) AS accounts,
    count(*) FILTER (WHERE NOT found.code = ANY(a.issues_left)) AS closed,
       coalesce(sum(a.rows_inserted), 0)::bigint AS inserted,
       coalesce(sum(a.rows_updated), 0)::bigint AS overwritten,
       coalesce(sum(a.rows_moved), 0)::bigint AS moved,
       coalesce(sum(a.rows_removed), 0)::bigint AS removed,
       coalesce(sum(a.rows_set_aside), 0)::bigint AS set_aside,
       coalesce(sum(a.values_nulled), 0)::bigint AS nulled
FROM "prop_trading_model".recon_attempts AS a CROSS
    JOIN LATERAL unnest(a.issues_found) AS found (code)
WHERE a.run_id = $1 AND a.outcome IS NOT NULL
GROUP BY found.code
ORDER BY accounts DESC, found.code

-- name: get_sole_run
-- The active run beside which no other full run may be active.
SELECT run_id, status FROM "prop_trading_model".recon_runs WHERE is_sole
    AND status IN ('queued', 'running', 'paused')
