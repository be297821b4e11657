-- name: pin_rows
-- Pin the rows that were restored from copies $1 of one table (c.row_data ->> 'account_id' is the key of such a row),
-- with a reason ($2). A restored double is pinned with the trade whose double it is, whichever
-- comes first.
INSERT INTO "prop_trading_model".recon_pins AS p (table_name, row_key, account_id, date, removed_id, run_id, reason, doubled_dates)
SELECT c.table_name, ARRAY[c.row_data ->> 'account_id'], coalesce(c.row_data ->> 'account_id', c.account_id), c.date, c.removed_id, c.run_id, $2,
       CASE WHEN c.right_date IS NULL THEN '{}' ELSE ARRAY[c.date] END
FROM "prop_trading_model".recon_removed_rows AS c
WHERE c.removed_id = ANY($1::bigint[])
ON CONFLICT (table_name, row_key) DO UPDATE
SET account_id = excluded.account_id, run_id = excluded.run_id, reason = excluded.reason, pinned_at = excluded.pinned_at,
    date = CASE WHEN excluded.doubled_dates = '{}' THEN excluded.date ELSE p.date END,
    removed_id = CASE WHEN excluded.doubled_dates = '{}' THEN excluded.removed_id ELSE p.removed_id END,
    doubled_dates = p.doubled_dates || excluded.doubled_dates

-- name: release_pins
-- Release pins of an account ($1), of the run whose changes were undone ($2), of copies ($3); null:
-- any. Returns what they pinned.
DELETE FROM "prop_trading_model".recon_pins
WHERE ($1::text IS NULL OR account_id = $1::text) AND ($2::uuid IS NULL OR run_id = $2::uuid) AND ($3::bigint[] IS NULL OR removed_id = ANY($3::bigint[]))
RETURNING table_name, account_id, date, doubled_dates

-- name: get_pinned_tables
-- Tables with pinned rows of accounts $1 (null: any).
SELECT DISTINCT table_name FROM "prop_trading_model".recon_pins WHERE $1::text[] IS NULL OR account_id = ANY($1::text[])

-- name: get_overtaken_pins
-- Copies from which rows of {{table}} were restored and pinned, of accounts $1 (null: any), whose
-- rows are no longer stored as restored: others deleted them, or wrote other values ({{values}})
-- since. Unknown where the copy is gone, or its key has a NULL or was repaired.
WITH pinned AS MATERIALIZED (
    SELECT c.removed_id, c.row_data, {{version_of_c}} AS version
    FROM "prop_trading_model".recon_pins AS p
    JOIN "prop_trading_model".recon_removed_rows AS c ON c.removed_id = p.removed_id
    WHERE p.table_name = {{table}} AND ($1::text[] IS NULL OR p.account_id = ANY($1::text[]))
      AND c.reason <> 'placeholder' AND c.restored_at IS NOT NULL AND {{has_whole_key}}
), standing AS MATERIALIZED (
    SELECT p.removed_id
    FROM pinned AS p
    CROSS JOIN LATERAL jsonb_populate_record(NULL::"prop_trading_model".raw_metrics_daily, p.row_data) AS r
    JOIN "prop_trading_model".raw_metrics_daily AS t ON t."account_id" = s."account_id" AND t."date" = s."date"
    WHERE {{is_same_version}} OR NOT EXISTS (
        SELECT FROM jsonb_each(to_jsonb(t)) AS held
        WHERE held.key = ANY({{values}}) AND p.row_data ? held.key AND held.value IS DISTINCT FROM p.row_data -> held.key
    )
)
SELECT removed_id FROM pinned WHERE removed_id NOT IN (SELECT removed_id FROM standing)
