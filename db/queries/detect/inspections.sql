-- name: enqueue_inspected
-- Queue an inspection: those of the named accounts ($2, null: all) that disagree or have open
-- issues, at most $3, longest unchecked first, and unreadable ones ($4). Returns the numbers of
-- others and of those left out.
WITH wanted AS (
    SELECT t.account_id, t.last_checked, m.account_id IS NOT NULL
        OR t.account_id = ANY ($4::text[]) AS is_open
    FROM prop_trading_model.trade_recon AS t
    LEFT JOIN (
        SELECT account_id FROM prop_trading_model.v_recon_mismatched WHERE $2::text[] IS NULL
            OR account_id = ANY ($2::text[])
    ) AS m ON m.account_id = t.account_id
    WHERE $2::text[] IS NULL OR t.account_id = ANY ($2::text[])
), queued AS (
    INSERT INTO prop_trading_model.recon_attempts (run_id, account_id, position)
    SELECT $1, account_id, row_number() OVER (ORDER BY last_checked NULLS FIRST, account_id)
    FROM wanted
    WHERE is_open
    ORDER BY last_checked NULLS FIRST, account_id
    LIMIT $3
    ON CONFLICT DO NOTHING
)
SELECT
    count(*) FILTER (WHERE NOT is_open) AS equal,
    greatest(count(*) FILTER (WHERE is_open) - coalesce($3::bigint, 9223372036854775807), 0)
        AS skipped
FROM wanted

-- name: note_few_hours
-- Record, for information, dates with many trades in one hourly row, of accounts ($2, null: all) in
-- an inspection ($1).
INSERT INTO prop_trading_model.recon_inspection_figures (run_id, figures)
SELECT $1, jsonb_build_object(
    'issues', jsonb_build_object('suspiciously_few_hours', jsonb_build_object(
        'accounts', count(*), 'severity', 5, 'sample',
        to_jsonb((array_agg(account_id::text ORDER BY account_id))[1:5])
    )),
    'tables', jsonb_build_object('suspiciously_few_hours',
        jsonb_build_object('raw_metrics_hourly', count(*)))
)
FROM prop_trading_model.recon_few_hours
WHERE $2::text[] IS NULL OR account_id = ANY ($2::text[])
HAVING count(*) > 0

-- name: get_everywhere
-- Number of accounts with a daily row, by date from $1 on; none unless some account counts more in
-- alltime than in all other tables, which alone needs it.
SELECT date, count(*) AS accounts
FROM prop_trading_model.raw_metrics_daily
WHERE date BETWEEN greatest('1970-01-01', $1::date) AND '2199-12-31'
    AND EXISTS (
        SELECT FROM prop_trading_model.trade_recon
            WHERE num_trades_alltime
            > coalesce(greatest(num_trades_daily, num_trades_hourly, num_trades_raw_closed), 0)
    )
GROUP BY date

-- name: get_brokers
-- Past and present brokers of accounts ($1).
SELECT account_id, array_agg(DISTINCT broker) AS brokers FROM prop_trading_model.recon_identity
    WHERE account_id = ANY ($1::text[]) GROUP BY account_id

-- name: release_inspected
-- Replace issues of inspected accounts ($1; null: keep open ones) held by claim $2, of judged codes
-- ($3), and release them. Nothing else changes, except that an explained account with news is
-- explained no more.
UPDATE prop_trading_model.trade_recon AS t
SET issues = CASE WHEN r.issues IS NULL THEN t.issues ELSE coalesce((
        SELECT jsonb_agg(issue ORDER BY issue ->> 'severity', issue ->> 'type')
        FROM (
            SELECT issue FROM jsonb_array_elements(CASE jsonb_typeof(t.issues)
                WHEN 'array' THEN t.issues ELSE '[]' END) AS kept (issue)
            WHERE NOT coalesce(issue ->> 'type' = ANY ($3::text[])
                OR r.issues @> jsonb_build_array(jsonb_build_object('type', issue ->> 'type')),
                false)
            UNION ALL
            SELECT jsonb_array_elements(r.issues)
        ) AS merged
    ), '[]') END,
    reconciliation_status = CASE WHEN r.is_news
        AND t.reconciliation_status = 'explained' THEN 'needs_reconciliation'
        ELSE t.reconciliation_status END,
    claim_id = NULL, claimed_by = NULL, claimed_at = NULL
FROM jsonb_to_recordset($1) AS r (account_id text, issues jsonb, is_news boolean)
WHERE t.account_id = r.account_id AND t.claim_id = $2

-- name: record_inspected
-- Record results of an inspection ($1) for accounts ($3), whose batch took $2 seconds, and count
-- their outcomes.
WITH recorded AS (
    UPDATE prop_trading_model.recon_attempts AS a
    SET outcome = r.outcome, finished_at = now(), seconds = coalesce(a.seconds, 0) + $2,
        own_seconds = 0, requests = 0, rows_inserted = 0, rows_updated = 0,
        rows_moved = 0, rows_removed = 0, rows_set_aside = 0, values_nulled = 0, detail = r.detail,
        seen = r.seen,
        issues_found = ARRAY(SELECT jsonb_array_elements_text(r.codes)),
        issues_left = ARRAY(SELECT jsonb_array_elements_text(r.codes))
    FROM jsonb_to_recordset($3)
        AS r (account_id text, outcome text, codes jsonb, detail text, seen text)
    -- By key: only the holder of the claim records an account.
    WHERE a.run_id = $1 AND a.account_id = r.account_id
    RETURNING a.outcome
)
UPDATE prop_trading_model.recon_runs
SET unchanged = unchanged + (SELECT count(*) FROM recorded WHERE outcome = 'unchanged'),
    explained = explained + (SELECT count(*) FROM recorded WHERE outcome = 'explained'),
    failed = failed + (SELECT count(*) FROM recorded WHERE outcome = 'failed'),
    found = found + (SELECT count(*) FROM recorded WHERE outcome = 'found'),
    -- A batch that completes after its run was ended moves that end.
    finished_at = CASE WHEN finished_at IS NOT NULL AND EXISTS (SELECT FROM recorded) THEN now()
        ELSE finished_at END
WHERE run_id = $1

-- name: note_inspection_figures
-- Record figures of a batch of an inspection ($1).
INSERT INTO prop_trading_model.recon_inspection_figures (run_id, figures) VALUES ($1, $2)

-- name: get_inspection_figures
-- Figures of an inspection's batches.
SELECT figures FROM prop_trading_model.recon_inspection_figures WHERE run_id = $1
    ORDER BY figures_id

-- name: list_inspected
-- Accounts of an inspection ($1) with outcomes ($2), by id after $3, at most $4: issues, and when
-- each was opened (null: closed since).
SELECT a.account_id, a.outcome, a.detail, f.code AS issue, h.opened_at
FROM (
    SELECT account_id, outcome, detail, issues_found
    FROM prop_trading_model.recon_attempts
    WHERE run_id = $1 AND outcome = ANY ($2::text[]) AND account_id > coalesce($3::text, '')
    ORDER BY account_id
    LIMIT $4
) AS a
LEFT JOIN LATERAL unnest(a.issues_found) AS f (code) ON true
-- At most one is open; the limit makes the planner look up the page's keys instead of reading all
-- open issues.
LEFT JOIN LATERAL (
    SELECT opened_at FROM prop_trading_model.recon_issue_history WHERE account_id = a.account_id
        AND type = f.code AND closed_at IS NULL LIMIT 1
) AS h ON true
ORDER BY a.account_id, f.code

-- name: get_undetailed_accounts
-- Disagreeing accounts without a recorded issue, unless claimed by a run.
SELECT account_id::text AS account_id FROM prop_trading_model.trade_recon
WHERE (NOT trades_recon_checksum OR mismatched_days > 0 OR mismatched_money > 0) AND issues = '[]'
    AND claimed_by IS NULL
ORDER BY account_id
