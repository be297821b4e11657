-- name: get_differing_rows
-- Rows of a fetch ($1), accounts ($2) and dates ($3) that are stored with other values than
-- upstream sends, by differing columns, with old and new values of the first $4. Before a write
-- only writable rows; after it ($5) rejected ones too, except withheld ($6), too narrow ($7) and
-- pinned ones.
WITH differing AS MATERIALIZED (
    SELECT coalesce(s.account_id, t.account_id)::text AS account_id, {{day_of_s}} AS day, s.ordinal, s.refused IS NOT NULL AS refused, {{key_text}} AS row_key,
           ARRAY(
               SELECT name FROM unnest({{changed_columns}}) AS name
               -- Values chosen by a trigger are reported as such.
               WHERE NOT name || ' (changed by the table)' = ANY(coalesce(s.nulled, '{}'))
           ) AS columns, to_jsonb(t) AS old_row, to_jsonb(s) AS new_row
    FROM {{stage}} AS s
    JOIN {{raw}} AS t ON {{same_key}}
    WHERE s.fetch_id = $1 AND {{held}} AND {{is_theirs}} AND {{values_differ}}
      AND (
          s.refused IS NULL
          OR $5::boolean AND NOT starts_with(s.refused, $6) AND NOT starts_with(s.refused, $7) AND s.refused <> {{pinned}}
      )
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY account_id, day, columns, refused ORDER BY ordinal) AS place
    FROM differing
    WHERE columns <> '{}'
)
SELECT account_id, day, columns, refused, count(*) AS rows,
       jsonb_agg(jsonb_build_object('key', row_key, 'columns', (
           SELECT jsonb_object_agg(name, jsonb_build_object('old', old_row -> name, 'new', new_row -> name)) FROM unnest(columns) AS name
       )) ORDER BY ordinal) FILTER (WHERE place <= $4) AS samples
FROM ranked
WHERE account_id IS NOT NULL
GROUP BY account_id, day, columns, refused
ORDER BY account_id, day, columns, refused

-- name: get_lacking_rows
-- Rows of a fetch ($1), accounts ($2) and dates ($3) that are not stored, and whether they count no
-- trade; names $4 of them.
SELECT s.account_id::text AS account_id, {{day_of_s}} AS day, {{has_no_trades}} AS is_empty, count(*) AS rows,
       (array_agg({{key_text}} ORDER BY s.ordinal))[1:$4::integer] AS keys
FROM {{stage}} AS s
WHERE s.fetch_id = $1 AND s.refused IS NULL AND s.account_id IS NOT NULL AND {{held}} AND NOT {{is_stored}}
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3

-- name: get_unsent_rows
-- Stored rows of table $5, accounts ($2) and dates ($3) that a fetch ($1) did not send, with their
-- trades; names $4 of them. Pinned rows are not compared.
SELECT t.account_id::text AS account_id, {{day_of_t}} AS day, count(*) AS rows, sum({{row_trades}})::bigint AS trades,
       (array_agg({{t_key_text}}))[1:$4::integer] AS keys
FROM {{raw}} AS t
LEFT JOIN (SELECT * FROM {{stage}} WHERE fetch_id = $1) AS s ON {{same_key}}
WHERE t.account_id = ANY($2::text[]) AND {{in_slice}} AND s.{{first_key}} IS NULL
  AND NOT EXISTS (SELECT FROM prop_trading_model.recon_pins AS p WHERE p.table_name = $5 AND p.row_key = {{unit_of_t}})
GROUP BY 1, 2
ORDER BY 1, 2

-- name: count_sent_rows
-- Number of rows that a fetch ($1) sent for accounts ($2).
SELECT account_id::text AS account_id, count(*) AS rows FROM {{stage}} WHERE fetch_id = $1 AND account_id = ANY($2::text[]) GROUP BY account_id

-- name: get_doubled_days
-- All dates of trades stored more than once, where accounts and dates ($1, $2) count more trades
-- than daily.
SELECT account_id, array_agg(DISTINCT day) AS days
FROM (
    SELECT w.account_id, unnest(ARRAY[s.{{date}}, t.{{date}}]) AS day
    FROM unnest($1::text[], $2::date[]) AS w (account_id, day)
    JOIN {{raw}} AS s ON s.account_id = w.account_id AND s.{{date}} = w.day
    JOIN {{raw}} AS t ON {{same_unit}} AND t.{{date}} <> s.{{date}}{{t_since}}
    WHERE s.account_id = ANY($1::text[]) AND s.{{date}} = ANY($2::date[]) AND t.{{date}} BETWEEN '0001-01-01' AND '9999-12-31'
) AS doubled
GROUP BY account_id
