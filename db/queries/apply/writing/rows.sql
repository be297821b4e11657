-- name: overwrite_rows
-- Overwrite stored rows that differ in sent fields, keeping copies, in key order; {{only}} limits
-- them to ordinals. A trade under an id of none of these accounts ($2) is only taken if no later
-- writer than the fetch ($6) can have written it. Rows that a trigger kept come last.
WITH changed AS MATERIALIZED (
    SELECT {{t_key}}{{place}}, s.ordinal, to_jsonb(t) AS old_row, {{figures_differ}} AS figures, {{loses}} AS loses, {{falls}} AS falls, {{blanks}} AS blanks, {{gains}} AS gains,
           {{new_values}}
    FROM {{stage}} AS s
    JOIN {{raw}} AS t ON {{same_key}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND {{only}}
      AND {{differ}}
      AND ({{is_theirs}} OR {{is_old}})
    ORDER BY {{t_key}}
    {{locked_to_change}}
), written AS (
    UPDATE {{raw}} AS t SET {{assignments}}
    FROM changed AS m
    WHERE {{same_row}}
    RETURNING m.ordinal, t.account_id, nullif(m.old_row ->> 'account_id', t.account_id) AS holder, {{day_of_t}} AS day, m.figures, m.loses, m.falls, m.blanks, m.gains, m.old_row
), copies AS (
    INSERT INTO prop_trading_model.recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT $4, old_row ->> 'account_id', $5, day, 'overwritten', old_row FROM written
)
SELECT account_id, holder, count(*) AS rows, array_agg(DISTINCT day) AS days, array_agg(DISTINCT day) FILTER (WHERE figures) AS figure_days,
       count(*) FILTER (WHERE loses) AS lost, array_agg(DISTINCT day) FILTER (WHERE loses) AS lost_days, array_agg(day) FILTER (WHERE falls) AS fallen_days, bool_or(blanks) AS blanks, count(*) FILTER (WHERE gains AND NOT loses) AS gained, NULL::bigint[] AS resisting
FROM written
GROUP BY account_id, holder
UNION ALL
-- EXCEPT hashes; with a join PostgreSQL would estimate one row and loop over all pairs.
SELECT NULL, NULL, 0, NULL, NULL, 0, NULL, NULL, false, 0, array_agg(ordinal) FROM (SELECT ordinal FROM changed EXCEPT SELECT ordinal FROM written) AS kept HAVING count(*) > 0

-- name: insert_rows
-- Insert missing rows in key order, skipping the existence check if none is stored; {{only}} limits
-- them to ordinals, in a search for rejected ones.
WITH written AS (
    INSERT INTO {{raw}} ({{columns}})
    SELECT {{s_columns}}
    FROM {{stage}} AS s
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND {{only}} AND {{is_missing}}
    ORDER BY {{s_key}}
    RETURNING account_id, {{date}} AS day, {{broker}} AS broker, {{is_empty}} AS is_empty
), counted AS (
    INSERT INTO prop_trading_model.recon_run_inserts (run_id, table_name, date, broker, rows)
    SELECT $4::uuid, $5::text, day, broker, count(*) FROM written WHERE $4::uuid IS NOT NULL GROUP BY day, broker
)
SELECT account_id, array_agg(day) AS days, array_agg(rows) AS rows, array_agg(day) FILTER (WHERE is_empty) AS empty_days
FROM (SELECT account_id, day, count(*)::integer AS rows, bool_or(is_empty) AS is_empty FROM written GROUP BY account_id, day) AS by_day
GROUP BY account_id

-- name: get_missing_rows
-- Rows of upstream that are not stored; {{only}} limits them to ordinals.
SELECT s.ordinal, s.account_id, {{day_of_s}} AS day
FROM {{stage}} AS s
WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND {{only}} AND NOT {{is_stored}}

-- name: avoid_sort
-- For the rest of the transaction prefer index order over sorting.
SELECT set_config('enable_sort', 'off', true)
