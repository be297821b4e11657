-- name: close_issues
-- Close issues of accounts ($1) that are absent from $2 and whose code was judged ($3), with
-- evidence by account and code ($5), or $6.
UPDATE "prop_trading_model".recon_issue_history AS h
SET closed_at = now(), closed_run = $4,
    closing_evidence = coalesce($5::jsonb -> h.account_id -> h.type, $6)
WHERE h.closed_at IS NULL AND h.account_id = ANY($1::text[]) AND h.type = ANY($3::text[])
  -- NOT IN uses a hash table: without row estimates the planner would choose a nested loop, which
  -- takes half a minute for thousands.
  AND (h.account_id::text, h.type::text) NOT
      IN (SELECT now_open.account_id, now_open.type
      FROM jsonb_to_recordset($2) AS now_open (account_id text, type text))

-- name: open_issues
-- Open new issues; those already open get their newest severity. An issue that a run repaired counts
-- as reopened if another writer brought it back within $4 seconds, or within $3 at the same place.
-- Dates from $5 on are unsettled and prove nothing.
WITH found AS MATERIALIZED (
    SELECT
        f.*,
        (
            SELECT array_agg(day)
            FROM jsonb_array_elements_text(CASE
                WHEN jsonb_typeof(f.evidence -> 'missing_dates') = 'array'
                    THEN f.evidence -> 'missing_dates'
                WHEN jsonb_typeof(f.evidence -> 'dates') = 'array' THEN f.evidence -> 'dates'
                ELSE '[]'
            END) AS dates (day)
        ) AS days
    FROM jsonb_to_recordset($1) AS f (account_id text, type text, severity integer, evidence jsonb)
), last AS MATERIALIZED (
    -- For all accounts at once: a lookup by account may keep a plan made while the history was
    -- empty, which scans all of it for each account.
    SELECT DISTINCT ON (c.account_id, c.type) c.account_id::text AS account_id, c.type, c.reopened,
        c.evidence, c.closed_at,
           c.closed_run IS NOT NULL AND c.closing_evidence ->> 'closed_as' = 'healed' AS was_healed
    FROM "prop_trading_model".recon_issue_history AS c
    WHERE c.account_id = ANY (ARRAY(SELECT account_id FROM found)) AND c.closed_at IS NOT NULL
    ORDER BY c.account_id, c.type, c.closed_at DESC
)
INSERT INTO "prop_trading_model".recon_issue_history
    AS h (account_id, type, severity, opened_run, evidence, reopened)
SELECT f.account_id, f.type, f.severity, $2, f.evidence, coalesce(last.reopened + 1, 0)
FROM found AS f
LEFT JOIN last
  ON last.account_id = f.account_id AND last.type = f.type AND last.was_healed
  AND last.closed_at > now() - make_interval(secs => $3)
  AND CASE
      WHEN f.days IS NULL
          -- An issue without dates is the same if its figures are.
          THEN last.closed_at > now() - make_interval(secs => $4)
              OR (last.evidence -> 'metadata') - 'settled_before' IS NOT DISTINCT
                  FROM (f.evidence -> 'metadata') - 'settled_before'
      WHEN last.closed_at > now() - make_interval(secs => $4)
          THEN EXISTS (SELECT FROM unnest(f.days) AS now_open (day) WHERE day < $5::text)
      ELSE EXISTS (SELECT FROM unnest(f.days) AS now_open (day) WHERE day < $5::text
          AND coalesce(last.evidence -> 'missing_dates', last.evidence -> 'dates') ? day)
  END
  -- No other writer is to blame if upstream changed its answer, or rows were restored or written by
  -- a run since.
  AND (f.type <> 'upstream_drift' OR last.evidence #> '{metadata,upstream}' IS NOT DISTINCT
      FROM f.evidence #> '{metadata,upstream}')
  AND NOT EXISTS (
      SELECT FROM "prop_trading_model".recon_removed_rows AS c
      WHERE c.account_id = f.account_id
          AND (c.restored_at > last.closed_at OR c.run_id IS NOT NULL
          AND c.removed_at > last.closed_at)
  )
ORDER BY f.account_id, f.type
ON CONFLICT (account_id, type) WHERE closed_at IS NULL DO UPDATE SET severity = excluded.severity
WHERE h.severity <> excluded.severity

-- name: renew_evidence
-- Update the evidence of open issues that run $2 opened ($1: its newest findings).
UPDATE "prop_trading_model".recon_issue_history AS h
SET evidence = f.evidence, severity = f.severity
FROM jsonb_to_recordset($1) AS f (account_id text, type text, severity integer, evidence jsonb)
WHERE h.account_id = f.account_id AND h.type = f.type AND h.closed_at IS NULL AND h.opened_run = $2

-- name: get_reopened
-- Consecutive reopenings of open issues; the highest of each account.
SELECT account_id, max(reopened) AS reopened
FROM "prop_trading_model".recon_issue_history
WHERE account_id = ANY($1::text[]) AND closed_at IS NULL AND reopened > 0
GROUP BY account_id

-- name: merge_issues
-- Replace the accounts' open issues of judged codes ($2) by those found ($1).
UPDATE "prop_trading_model".trade_recon AS t
SET issues = coalesce((
        SELECT jsonb_agg(issue ORDER BY issue ->> 'severity', issue ->> 'type')
        FROM (
            SELECT issue FROM jsonb_array_elements(CASE jsonb_typeof(t.issues)
                WHEN 'array' THEN t.issues ELSE '[]' END) AS kept (issue)
                WHERE NOT issue ->> 'type' = ANY($2::text[])
            UNION ALL
            SELECT jsonb_array_elements(r.issues)
        ) AS merged
    ), '[]')
FROM jsonb_to_recordset($1) AS r (account_id text, issues jsonb)
WHERE t.account_id = r.account_id
