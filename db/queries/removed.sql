-- name: list_removed_rows
-- Copies of rows, newest first: of an account $1, a table $2, a run $3, a reason $4 (null: any), older than copy $5, at most $6. The row as text: its digits stay as they are.
SELECT removed_id, removed_at, table_name, account_id, date, reason, right_date, run_id, restored_at, row_data::text AS row_text
FROM prop_trading_model.recon_removed_rows
WHERE ($1::text IS NULL OR account_id = $1::text) AND ($2::text IS NULL OR table_name = $2::text) AND ($3::uuid IS NULL OR run_id = $3::uuid)
  AND ($4::text IS NULL OR reason = $4::text) AND ($5::bigint IS NULL OR removed_id < $5::bigint)
ORDER BY removed_id DESC
LIMIT $6

-- name: get_removed_rows
-- Copies, newest first.
SELECT removed_id, removed_at, table_name, account_id, date, reason, right_date, run_id, restored_at, row_data::text AS row_text
FROM prop_trading_model.recon_removed_rows
WHERE removed_id = ANY($1::bigint[])
ORDER BY removed_id DESC

-- name: get_copies_of_set
-- Copies $1, newest first, as far as it takes to put them in sets: of the row only its key and its account ({{named}}), as text, and which statement wrote it.
SELECT c.removed_id, c.removed_at, c.table_name, c.account_id, c.date, c.reason, c.right_date, c.run_id, c.restored_at, ({{named}})::text AS row_text,
       concat_ws(' ', c.removed_at, c.xmin, c.cmin) AS written
FROM {{plain_copies}} AS c
ORDER BY c.removed_id DESC

-- name: get_columns_of_copies
-- Which columns copies $1 have. JSON holds its keys in one order.
SELECT removed_id, md5(ARRAY(SELECT jsonb_object_keys(row_data))::text) AS columns
FROM prop_trading_model.recon_removed_rows
WHERE removed_id = ANY($1::bigint[])

-- name: stores_as_copied
-- Whether the table $1 stores rows just as its copies among $2 have them: no trigger or rule chooses other values, and no column changed since the oldest of
-- those was kept. The version of a column that did is younger than the copy.
WITH RECURSIVE family AS (
    SELECT to_regclass($1)::oid AS relid
    UNION
    SELECT i.inhrelid FROM family AS f JOIN pg_inherits AS i ON i.inhparent = f.relid
), oldest AS (
    SELECT max(age(xmin)) AS age FROM prop_trading_model.recon_removed_rows WHERE removed_id = ANY($2::bigint[])
)
SELECT NOT EXISTS (
           -- For each row, before it is written or instead of that.
           SELECT FROM family AS f JOIN pg_trigger AS t ON t.tgrelid = f.relid
           WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 1 <> 0 AND t.tgtype & 66 <> 0
       )
       AND NOT EXISTS (SELECT FROM family AS f JOIN pg_rewrite AS r ON r.ev_class = f.relid)
       AND NOT EXISTS (
           SELECT FROM pg_attribute AS a CROSS JOIN oldest
           WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT coalesce(age(a.xmin) > oldest.age AND oldest.age >= 0, false)
       )

-- name: get_units
-- Which of the copies $1 of a table are of one row.
SELECT c.removed_id, md5(concat_ws('/', {{table}}, jsonb_build_array({{key}}))) AS unit
FROM prop_trading_model.recon_removed_rows AS c
WHERE c.removed_id = ANY($1::bigint[]) AND c.table_name = {{table}}

-- name: get_unknown_ids
-- Those of $1 that no copy has.
SELECT wanted.removed_id
FROM unnest($1::bigint[]) AS wanted (removed_id)
WHERE NOT EXISTS (SELECT FROM prop_trading_model.recon_removed_rows AS c WHERE c.removed_id = wanted.removed_id)
ORDER BY wanted.removed_id

-- name: get_ids_of_run
-- The copies that a run made, newest first, and which of them were not restored yet.
SELECT removed_id, restored_at IS NULL AS is_waiting FROM prop_trading_model.recon_removed_rows WHERE run_id = $1 ORDER BY removed_id DESC

-- name: is_run
-- Whether there is a run $1.
SELECT EXISTS (SELECT FROM prop_trading_model.recon_runs WHERE run_id = $1)

-- name: count_inserted
-- How many rows the run $1 inserted into raw tables; none where it is not known any more.
SELECT rows_inserted FROM prop_trading_model.recon_runs WHERE run_id = $1

-- name: lock_restoring
-- One restore at a time: two of different copies of one row would otherwise both find its place empty, which no unique key need prevent.
-- It has the memory to sort the rows of a set, which are wide, without a file.
SELECT pg_advisory_xact_lock(hashtext('trade-recon restores'), hashtext('prop_trading_model')),
       set_config('work_mem', greatest(pg_size_bytes(current_setting('work_mem')) / 1024, 65536) || 'kB', true)

-- name: lock_copy
-- A copy, locked, and when it was restored.
SELECT removed_id, restored_at FROM prop_trading_model.recon_removed_rows WHERE removed_id = $1 FOR UPDATE

-- name: get_columns
-- The columns of the table $1 as it stands now, and what may be written to them.
SELECT attname AS name, attgenerated <> '' AS is_generated, attidentity = 'a' AS is_numbered, format_type(atttypid, atttypmod) AS sql_type,
       CASE WHEN atttypid IN ('text'::regtype, 'varchar'::regtype) THEN 'text'
            WHEN atttypid = ANY(ARRAY['int2', 'int4', 'int8', 'numeric', 'float4', 'float8', 'bool', 'date', 'timestamp', 'timestamptz', 'uuid']::regtype[]) THEN 'plain'
            ELSE 'other' END AS sort
FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
ORDER BY attnum

-- name: lock_present_rows
-- The rows of {{raw}} that stand for copy $1 now, on whatever date: where they are, whether they have its whole key, and whether they differ from it in
-- a column that can be written (not in $2). Locked, but on several servers, which lock no rows for a join. is_foreign: somebody else wrote the row since.
SELECT t.tableoid AS row_table, t.ctid AS row_place, {{shard_of_t}} AS row_shard, {{shard_of_t}} IS DISTINCT FROM {{shard_of_r}} AS is_elsewhere, t.account_id::text AS account_id, {{day_of_t}} AS day, {{has_key}} AS has_key,
       (to_jsonb(t) - $2::text[]) = (to_jsonb(r) - $2::text[]) AS is_equal, {{is_foreign}} AS is_foreign, {{stood_there}} AS stood_there, {{beside_as}} AS beside_as
FROM prop_trading_model.recon_removed_rows AS c
CROSS JOIN LATERAL jsonb_populate_record(NULL::{{raw}}, c.row_data) AS r
JOIN {{raw}} AS t ON {{same_unit}}
WHERE c.removed_id = $1
ORDER BY {{day_of_t}}
{{locked}}

-- name: is_foreign
-- Whether somebody else wrote row t since copy c was kept. What a run writes and its copy are of one transaction, and so are a restore and the copies that it keeps or uses; what a restore brought back may be what ingestion wrote between c and a later copy. A double in a moved row's place is older than the copy; of copies of no run ingestion's mark must tell so too.
(
    t.xmin <> c.xmin
    AND CASE
        WHEN EXISTS (SELECT FROM {{same}} AND k.xmin = t.xmin)
            THEN {{stamped}}
                AND EXISTS (
                    SELECT FROM {{same}} AND k.removed_id > c.removed_id
                      AND k.row_data -> 'ingestion_timestamp' = to_jsonb(t) -> 'ingestion_timestamp'
                )
                AND NOT EXISTS (
                    SELECT FROM {{same}}
                      AND to_jsonb(t) -> 'ingestion_timestamp' IN (to_jsonb(k.removed_at), to_jsonb(k.removed_at AT TIME ZONE 'UTC'))
                )
        WHEN c.run_id IS NULL THEN {{stamped}}
        ELSE c.reason <> 'moved' OR age(t.xmin) < age(c.xmin)
    END
)

-- name: stood_there
-- Whether row t was stored before the run that took the double c of it away: it is not what c became.
(c.reason IN ('moved', 'removed') AND c.run_id IS NOT NULL AND t.xmin <> c.xmin AND age(t.xmin) > age(c.xmin))

-- name: beside_as
-- Where row t stands in the place of a row that stood beside the one of copy c, the reason of that one's copy k: overwritten where it stood, or gone and back.
CASE WHEN c.reason = 'moved' AND NOT ({{has_key}}) THEN (
    SELECT min(k.reason) FROM {{same}}
      AND k.date = {{day_of_t}} AND {{key_of_k}} = {{key_of_t}}
      AND (
          k.run_id = c.run_id AND k.removed_at = c.removed_at AND (k.reason = 'overwritten' OR k.restored_at IS NOT NULL)
          OR k.right_date IS NOT NULL AND k.restored_at IS NOT NULL AND t.xmin <> c.xmin
      )
) END

-- name: copies_of_account
-- The copies k of the accounts and the table of row t and copy c, as the beginning of a statement.
prop_trading_model.recon_removed_rows AS k
                WHERE k.table_name = c.table_name AND k.account_id IN (c.account_id, t.account_id::text, r.account_id::text)

-- name: is_stamped_anew
-- Whether row t was written at another time than the row of copy c and than the copy was kept, as ingestion notes it.
(
    to_jsonb(t) -> 'ingestion_timestamp' IS DISTINCT FROM c.row_data -> 'ingestion_timestamp'
    AND to_jsonb(t) -> 'ingestion_timestamp' NOT IN (to_jsonb(c.removed_at), to_jsonb(c.removed_at AT TIME ZONE 'UTC'))
)

-- name: keep_present_row
-- A copy of the row at a place of {{raw}}, before it gets the values of copy $3; outside any run.
INSERT INTO prop_trading_model.recon_removed_rows (account_id, table_name, date, reason, row_data)
SELECT coalesce(t.account_id, c.account_id), c.table_name, {{day_of_t}}, c.reason, to_jsonb(t)
FROM {{raw}} AS t
JOIN prop_trading_model.recon_removed_rows AS c ON c.removed_id = $3
WHERE t.tableoid = $1::oid AND t.ctid = $2::tid AND {{in_shard}}
RETURNING removed_id

-- name: write_back
-- Give the row at a place of {{raw}} the values of copy $1; the row as it is now, and which of the columns $2 hold something else than the copy.
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
-- Store copy $1 in {{raw}} again; the row as it is now, and which of the columns $2 hold something else than the copy.
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
-- Columns of $2 that a row has otherwise than its copy: by the column's type as it is now, or by a trigger.
ARRAY(
    SELECT held.key FROM jsonb_each(c.row_data) AS held
    WHERE held.key = ANY($2::text[])
      AND held.value IS DISTINCT FROM w.new_row -> held.key AND held.value #>> '{}' IS DISTINCT FROM w.new_row ->> held.key
    ORDER BY held.key
)

-- name: mark_restored
-- Note that a copy was brought back.
UPDATE prop_trading_model.recon_removed_rows SET restored_at = clock_timestamp() WHERE removed_id = $1

-- name: mark_restored_rows
-- Note that copies were brought back.
UPDATE prop_trading_model.recon_removed_rows SET restored_at = clock_timestamp() WHERE removed_id = ANY($1::bigint[])

-- name: lock_copies
-- Copies, locked, and when each was restored.
SELECT removed_id, restored_at FROM prop_trading_model.recon_removed_rows WHERE removed_id = ANY($1::bigint[]) ORDER BY removed_id FOR UPDATE

-- name: lock_present_rows_of_set
-- As lock_present_rows for copies $1 of different rows of {{raw}}, where that is on one server.
SELECT c.removed_id, t.tableoid AS row_table, t.ctid AS row_place, NULL::text AS row_shard, false AS is_elsewhere, t.account_id::text AS account_id, {{day_of_t}} AS day,
       {{has_key}} AS has_key, {{is_equal}} AS is_equal, {{is_foreign}} AS is_foreign, {{stood_there}} AS stood_there, {{beside_as}} AS beside_as
FROM {{plain_copies}} AS c
CROSS JOIN LATERAL {{copied}} AS r
JOIN {{raw}} AS t ON {{same_unit}}
WHERE $2::text[] IS NOT NULL
ORDER BY c.removed_id, {{day_of_t}}
{{locked}}

-- name: keep_present_rows
-- Copies of rows at places ($2 to $4) of {{raw}}, before they get the values of copies $1; outside any run, and numbered in the order of those.
INSERT INTO prop_trading_model.recon_removed_rows (account_id, table_name, date, reason, row_data)
SELECT coalesce(t.account_id, c.account_id), c.table_name, {{day_of_t}}, c.reason, to_jsonb(t)
FROM unnest($1::bigint[], $2::oid[], $3::tid[], $4::date[]) AS p (removed_id, row_table, row_place, day)
JOIN prop_trading_model.recon_removed_rows AS c ON c.removed_id = p.removed_id
JOIN {{raw}} AS t ON {{same_place_p}} AND {{same_day_p}}
ORDER BY p.removed_id
RETURNING removed_id

-- name: write_back_rows
-- Give rows at places ($3 to $5) of {{raw}} the values of copies $2; the rows as they are now, and which of the columns $1 hold something else than the copy.
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
-- As write_back_rows, of a table that stores rows just as copies have them.
UPDATE {{raw}} AS t SET {{assignments}}
FROM unnest($1::bigint[], $2::oid[], $3::tid[], $4::date[]) AS p (removed_id, row_table, row_place, day)
JOIN prop_trading_model.recon_removed_rows AS c ON c.removed_id = p.removed_id
CROSS JOIN LATERAL jsonb_populate_record(NULL::{{raw}}, c.row_data) AS r
WHERE {{same_place_p}} AND {{same_day_p}}
RETURNING c.removed_id, t.account_id::text AS account_id, {{day_of_t}} AS day, '{}'::text[] AS changed

-- name: insert_rows_as_copied
-- As insert_rows_again, of a table that stores rows just as copies have them: which they are needs not be told.
INSERT INTO {{raw}} AS t ({{columns}}) OVERRIDING SYSTEM VALUE
SELECT {{r_columns}}
FROM prop_trading_model.recon_removed_rows AS c
CROSS JOIN LATERAL jsonb_populate_record(NULL::{{raw}}, c.row_data) AS r
WHERE c.removed_id = ANY($1::bigint[])

-- name: insert_rows_again
-- Store copies $1 in {{raw}} again; the rows as they are now, each by its copy's key, and which of the columns $2 hold something else than the copy.
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
-- As name_changed_columns, for columns `compared`; most rows are just as their copies.
CASE WHEN w.new_row = c.row_data THEN '{}'::text[] ELSE ARRAY(
    SELECT held.key FROM jsonb_each(c.row_data) AS held
    WHERE held.key = ANY(c.compared)
      AND held.value IS DISTINCT FROM w.new_row -> held.key AND held.value #>> '{}' IS DISTINCT FROM w.new_row ->> held.key
    ORDER BY held.key
) END

-- name: plain_copies
-- Copies {{ids}}, each opened once: PostgreSQL would open a long row for every column that is read of it.
(
    SELECT removed_id, account_id, table_name, date, reason, right_date, run_id, removed_at, restored_at, xmin AS xmin, cmin AS cmin, row_data || '{}'::jsonb AS row_data
    FROM prop_trading_model.recon_removed_rows WHERE removed_id = ANY({{ids}}::bigint[])
    OFFSET 0
)

-- name: list_changes
-- Copies of an account $1, a table $2, a run $3, a date $4 (null: any) under which the row stood, to which it was moved, or under which the trade stands whose double it was, older than copy $5, at most $6,
-- newest first; each with what the next change of the same row found, the kind of its run, and the issues of the account that were open then: all, and those
-- that name the date. What a restore kept is of one transaction with the mark of the copy that it brought back, whose pin has its reason.
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
-- Copies of trades of {{table}} that stand, or stood at a later copy, under the date $4 to which they were moved; filters as in list_changes.
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
-- Whether the row of a copy c of {{table}} was moved, and the copy is one of those that are wanted.
c.table_name = {{table}} AND c.reason = 'moved' AND c.date IS DISTINCT FROM $4::date AND ($1::text IS NULL OR c.account_id = $1::text)
      AND ($2::text IS NULL OR c.table_name = $2::text) AND ($3::uuid IS NULL OR c.run_id = $3::uuid) AND ($5::bigint IS NULL OR c.removed_id < $5::bigint)

-- name: get_present_rows
-- The rows of {{raw}} that stand for copies $1 now, those of the whole key first, and whether somebody else wrote them since.
SELECT c.removed_id, {{has_key}} AS has_key, to_jsonb(t)::text AS row_text, {{is_foreign}} AS is_foreign, {{stood_there}} AS stood_there
FROM prop_trading_model.recon_removed_rows AS c
CROSS JOIN LATERAL jsonb_populate_record(NULL::{{raw}}, c.row_data) AS r
JOIN {{raw}} AS t ON {{same_unit}}
WHERE c.removed_id = ANY($1::bigint[])
ORDER BY c.removed_id, has_key DESC, ({{day_of_t}} = c.right_date) IS TRUE DESC, {{day_of_t}} DESC

-- name: list_nulled_rows
-- Rows of upstream that were stored with NULL in place of a value: of an account $1, a table $2, a run $3, a date $4 (null: any), at most $5, newest first.
SELECT table_name, account_id, date, row_key, reason, row_data::text AS row_text, run_id, last_seen
FROM prop_trading_model.recon_set_aside_rows
WHERE reason LIKE '%stored with NULL, %' AND ($1::text IS NULL OR account_id = $1::text) AND ($2::text IS NULL OR table_name = $2::text)
  AND ($3::uuid IS NULL OR run_id = $3::uuid) AND ($4::date IS NULL OR date = $4::date)
ORDER BY last_seen DESC, table_name, row_key, row_digest
LIMIT $5
