-- name: get_removed_rows
-- Copies, newest first.
SELECT removed_id, removed_at, table_name, account_id, date, reason, right_date, run_id, restored_at, row_data::text AS row_text
FROM prop_trading_model.recon_removed_rows
WHERE removed_id = ANY($1::bigint[])
ORDER BY removed_id DESC

-- name: lock_present_rows
-- Stored rows of {{raw}} for copy $1 on any date: their places, whether they have its whole key,
-- and whether they differ in a writable column (not in $2). Locked, except on several servers,
-- which cannot lock rows of a join. is_foreign: others wrote the row since.
SELECT t.tableoid AS row_table, t.ctid AS row_place, {{shard_of_t}} AS row_shard, {{shard_of_t}} IS DISTINCT FROM {{shard_of_r}} AS is_elsewhere, t.account_id::text AS account_id, {{day_of_t}} AS day, {{has_key}} AS has_key,
       (to_jsonb(t) - $2::text[]) = (to_jsonb(r) - $2::text[]) AS is_equal, {{is_foreign}} AS is_foreign, {{stood_there}} AS stood_there, {{beside_as}} AS beside_as
FROM prop_trading_model.recon_removed_rows AS c
CROSS JOIN LATERAL jsonb_populate_record(NULL::{{raw}}, c.row_data) AS r
JOIN {{raw}} AS t ON {{same_unit}}
WHERE c.removed_id = $1
ORDER BY {{day_of_t}}
{{locked}}

-- name: keep_present_row
-- Copy the row at a place of {{raw}} before it gets the values of copy $3; outside any run.
INSERT INTO prop_trading_model.recon_removed_rows (account_id, table_name, date, reason, row_data)
SELECT coalesce(t.account_id, c.account_id), c.table_name, {{day_of_t}}, c.reason, to_jsonb(t)
FROM {{raw}} AS t
JOIN prop_trading_model.recon_removed_rows AS c ON c.removed_id = $3
WHERE t.tableoid = $1::oid AND t.ctid = $2::tid AND {{in_shard}}
RETURNING removed_id

-- name: write_back
-- Write the values of copy $1 to the row at a place of {{raw}}; returns the row, and which of
-- columns $2 differ from the copy.
WITH written AS (
    UPDATE {{raw}} AS t SET {{assignments}}
    FROM prop_trading_model.recon_removed_rows AS c
    CROSS JOIN LATERAL jsonb_populate_record(NULL::{{raw}}, c.row_data) AS r
    WHERE c.removed_id = $1 AND {{same_place}}
    RETURNING t.*
), shown AS (
    SELECT w.account_id::text AS account_id, {{day_of_w}} AS day, to_jsonb(w) AS new_row FROM written AS w
)
SELECT w.account_id, w.day, {{changed}} AS changed
FROM shown AS w
JOIN prop_trading_model.recon_removed_rows AS c ON c.removed_id = $1

-- name: insert_again
-- Insert copy $1 into {{raw}}; returns the row, and which of columns $2 differ from the copy.
WITH written AS (
    INSERT INTO {{raw}} AS t ({{columns}}) OVERRIDING SYSTEM VALUE
    SELECT {{r_columns}}
    FROM prop_trading_model.recon_removed_rows AS c
    CROSS JOIN LATERAL jsonb_populate_record(NULL::{{raw}}, c.row_data) AS r
    WHERE c.removed_id = $1
    RETURNING t.*
), shown AS (
    SELECT w.account_id::text AS account_id, {{day_of_w}} AS day, to_jsonb(w) AS new_row FROM written AS w
)
SELECT w.account_id, w.day, {{changed}} AS changed
FROM shown AS w
JOIN prop_trading_model.recon_removed_rows AS c ON c.removed_id = $1

-- name: name_changed_columns
-- Columns of $2 that differ from the copy, by the present column type or a trigger.
ARRAY(
    SELECT held.key FROM jsonb_each(c.row_data) AS held
    WHERE held.key = ANY($2::text[])
      AND held.value IS DISTINCT FROM w.new_row -> held.key AND held.value #>> '{}' IS DISTINCT FROM w.new_row ->> held.key
    ORDER BY held.key
)
