-- name: close_issues
-- Close what accounts ($1) no longer have: $2 holds what they have now, $3 limits the codes that
-- this look judged, $5 the evidence by account and code, $6 that of all others.
UPDATE "prop_trading_model".recon_issue_history AS h
SET closed_at = now(), closed_run = $4,
    closing_evidence = coalesce($5::jsonb -> h.account_id -> h.type, $6)
WHERE h.closed_at IS NULL AND h.account_id = ANY($1::text[]) AND h.type = ANY($3::text[])
  -- NOT IN, which is looked up in a hash table: how many there are is not known to the planner, and
  -- a loop over thousands of them takes half a minute.
  AND (h.account_id::text, h.type::text) NOT
      IN (SELECT now_open.account_id, now_open.type
      FROM jsonb_to_recordset($2) AS now_open (account_id text, type text))

-- name: open_issues
-- Note what accounts have now and had not before; what stays open gets its newest severity. One
-- that a run had healed and that is back right after ($4), or is back in the same place within $3
-- seconds, is counted as opened again if another writer brought it back. Dates from $5 on still
-- move: trouble there proves nothing.
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
    -- For all of them at once: looked for by account, an empty history is read as a whole for each,
    -- as it fills, and the plan for that may stay.
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
          -- Trouble without dates is the same if the figures are.
          THEN last.closed_at > now() - make_interval(secs => $4)
              OR (last.evidence -> 'metadata') - 'settled_before' IS NOT DISTINCT
                  FROM (f.evidence -> 'metadata') - 'settled_before'
      WHEN last.closed_at > now() - make_interval(secs => $4)
          THEN EXISTS (SELECT FROM unnest(f.days) AS now_open (day) WHERE day < $5::text)
      ELSE EXISTS (SELECT FROM unnest(f.days) AS now_open (day) WHERE day < $5::text
          AND coalesce(last.evidence -> 'missing_dates', last.evidence -> 'dates') ? day)
  END
  -- Another writer did it neither where upstream changed its word, nor where somebody restored rows
  -- since, or a run wrote some.
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
-- The evidence of issues that run $2 opened and that are open: it found more of the same ($1).
UPDATE "prop_trading_model".recon_issue_history AS h
SET evidence = f.evidence, severity = f.severity
FROM jsonb_to_recordset($1) AS f (account_id text, type text, severity integer, evidence jsonb)
WHERE h.account_id = f.account_id AND h.type = f.type AND h.closed_at IS NULL AND h.opened_run = $2

-- name: get_reopened
-- How often in a row an issue of the accounts that is open now was healed and came back, the worst
-- of each account.
SELECT account_id, max(reopened) AS reopened
FROM "prop_trading_model".recon_issue_history
WHERE account_id = ANY($1::text[]) AND closed_at IS NULL AND reopened > 0
GROUP BY account_id

-- name: merge_issues
-- Replace in the accounts' open issues those of the codes that were judged ($2) by what was found
-- ($1).
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
