-- name: list_removed_rows
-- Copies, newest first: of an account $1, table $2, run $3 and reason $4 (null: any), older than
-- copy $5, at most $6. The row as text keeps all digits.
SELECT removed_id, removed_at, table_name, account_id, date, reason, right_date, run_id, restored_at, row_data::text AS row_text
FROM "prop_trading_model".recon_removed_rows
WHERE ($1::text IS NULL OR account_id = $1::text) AND ($2::text IS NULL OR table_name = $2::text) AND ($3::uuid IS NULL OR run_id = $3::uuid)
  AND ($4::text IS NULL OR reason = $4::text) AND ($5::bigint IS NULL OR removed_id < $5::bigint)
ORDER BY removed_id DESC
LIMIT $6

-- name: get_units
-- Group copies $1 of a table by row.
SELECT c.removed_id, md5(concat_ws('/', 'raw_trades_closed', jsonb_build_array({{key}}))) AS unit
FROM "prop_trading_model".recon_removed_rows AS c
WHERE c.removed_id = ANY($1::bigint[]) AND c.table_name = 'raw_trades_closed'

-- name: get_unknown_ids
-- Ids of $1 without copy.
SELECT wanted.removed_id
FROM unnest($1::bigint[]) AS wanted (removed_id)
WHERE NOT EXISTS (SELECT FROM "prop_trading_model".recon_removed_rows AS c WHERE c.removed_id = wanted.removed_id)
ORDER BY wanted.removed_id

-- name: get_ids_of_run
-- Copies of a run, newest first, and which are not restored yet.
SELECT removed_id, restored_at IS NULL AS is_waiting FROM "prop_trading_model".recon_removed_rows WHERE run_id = $1 ORDER BY removed_id DESC

-- name: is_run
-- Whether run $1 exists.
SELECT EXISTS (SELECT FROM "prop_trading_model".recon_runs WHERE run_id = $1)

-- name: count_inserted
-- Number of rows that run $1 inserted into raw tables; none if it is unknown.
SELECT rows_inserted FROM "prop_trading_model".recon_runs WHERE run_id = $1
