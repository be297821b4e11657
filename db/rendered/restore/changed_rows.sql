-- name: list_changes
-- Copies of an account $1, table $2, run $3 and date $4 (null: any) on which the row stood, to
-- which it moved, or on which the trade stands that it doubled; older than copy $5, at most $6,
-- newest first. Each with what the next change of the row found, the run's kind, and the account's
-- issues then: all, and those naming the date. Copies kept by a restore share a transaction with
-- the mark of the copy it used, whose pin has its reason.
WITH moved_there AS MATERIALIZED (
((
    SELECT c.removed_id
    FROM "prop_trading_model".recon_removed_rows AS c
    CROSS JOIN LATERAL jsonb_populate_record(NULL::"prop_trading_model".raw_trades_closed, c.row_data) AS r
    JOIN "prop_trading_model".raw_trades_closed AS t ON t."platform" = r."platform" AND t."broker" = r."broker" AND t."login" = r."login" AND t."position" = r."position" AND t."ticket" = r."ticket" AND t."trade_date" = $4::date
    WHERE $4::date IS NOT NULL AND c.table_name = 'raw_trades_closed' AND c.reason = 'moved' AND c.date IS DISTINCT FROM $4::date AND ($1::text IS NULL OR c.account_id = $1::text)
      AND ($2::text IS NULL OR c.table_name = $2::text) AND ($3::uuid IS NULL OR c.run_id = $3::uuid) AND ($5::bigint IS NULL OR c.removed_id < $5::bigint)
    ORDER BY c.removed_id DESC
    LIMIT $6
)
UNION
(
    SELECT c.removed_id
    FROM "prop_trading_model".recon_removed_rows AS k
    JOIN "prop_trading_model".recon_removed_rows AS c ON c.account_id = k.account_id AND c.removed_id < k.removed_id AND c.row_data -> 'platform' = k.row_data -> 'platform' AND c.row_data -> 'broker' = k.row_data -> 'broker' AND c.row_data -> 'login' = k.row_data -> 'login' AND c.row_data -> 'position' = k.row_data -> 'position' AND c.row_data -> 'ticket' = k.row_data -> 'ticket'
    WHERE $4::date IS NOT NULL AND k.date = $4::date AND k.table_name = 'raw_trades_closed' AND c.table_name = 'raw_trades_closed' AND c.reason = 'moved' AND c.date IS DISTINCT FROM $4::date AND ($1::text IS NULL OR c.account_id = $1::text)
      AND ($2::text IS NULL OR c.table_name = $2::text) AND ($3::uuid IS NULL OR c.run_id = $3::uuid) AND ($5::bigint IS NULL OR c.removed_id < $5::bigint)
    ORDER BY c.removed_id DESC
    LIMIT $6
))
UNION ALL
((
    SELECT c.removed_id
    FROM "prop_trading_model".recon_removed_rows AS c
    CROSS JOIN LATERAL jsonb_populate_record(NULL::"prop_trading_model".raw_trades_open, c.row_data) AS r
    JOIN "prop_trading_model".raw_trades_open AS t ON t."platform" = r."platform" AND t."broker" = r."broker" AND t."login" = r."login" AND t."position" = r."position" AND t."ticket" = r."ticket" AND t."trade_date" = $4::date
    WHERE $4::date IS NOT NULL AND c.table_name = 'raw_trades_open' AND c.reason = 'moved' AND c.date IS DISTINCT FROM $4::date AND ($1::text IS NULL OR c.account_id = $1::text)
      AND ($2::text IS NULL OR c.table_name = $2::text) AND ($3::uuid IS NULL OR c.run_id = $3::uuid) AND ($5::bigint IS NULL OR c.removed_id < $5::bigint)
    ORDER BY c.removed_id DESC
    LIMIT $6
)
UNION
(
    SELECT c.removed_id
    FROM "prop_trading_model".recon_removed_rows AS k
    JOIN "prop_trading_model".recon_removed_rows AS c ON c.account_id = k.account_id AND c.removed_id < k.removed_id AND c.row_data -> 'platform' = k.row_data -> 'platform' AND c.row_data -> 'broker' = k.row_data -> 'broker' AND c.row_data -> 'login' = k.row_data -> 'login' AND c.row_data -> 'position' = k.row_data -> 'position' AND c.row_data -> 'ticket' = k.row_data -> 'ticket'
    WHERE $4::date IS NOT NULL AND k.date = $4::date AND k.table_name = 'raw_trades_open' AND c.table_name = 'raw_trades_open' AND c.reason = 'moved' AND c.date IS DISTINCT FROM $4::date AND ($1::text IS NULL OR c.account_id = $1::text)
      AND ($2::text IS NULL OR c.table_name = $2::text) AND ($3::uuid IS NULL OR c.run_id = $3::uuid) AND ($5::bigint IS NULL OR c.removed_id < $5::bigint)
    ORDER BY c.removed_id DESC
    LIMIT $6
))
),
page AS MATERIALIZED (
    SELECT removed_id, removed_at, table_name, account_id, date, reason, right_date, run_id, restored_at, row_data::text AS row_text, xmin::text AS version
    FROM "prop_trading_model".recon_removed_rows
    WHERE ($1::text IS NULL OR account_id = $1::text) AND ($2::text IS NULL OR table_name = $2::text) AND ($3::uuid IS NULL OR run_id = $3::uuid)
      AND ($4::date IS NULL OR date = $4::date OR right_date = $4::date OR removed_id = ANY(ARRAY(SELECT removed_id FROM moved_there)))
      AND ($5::bigint IS NULL OR removed_id < $5::bigint)
    ORDER BY removed_id DESC
    LIMIT $6
), later AS MATERIALIZED (
    SELECT removed_id, lead(removed_id) OVER (PARTITION BY table_name, unit ORDER BY removed_id) AS next_id
    FROM (
        SELECT c.removed_id, c.table_name, CASE c.table_name WHEN 'raw_metrics_alltime' THEN jsonb_build_array(c.row_data ->> 'account_id') WHEN 'raw_metrics_daily' THEN jsonb_build_array(c.row_data ->> 'account_id', c.row_data ->> 'date') WHEN 'raw_metrics_hourly' THEN jsonb_build_array(c.row_data ->> 'account_id', c.row_data ->> 'date', c.row_data ->> 'hour') WHEN 'raw_trades_closed' THEN jsonb_build_array(c.row_data ->> 'platform', c.row_data ->> 'broker', c.row_data ->> 'login', c.row_data ->> 'position', c.row_data ->> 'ticket') WHEN 'raw_trades_open' THEN jsonb_build_array(c.row_data ->> 'platform', c.row_data ->> 'broker', c.row_data ->> 'login', c.row_data ->> 'position', c.row_data ->> 'ticket') END AS unit
        FROM "prop_trading_model".recon_removed_rows AS c
        WHERE c.account_id = ANY(ARRAY(SELECT account_id FROM page)) AND c.removed_id >= (SELECT min(removed_id) FROM page)
    ) AS units
)
SELECT p.*, n.row_data::text AS next_text, r.kind AS run_kind, i.open_issues, i.named_issues, b.restored_with IS NOT NULL AS is_restore, b.restored_with
FROM page AS p
LEFT JOIN later AS l ON l.removed_id = p.removed_id
LEFT JOIN "prop_trading_model".recon_removed_rows AS n ON n.removed_id = l.next_id
LEFT JOIN "prop_trading_model".recon_runs AS r ON r.run_id = p.run_id
LEFT JOIN LATERAL (
    SELECT array_agg(DISTINCT h.type ORDER BY h.type) AS open_issues,
           array_agg(DISTINCT h.type ORDER BY h.type) FILTER (WHERE h.evidence -> 'missing_dates' ? p.date::text) AS named_issues
    FROM "prop_trading_model".recon_issue_history AS h
    WHERE p.run_id IS NOT NULL AND h.account_id = p.account_id AND h.opened_at <= p.removed_at AND (h.closed_at IS NULL OR h.closed_at >= p.removed_at)
) AS i ON true
LEFT JOIN LATERAL (
    SELECT coalesce(max(pin.reason), '') AS restored_with
    FROM "prop_trading_model".recon_removed_rows AS k
    LEFT JOIN "prop_trading_model".recon_pins AS pin ON pin.removed_id = k.removed_id
    WHERE p.run_id IS NULL AND k.account_id = p.account_id AND k.table_name = p.table_name AND k.removed_id < p.removed_id AND k.restored_at IS NOT NULL
      AND k.xmin::text = p.version
    HAVING count(*) > 0
) AS b ON true
ORDER BY p.removed_id DESC

-- name: moved_to_date
-- Copies of trades of 'raw_trades_closed' that stand, or stood at a later copy, under the date $4 to which
-- they moved; filtered like list_changes.
(
    SELECT c.removed_id
    FROM "prop_trading_model".recon_removed_rows AS c
    CROSS JOIN LATERAL jsonb_populate_record(NULL::"prop_trading_model".raw_trades_closed, c.row_data) AS r
    JOIN "prop_trading_model".raw_trades_closed AS t ON t."platform" = r."platform" AND t."broker" = r."broker" AND t."login" = r."login" AND t."position" = r."position" AND t."ticket" = r."ticket" AND t.{{date}} = $4::date
    WHERE $4::date IS NOT NULL AND {{is_moved}}
    ORDER BY c.removed_id DESC
    LIMIT $6
)
UNION
(
    SELECT c.removed_id
    FROM "prop_trading_model".recon_removed_rows AS k
    JOIN "prop_trading_model".recon_removed_rows AS c ON c.account_id = k.account_id AND c.removed_id < k.removed_id AND {{same_unit_as_k}}
    WHERE $4::date IS NOT NULL AND k.date = $4::date AND k.table_name = 'raw_trades_closed' AND {{is_moved}}
    ORDER BY c.removed_id DESC
    LIMIT $6
)

-- name: is_moved
-- Whether the row of copy c of 'raw_trades_closed' was moved and matches the filters.
c.table_name = 'raw_trades_closed' AND c.reason = 'moved' AND c.date IS DISTINCT FROM $4::date AND ($1::text IS NULL OR c.account_id = $1::text)
      AND ($2::text IS NULL OR c.table_name = $2::text) AND ($3::uuid IS NULL OR c.run_id = $3::uuid) AND ($5::bigint IS NULL OR c.removed_id < $5::bigint)

-- name: get_present_rows
-- Stored rows of "prop_trading_model".raw_trades_closed for copies $1, those with the whole key first, and whether others wrote
-- them since.
SELECT c.removed_id, t."trade_date" = r."trade_date" AS has_key, to_jsonb(t)::text AS row_text, (
    t.xmin <> c.xmin
    AND CASE
        WHEN EXISTS (SELECT FROM "prop_trading_model".recon_removed_rows AS k
                WHERE k.table_name = c.table_name AND k.account_id IN (c.account_id, t.account_id::text, r.account_id::text) AND k.xmin = t.xmin)
            THEN (
    to_jsonb(t) -> 'ingestion_timestamp' IS DISTINCT FROM c.row_data -> 'ingestion_timestamp'
    AND to_jsonb(t) -> 'ingestion_timestamp' NOT IN (to_jsonb(c.removed_at), to_jsonb(c.removed_at AT TIME ZONE 'UTC'))
)
                AND EXISTS (
                    SELECT FROM "prop_trading_model".recon_removed_rows AS k
                WHERE k.table_name = c.table_name AND k.account_id IN (c.account_id, t.account_id::text, r.account_id::text) AND k.removed_id > c.removed_id
                      AND k.row_data -> 'ingestion_timestamp' = to_jsonb(t) -> 'ingestion_timestamp'
                )
                AND NOT EXISTS (
                    SELECT FROM "prop_trading_model".recon_removed_rows AS k
                WHERE k.table_name = c.table_name AND k.account_id IN (c.account_id, t.account_id::text, r.account_id::text)
                      AND to_jsonb(t) -> 'ingestion_timestamp' IN (to_jsonb(k.removed_at), to_jsonb(k.removed_at AT TIME ZONE 'UTC'))
                )
        WHEN c.run_id IS NULL THEN (
    to_jsonb(t) -> 'ingestion_timestamp' IS DISTINCT FROM c.row_data -> 'ingestion_timestamp'
    AND to_jsonb(t) -> 'ingestion_timestamp' NOT IN (to_jsonb(c.removed_at), to_jsonb(c.removed_at AT TIME ZONE 'UTC'))
)
        ELSE c.reason <> 'moved' OR age(t.xmin) < age(c.xmin)
    END
) AS is_foreign, (c.reason IN ('moved', 'removed') AND c.run_id IS NOT NULL AND t.xmin <> c.xmin AND age(t.xmin) > age(c.xmin)) AS stood_there
FROM "prop_trading_model".recon_removed_rows AS c
CROSS JOIN LATERAL jsonb_populate_record(NULL::"prop_trading_model".raw_trades_closed, c.row_data) AS r
JOIN "prop_trading_model".raw_trades_closed AS t ON t."platform" = r."platform" AND t."broker" = r."broker" AND t."login" = r."login" AND t."position" = r."position" AND t."ticket" = r."ticket"
WHERE c.removed_id = ANY($1::bigint[])
ORDER BY c.removed_id, has_key DESC, (t."trade_date" = c.right_date) IS TRUE DESC, t."trade_date" DESC

-- name: list_nulled_rows
-- Rows of upstream stored with NULL for a value: of an account $1, table $2, run $3 and date $4
-- (null: any), at most $5, newest first.
SELECT table_name, account_id, date, row_key, reason, row_data::text AS row_text, run_id, last_seen
FROM "prop_trading_model".recon_set_aside_rows
WHERE reason LIKE '%stored with NULL, %' AND ($1::text IS NULL OR account_id = $1::text) AND ($2::text IS NULL OR table_name = $2::text)
  AND ($3::uuid IS NULL OR run_id = $3::uuid) AND ($4::date IS NULL OR date = $4::date)
ORDER BY last_seen DESC, table_name, row_key, row_digest
LIMIT $5
