-- name: get_copies_of_set
-- Copies $1, newest first, with what sets are made by: key and account ({{named}}) as text, and the
-- statement that wrote the row.
SELECT c.removed_id, c.removed_at, c.table_name, c.account_id, c.date, c.reason, c.right_date, c.run_id, c.restored_at, ({{named}})::text AS row_text,
       concat_ws(' ', c.removed_at, c.xmin, c.cmin) AS written
FROM {{plain_copies}} AS c
ORDER BY c.removed_id DESC

-- name: get_columns_of_copies
-- Columns of copies $1. JSON orders keys consistently.
SELECT removed_id, md5(ARRAY(SELECT jsonb_object_keys(row_data))::text) AS columns
FROM prop_trading_model.recon_removed_rows
WHERE removed_id = ANY($1::bigint[])

-- name: stores_as_copied
-- Whether table $1 stores rows exactly like its copies among $2: no trigger or rule changes values,
-- and no column changed since the oldest copy, which would give it a younger version.
WITH RECURSIVE family AS (
    SELECT to_regclass($1)::oid AS relid
    UNION
    SELECT i.inhrelid FROM family AS f JOIN pg_inherits AS i ON i.inhparent = f.relid
), oldest AS (
    SELECT max(age(xmin)) AS age FROM prop_trading_model.recon_removed_rows WHERE removed_id = ANY($2::bigint[])
)
SELECT NOT EXISTS (
           -- Row triggers, BEFORE or INSTEAD OF.
           SELECT FROM family AS f JOIN pg_trigger AS t ON t.tgrelid = f.relid
           WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 1 <> 0 AND t.tgtype & 66 <> 0
       )
       AND NOT EXISTS (SELECT FROM family AS f JOIN pg_rewrite AS r ON r.ev_class = f.relid)
       AND NOT EXISTS (
           SELECT FROM pg_attribute AS a CROSS JOIN oldest
           WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT coalesce(age(a.xmin) > oldest.age AND oldest.age >= 0, false)
       )

-- name: lock_present_rows_of_set
-- Like lock_present_rows, for copies $1 of different rows of {{raw}} on one server.
SELECT c.removed_id, t.tableoid AS row_table, t.ctid AS row_place, NULL::text AS row_shard, false AS is_elsewhere, t.account_id::text AS account_id, {{day_of_t}} AS day,
       {{has_key}} AS has_key, {{is_equal}} AS is_equal, {{is_foreign}} AS is_foreign, {{stood_there}} AS stood_there, {{beside_as}} AS beside_as
FROM {{plain_copies}} AS c
CROSS JOIN LATERAL {{copied}} AS r
JOIN {{raw}} AS t ON {{same_unit}}
WHERE $2::text[] IS NOT NULL
ORDER BY c.removed_id, {{day_of_t}}
{{locked}}

-- name: keep_present_rows
-- Copy rows at places ($2 to $4) of {{raw}} before they get the values of copies $1; outside any
-- run, numbered in that order.
INSERT INTO prop_trading_model.recon_removed_rows (account_id, table_name, date, reason, row_data)
SELECT coalesce(t.account_id, c.account_id), c.table_name, {{day_of_t}}, c.reason, to_jsonb(t)
FROM unnest($1::bigint[], $2::oid[], $3::tid[], $4::date[]) AS p (removed_id, row_table, row_place, day)
JOIN prop_trading_model.recon_removed_rows AS c ON c.removed_id = p.removed_id
JOIN {{raw}} AS t ON {{same_place_p}} AND {{same_day_p}}
ORDER BY p.removed_id
RETURNING removed_id

-- name: write_back_rows
-- Write the values of copies $2 to rows at places ($3 to $5) of {{raw}}; returns the rows, and
-- which of columns $1 differ from the copy.
WITH written AS (
    UPDATE {{raw}} AS t SET {{assignments}}
    FROM unnest($2::bigint[], $3::oid[], $4::tid[], $5::date[]) AS p (removed_id, row_table, row_place, day)
    JOIN prop_trading_model.recon_removed_rows AS c ON c.removed_id = p.removed_id
    CROSS JOIN LATERAL jsonb_populate_record(NULL::{{raw}}, c.row_data) AS r
    WHERE {{same_place_p}} AND {{same_day_p}}
    RETURNING c.removed_id, c.row_data, t.account_id::text AS account_id, {{day_of_t}} AS day, t AS stored
), shown AS MATERIALIZED (
    SELECT removed_id, row_data, account_id, day, to_jsonb(stored) AS new_row FROM written
)
SELECT w.removed_id, w.account_id, w.day, {{changed}} AS changed FROM shown AS w CROSS JOIN LATERAL (SELECT w.row_data, $1::text[] AS compared) AS c

-- name: write_back_rows_as_copied
-- Like write_back_rows, for tables that store rows as copied.
UPDATE {{raw}} AS t SET {{assignments}}
FROM unnest($1::bigint[], $2::oid[], $3::tid[], $4::date[]) AS p (removed_id, row_table, row_place, day)
JOIN prop_trading_model.recon_removed_rows AS c ON c.removed_id = p.removed_id
CROSS JOIN LATERAL jsonb_populate_record(NULL::{{raw}}, c.row_data) AS r
WHERE {{same_place_p}} AND {{same_day_p}}
RETURNING c.removed_id, t.account_id::text AS account_id, {{day_of_t}} AS day, '{}'::text[] AS changed

-- name: insert_rows_as_copied
-- Like insert_rows_again, for tables that store rows as copied, returning nothing.
INSERT INTO {{raw}} AS t ({{columns}}) OVERRIDING SYSTEM VALUE
SELECT {{r_columns}}
FROM prop_trading_model.recon_removed_rows AS c
CROSS JOIN LATERAL jsonb_populate_record(NULL::{{raw}}, c.row_data) AS r
WHERE c.removed_id = ANY($1::bigint[])

-- name: insert_rows_again
-- Insert copies $1 into {{raw}}; returns the rows by their copy's key, and which of columns $2
-- differ from the copy.
WITH written AS (
    INSERT INTO {{raw}} AS t ({{columns}}) OVERRIDING SYSTEM VALUE
    SELECT {{r_columns}}
    FROM {{plain_copies}} AS c
    CROSS JOIN LATERAL jsonb_populate_record(NULL::{{raw}}, c.row_data) AS r
    ORDER BY c.removed_id DESC
    RETURNING t.account_id::text AS account_id, {{day_of_t}} AS day, t AS stored
), shown AS MATERIALIZED (
    SELECT account_id, day, to_jsonb(stored) AS new_row FROM written
)
SELECT c.removed_id, w.account_id, w.day, {{changed}} AS changed
FROM shown AS w
JOIN (SELECT removed_id, row_data, $2::text[] AS compared FROM {{plain_copies}} AS p) AS c ON {{key_of_w}} = {{key_of_c}}

-- name: name_changed_columns_of_set
-- Like name_changed_columns, for columns `compared`; most rows equal their copies.
CASE WHEN w.new_row = c.row_data THEN '{}'::text[] ELSE ARRAY(
    SELECT held.key FROM jsonb_each(c.row_data) AS held
    WHERE held.key = ANY(c.compared)
      AND held.value IS DISTINCT FROM w.new_row -> held.key AND held.value #>> '{}' IS DISTINCT FROM w.new_row ->> held.key
    ORDER BY held.key
) END
