-- name: list_changes
-- Copies of an account $1, table $2, run $3 and date $4 (null: any) on which the row stood, to
-- which it moved, or on which the trade stands that it doubled; older than copy $5, at most $6,
-- newest first. Each with what the next change of the row found, the run's kind, and the account's
-- issues then: all, and those naming the date. Copies kept by a restore share a transaction with
-- the mark of the copy it used, whose pin has its reason.
WITH {{moved_there}},
page AS MATERIALIZED (
    SELECT removed_id, removed_at, table_name, account_id, date, reason, right_date, run_id, restored_at, row_data::text AS row_text, xmin::text AS version
    FROM prop_trading_model.recon_removed_rows
    WHERE ($1::text IS NULL OR account_id = $1::text) AND ($2::text IS NULL OR table_name = $2::text) AND ($3::uuid IS NULL OR run_id = $3::uuid)
      AND ($4::date IS NULL OR date = $4::date OR right_date = $4::date OR removed_id = ANY(ARRAY(SELECT removed_id FROM moved_there)))
      AND ($5::bigint IS NULL OR removed_id < $5::bigint)
    ORDER BY removed_id DESC
    LIMIT $6
), later AS MATERIALIZED (
    SELECT removed_id, lead(removed_id) OVER (PARTITION BY table_name, unit ORDER BY removed_id) AS next_id
    FROM (
        SELECT c.removed_id, c.table_name, {{unit}} AS unit
        FROM prop_trading_model.recon_removed_rows AS c
        WHERE c.account_id = ANY(ARRAY(SELECT account_id FROM page)) AND c.removed_id >= (SELECT min(removed_id) FROM page)
    ) AS units
)
SELECT p.*, n.row_data::text AS next_text, r.kind AS run_kind, i.open_issues, i.named_issues, b.restored_with IS NOT NULL AS is_restore, b.restored_with
FROM page AS p
LEFT JOIN later AS l ON l.removed_id = p.removed_id
LEFT JOIN prop_trading_model.recon_removed_rows AS n ON n.removed_id = l.next_id
LEFT JOIN prop_trading_model.recon_runs AS r ON r.run_id = p.run_id
LEFT JOIN LATERAL (
    SELECT array_agg(DISTINCT h.type ORDER BY h.type) AS open_issues,
           array_agg(DISTINCT h.type ORDER BY h.type) FILTER (WHERE h.evidence -> 'missing_dates' ? p.date::text) AS named_issues
    FROM prop_trading_model.recon_issue_history AS h
    WHERE p.run_id IS NOT NULL AND h.account_id = p.account_id AND h.opened_at <= p.removed_at AND (h.closed_at IS NULL OR h.closed_at >= p.removed_at)
) AS i ON true
LEFT JOIN LATERAL (
    SELECT coalesce(max(pin.reason), '') AS restored_with
    FROM prop_trading_model.recon_removed_rows AS k
    LEFT JOIN prop_trading_model.recon_pins AS pin ON pin.removed_id = k.removed_id
    WHERE p.run_id IS NULL AND k.account_id = p.account_id AND k.table_name = p.table_name AND k.removed_id < p.removed_id AND k.restored_at IS NOT NULL
      AND k.xmin::text = p.version
    HAVING count(*) > 0
) AS b ON true
ORDER BY p.removed_id DESC

-- name: moved_to_date
-- Copies of trades of {{table}} that stand, or stood at a later copy, under the date $4 to which
-- they moved; filtered like list_changes.
(
    SELECT c.removed_id
    FROM prop_trading_model.recon_removed_rows AS c
    CROSS JOIN LATERAL jsonb_populate_record(NULL::{{raw}}, c.row_data) AS r
    JOIN {{raw}} AS t ON {{same_unit}} AND t.{{date}} = $4::date
    WHERE $4::date IS NOT NULL AND {{is_moved}}
    ORDER BY c.removed_id DESC
    LIMIT $6
)
UNION
(
    SELECT c.removed_id
    FROM prop_trading_model.recon_removed_rows AS k
    JOIN prop_trading_model.recon_removed_rows AS c ON c.account_id = k.account_id AND c.removed_id < k.removed_id AND {{same_unit_as_k}}
    WHERE $4::date IS NOT NULL AND k.date = $4::date AND k.table_name = {{table}} AND {{is_moved}}
    ORDER BY c.removed_id DESC
    LIMIT $6
)

-- name: is_moved
-- Whether the row of copy c of {{table}} was moved and matches the filters.
c.table_name = {{table}} AND c.reason = 'moved' AND c.date IS DISTINCT FROM $4::date AND ($1::text IS NULL OR c.account_id = $1::text)
      AND ($2::text IS NULL OR c.table_name = $2::text) AND ($3::uuid IS NULL OR c.run_id = $3::uuid) AND ($5::bigint IS NULL OR c.removed_id < $5::bigint)

-- name: get_present_rows
-- Stored rows of {{raw}} for copies $1, those with the whole key first, and whether others wrote
-- them since.
SELECT c.removed_id, {{has_key}} AS has_key, to_jsonb(t)::text AS row_text, {{is_foreign}} AS is_foreign, {{stood_there}} AS stood_there
FROM prop_trading_model.recon_removed_rows AS c
CROSS JOIN LATERAL jsonb_populate_record(NULL::{{raw}}, c.row_data) AS r
JOIN {{raw}} AS t ON {{same_unit}}
WHERE c.removed_id = ANY($1::bigint[])
ORDER BY c.removed_id, has_key DESC, ({{day_of_t}} = c.right_date) IS TRUE DESC, {{day_of_t}} DESC

-- name: list_nulled_rows
-- Rows of upstream stored with NULL for a value: of an account $1, table $2, run $3 and date $4
-- (null: any), at most $5, newest first.
SELECT table_name, account_id, date, row_key, reason, row_data::text AS row_text, run_id, last_seen
FROM prop_trading_model.recon_set_aside_rows
WHERE reason LIKE '%stored with NULL, %' AND ($1::text IS NULL OR account_id = $1::text) AND ($2::text IS NULL OR table_name = $2::text)
  AND ($3::uuid IS NULL OR run_id = $3::uuid) AND ($4::date IS NULL OR date = $4::date)
ORDER BY last_seen DESC, table_name, row_key, row_digest
LIMIT $5
