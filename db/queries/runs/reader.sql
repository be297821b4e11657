-- name: get_run
-- One run as it stands, with the number of accounts that still wait, and of those among them that
-- wait for the next run or for somebody who confirms them.
SELECT r.*, a.waiting, a.untried
FROM prop_trading_model.recon_runs AS r,
    LATERAL (
        SELECT count(*) AS waiting,
               count(*) FILTER
                   (WHERE postponed_until = 'infinity' OR r.only_confirmed AND NOT confirmed)
                   AS untried
        FROM prop_trading_model.recon_attempts
        WHERE run_id = r.run_id AND outcome IS NULL
    ) AS a
WHERE r.run_id = $1

-- name: list_runs
-- Runs, newest first, at most $4: those of the states ($1) and kinds ($2) named, null being any,
-- and older than run $3, where that is given. A run that holds no account any more is in the state
-- that follows from the rest of what it left, on which of $5 somebody must act, where no acceptance
-- that ended by a date ($6) counts.
SELECT run_id, kind, status, created_at, started_at, finished_at, stop_at, confirmed_at,
    history_from, error, total, unchanged, healed, explained, partial,
       failed, flapping, needs_confirmation, gone, found, skipped, requests, rows_inserted,
       rows_updated, rows_moved, rows_removed, rows_set_aside, newly_held,
       held_since, left_over,
    CASE WHEN needs_confirmation > 0 THEN (
        SELECT count(*) FROM prop_trading_model.recon_attempts AS a
            JOIN prop_trading_model.trade_recon AS t ON t.account_id = a.account_id
        WHERE a.run_id = r.run_id AND a.outcome = 'needs_confirmation'
            AND (t.reconciliation_status = 'needs_confirmation'
            OR t.reconciliation_status = 'explained' AND EXISTS (
            SELECT FROM prop_trading_model.recon_accepted_issues AS h
            WHERE h.account_id = t.account_id AND h.ended_at IS NULL AND h.was_held
                AND h.until <= coalesce($6::date, current_date)
        ))
    ) ELSE 0 END AS still_held
FROM prop_trading_model.recon_runs AS r
WHERE ($2::text[] IS NULL OR kind = ANY($2))
  AND ($1::text[] IS NULL OR CASE
      WHEN needs_confirmation = 0 OR status NOT IN ('needs_confirmation', 'completed_with_issues')
          OR EXISTS (
          SELECT FROM prop_trading_model.recon_attempts AS a
              JOIN prop_trading_model.trade_recon AS t ON t.account_id = a.account_id
          WHERE a.run_id = r.run_id AND a.outcome = 'needs_confirmation'
              AND (t.reconciliation_status = 'needs_confirmation'
              OR t.reconciliation_status = 'explained' AND EXISTS (
            SELECT FROM prop_trading_model.recon_accepted_issues AS h
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
      < (SELECT b.created_at, b.run_id FROM prop_trading_model.recon_runs AS b
      WHERE b.run_id = $3))
ORDER BY created_at DESC, run_id DESC
LIMIT $4

-- name: get_run_held
-- The first accounts ($2 at most) that a run ($1) holds still on a date ($3), and why.
SELECT a.account_id, a.detail FROM prop_trading_model.recon_attempts AS a
JOIN prop_trading_model.trade_recon AS t ON t.account_id = a.account_id
WHERE a.run_id = $1 AND a.outcome = 'needs_confirmation'
    AND (t.reconciliation_status = 'needs_confirmation' OR t.reconciliation_status = 'explained'
    AND EXISTS (
    SELECT FROM prop_trading_model.recon_accepted_issues AS h
    WHERE h.account_id = t.account_id AND h.ended_at IS NULL AND h.was_held
        AND h.until <= coalesce($3::date, current_date)
))
ORDER BY abs(a.position), a.account_id
LIMIT $2

-- name: count_pinned_rows
-- How many rows are pinned that were so before a run ($1) ended, of its named accounts, also trades
-- of theirs that stand under another id or none; of all if it names none.
SELECT count(*)
FROM prop_trading_model.recon_pins AS p
JOIN prop_trading_model.recon_runs AS r ON r.run_id = $1 AND p.pinned_at <= r.finished_at
WHERE jsonb_typeof(r.request -> 'account_ids') IS DISTINCT FROM 'array'
    OR r.request -> 'account_ids' ? p.account_id::text
    OR EXISTS (
        SELECT FROM prop_trading_model.recon_identity AS i
        WHERE r.request -> 'account_ids' ? i.account_id
            AND p.table_name IN ('raw_trades_closed', 'raw_trades_open')
            AND (i.platform, i.broker, i.login)
            = (p.row_key[1], coalesce(p.row_key[2], ''), p.row_key[3])
            AND (p.date BETWEEN i.valid_from AND i.valid_to OR p.date >= i.open_from)
            AND NOT EXISTS (
                SELECT FROM prop_trading_model.recon_identity AS h
                WHERE (h.login, h.platform, h.broker) = (i.login, i.platform, i.broker)
                    AND h.account_id = p.account_id
                    AND (p.date BETWEEN h.valid_from AND h.valid_to OR p.date >= h.open_from)
            )
    )

-- name: count_still_held
-- How many of the accounts that a run ($1) held are held to this moment: a later run may have
-- recorded some, or somebody accepted them until after a date ($2).
SELECT count(*) FROM prop_trading_model.recon_attempts AS a JOIN prop_trading_model.trade_recon AS t
    ON t.account_id = a.account_id
WHERE a.run_id = $1 AND a.outcome = 'needs_confirmation'
    AND (t.reconciliation_status = 'needs_confirmation' OR t.reconciliation_status = 'explained'
    AND EXISTS (
    SELECT FROM prop_trading_model.recon_accepted_issues AS h
    WHERE h.account_id = t.account_id AND h.ended_at IS NULL AND h.was_held
        AND h.until <= coalesce($2::date, current_date)
))

-- name: get_gone_accounts
-- The first ($2) accounts that were deleted from trade_recon while they waited in the run.
SELECT account_id FROM prop_trading_model.recon_attempts WHERE run_id = $1 AND outcome = 'gone'
    ORDER BY position, account_id LIMIT $2

-- name: get_run_result
-- What a run ($1) did to rows, summed up by table, by table and date, and by table and broker: rows
-- that it inserted, those of which it kept copies, and those that were set aside or stored with
-- NULL in place of a value when it met them last. `level` tells of which of the three a line is.
SELECT CASE WHEN grouping(date) = 0 THEN 'date' WHEN grouping(broker) = 0 THEN 'broker'
    ELSE 'table' END AS level, table_name AS table, date, broker,
       sum(inserted)::bigint AS inserted, sum(overwritten)::bigint AS overwritten,
       sum(moved)::bigint AS moved, sum(removed)::bigint AS removed,
       sum(set_aside)::bigint AS set_aside, sum(nulled)::bigint AS nulled
FROM (
    SELECT table_name, date, broker, rows AS inserted, 0 AS overwritten, 0 AS moved, 0 AS removed,
        0 AS set_aside, 0 AS nulled
    FROM prop_trading_model.recon_run_inserts WHERE run_id = $1
    UNION ALL
    SELECT table_name, date, row_data ->> 'broker', 0, (reason = 'overwritten')::integer,
        (reason = 'moved')::integer,
           (reason IN ('removed', 'placeholder'))::integer, 0, 0
    FROM prop_trading_model.recon_removed_rows WHERE run_id = $1
    UNION ALL
    SELECT table_name, date, row_data ->> 'broker', 0, 0, 0, 0, CASE WHEN is_stored THEN 0
        ELSE copies END, CASE WHEN is_stored THEN copies ELSE 0 END
    FROM (SELECT *, starts_with(reason, 'stored with') AS is_stored
        FROM prop_trading_model.recon_set_aside_rows WHERE run_id = $1) AS a
) AS rows
GROUP BY GROUPING SETS ((table_name), (table_name, date), (table_name, broker))
ORDER BY level, table_name, date, broker

-- name: get_run_issues
-- The issues that a run ($1) found: of how many accounts, of how many it is open no more, and what
-- was done for these accounts; an account of several issues counts for each.
SELECT found.code AS issue, count(*) AS accounts,
    count(*) FILTER (WHERE NOT found.code = ANY(a.issues_left)) AS closed,
       coalesce(sum(a.rows_inserted), 0)::bigint AS inserted,
       coalesce(sum(a.rows_updated), 0)::bigint AS overwritten,
       coalesce(sum(a.rows_moved), 0)::bigint AS moved,
       coalesce(sum(a.rows_removed), 0)::bigint AS removed,
       coalesce(sum(a.rows_set_aside), 0)::bigint AS set_aside,
       coalesce(sum(a.values_nulled), 0)::bigint AS nulled
FROM prop_trading_model.recon_attempts AS a CROSS
    JOIN LATERAL unnest(a.issues_found) AS found (code)
WHERE a.run_id = $1 AND a.outcome IS NOT NULL
GROUP BY found.code
ORDER BY accounts DESC, found.code

-- name: get_sole_run
-- The active run that wants to be the only one of its sort.
SELECT run_id, status FROM prop_trading_model.recon_runs WHERE is_sole
    AND status IN ('queued', 'running', 'paused')
