-- name: record_attempts
-- Record outcomes of accounts and all work of the run; $2 are the seconds of this batch alone.
UPDATE "prop_trading_model".recon_attempts AS a
SET outcome = r.outcome, finished_at = now(), seconds = coalesce(a.seconds, 0) + $2,
    own_seconds = r.own_seconds, own_requests = r.own_requests, requests = r.requests,
    rows_inserted = r.inserted, rows_updated = r.updated,
    rows_moved = r.moved, rows_removed = r.removed, rows_set_aside = r.set_aside,
    values_nulled = r.nulled,
    issues_found = ARRAY(SELECT jsonb_array_elements_text(r.found)),
    issues_left = ARRAY(SELECT jsonb_array_elements_text(r.remaining)), detail = r.detail,
    held = nullif(r.held, 'null'), compared = nullif(r.compared, 'null'), seen = r.seen,
    confirmed = a.confirmed AND r.outcome <> 'needs_confirmation'
FROM jsonb_to_recordset($3) AS r (
    account_id text, outcome text, own_seconds double precision, own_requests double precision,
    requests integer, inserted bigint, updated bigint, moved bigint, removed bigint,
    set_aside bigint, nulled bigint,
    found jsonb, remaining jsonb, detail text, held jsonb, compared jsonb, seen text
)
WHERE a.run_id = $1 AND a.account_id = r.account_id

-- name: record_accounts
-- Record the state of accounts after a run and release them. Waiting times count from $3, if given.
UPDATE "prop_trading_model".trade_recon AS t
SET issues = coalesce(r.issues, t.issues), last_checked = now(),
    last_reconciled = CASE WHEN r.outcome IN ('unchanged', 'healed', 'explained') THEN now()
        ELSE t.last_reconciled END,
    -- Capped at the maximum of smallint, which the column may be.
    failed_attempts = CASE WHEN r.failing THEN t.failed_attempts + CASE
        WHEN t.failed_attempts < 32767 THEN 1 ELSE 0 END
        WHEN r.outcome IN ('unchanged', 'healed', 'explained') THEN 0
        ELSE t.failed_attempts END,
    last_failed_attempt = CASE WHEN r.failing THEN now() ELSE t.last_failed_attempt END,
    next_attempt_at = coalesce(now() + (r.next_attempt_at - $3::timestamptz), r.next_attempt_at),
    reconciliation_status = CASE
        WHEN r.failing AND t.failed_attempts >= $2 - 1 THEN 'exhausted'
        WHEN r.failing THEN 'failed'
        WHEN r.outcome IN ('unchanged', 'healed') THEN 'reconciled'
        WHEN r.outcome IN ('explained', 'flapping', 'needs_confirmation') THEN r.outcome
        ELSE 'needs_reconciliation'
    END,
    explained_as = CASE WHEN r.outcome = 'explained' THEN r.signature END,
    explained_times = r.explained_times, ask_again_at = r.ask_again_at,
    whole_copy = CASE
        WHEN r.is_whole
        THEN (SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('"prop_trading_model".recon_removed_rows', 'removed_id')::regclass), 0)) ELSE t.whole_copy END,
    claim_id = NULL, claimed_by = NULL, claimed_at = NULL
FROM jsonb_to_recordset($1)
    AS r (account_id text, outcome text, issues jsonb, failing boolean, signature text,
    next_attempt_at timestamptz,
                                explained_times integer, ask_again_at timestamptz, is_whole boolean)
WHERE t.account_id = r.account_id

-- name: record_unchanged
-- Record outcome and state of unchanged accounts ($3) and release them.
WITH attempts AS (
    UPDATE "prop_trading_model".recon_attempts
    SET outcome = 'unchanged', finished_at = now(), seconds = coalesce(seconds, 0) + $2,
        own_seconds = 0, own_requests = 0, requests = 0, rows_inserted = 0, rows_updated = 0,
        rows_moved = 0, rows_removed = 0, rows_set_aside = 0, values_nulled = 0,
        issues_found = '{}', issues_left = '{}', detail = NULL
    WHERE run_id = $1 AND account_id = ANY($3::text[])
)
UPDATE "prop_trading_model".trade_recon
SET issues = '[]', last_checked = now(), last_reconciled = now(), failed_attempts = 0,
    next_attempt_at = NULL,
    reconciliation_status = 'reconciled', explained_as = NULL, explained_times = 0,
    ask_again_at = NULL, claim_id = NULL, claimed_by = NULL, claimed_at = NULL,
    whole_copy = (SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('"prop_trading_model".recon_removed_rows', 'removed_id')::regclass), 0))
WHERE account_id = ANY($3::text[])

-- name: postpone_accounts
-- Return accounts to the end of their run's queue with findings and effort so far, and release them.
-- They may be claimed again after $4 seconds, in a run of named accounts, for which people wait,
-- after $5; untried ones not by this run.
WITH postponed AS (
    UPDATE "prop_trading_model".recon_attempts AS a
    SET postponed_until = CASE
            WHEN r.untried THEN 'infinity'
            ELSE now() + make_interval(secs => CASE
                WHEN run.request ->> 'account_ids' IS NULL THEN $4::double precision
                ELSE $5::double precision END)
        END,
        finished_at = CASE WHEN r.untried THEN now() END, detail = CASE
            WHEN r.untried THEN r.detail END,
        seconds = $2, own_seconds = r.own_seconds, own_requests = r.own_requests,
        requests = r.requests, rows_inserted = r.inserted, rows_updated = r.updated,
        rows_moved = r.moved, rows_removed = r.removed, rows_set_aside = r.set_aside,
        values_nulled = r.nulled,
        issues_found = ARRAY(SELECT jsonb_array_elements_text(r.found))
    FROM jsonb_to_recordset($3) AS r (
        account_id text, own_seconds double precision, own_requests double precision,
        requests integer, inserted bigint, updated bigint, moved bigint, removed bigint,
        set_aside bigint,
        nulled bigint, found jsonb, untried boolean, detail text
    ), "prop_trading_model".recon_runs AS run
    WHERE a.run_id = $1 AND a.account_id = r.account_id AND run.run_id = $1
    RETURNING a.account_id
)
UPDATE "prop_trading_model".trade_recon AS t
SET claim_id = NULL, claimed_by = NULL, claimed_at = NULL
FROM postponed AS p
WHERE t.account_id = p.account_id

-- name: count_batch
-- Add a batch's outcomes to its run, in the transaction that releases its accounts: none counts
-- twice.
UPDATE "prop_trading_model".recon_runs
SET unchanged = unchanged + $2, healed = healed + $3, explained = explained + $4,
    partial = partial + $5, failed = failed + $6,
    requests = requests + $7, rows_inserted = rows_inserted + $8, rows_updated = rows_updated + $9,
    rows_moved = rows_moved + $10,
    rows_removed = rows_removed + $11, rows_set_aside = rows_set_aside + $12,
    values_nulled = values_nulled + $13, postponed = postponed + $14,
    flapping = flapping + $15, needs_confirmation = needs_confirmation + $16,
    rows_compared = rows_compared + $17,
    newly_held = newly_held + $18,
    -- A batch that completes accounts after its run was ended moves that end.
    finished_at = CASE WHEN finished_at IS NOT NULL
        AND $2::bigint + $3::bigint + $4::bigint + $5::bigint + $6::bigint + $15::bigint
        + $16::bigint > 0
                       THEN now() ELSE finished_at END
WHERE run_id = $1

-- name: add_compared
-- Add figures of row comparisons ($2: by table) to a run, in the transaction that records its
-- accounts.
UPDATE "prop_trading_model".recon_runs AS r
SET compared = (
    SELECT jsonb_object_agg(coalesce(o.table_name, n.table_name), jsonb_build_object(
        'rows', coalesce((o.figures ->> 'rows')::bigint, 0)
            + coalesce((n.figures ->> 'rows')::bigint, 0),
        'columns', greatest((o.figures ->> 'columns')::integer, (n.figures ->> 'columns')::integer),
        'differing', coalesce((o.figures ->> 'differing')::bigint, 0)
            + coalesce((n.figures ->> 'differing')::bigint, 0)
    ))
    FROM jsonb_each(r.compared) AS o (table_name, figures)
    FULL JOIN jsonb_each($2::jsonb) AS n (table_name, figures) USING (table_name)
)
WHERE run_id = $1

-- name: get_rewritten
-- Rows of accounts ($1) rewritten and removed since these were last whole, without restored rows
-- and rows that only received an account id.
SELECT t.account_id::text AS account_id, c.rows, c.removed
FROM "prop_trading_model".trade_recon AS t
CROSS JOIN LATERAL (
    SELECT count(*) AS rows, count(*) FILTER (WHERE reason = 'removed') AS removed
    FROM "prop_trading_model".recon_removed_rows AS r
    WHERE r.account_id = t.account_id AND r.removed_id > t.whole_copy AND r.run_id IS NOT NULL
        AND r.restored_at IS NULL
      AND NOT (r.reason = 'overwritten' AND r.row_data ->> 'account_id' IS NULL)
) AS c
WHERE t.account_id = ANY($1::text[]) AND c.rows > 0
