-- name: get_changed_rows
-- Rows stored with other values than written, by columns, and whether these are figures that
-- accounts are judged by.
SELECT columns, figures, array_agg(ordinal ORDER BY ordinal) AS ordinals
FROM (
    SELECT DISTINCT ON (s.ordinal) s.ordinal, {{figures_differ}} AS figures, {{changed_columns}} AS columns
    FROM {{stage}} AS s
    JOIN {{raw}} AS t ON {{same_key}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND {{is_theirs}} AND {{values_differ}}
    ORDER BY s.ordinal
) AS changed
GROUP BY columns, figures

-- name: note_changed_values
-- Record at rows ($2) the columns ($3) that differ from what was written.
UPDATE {{stage}} AS s SET nulled = coalesce(s.nulled, '{}') || $3::text[] WHERE s.fetch_id = $1 AND s.ordinal = ANY($2::bigint[])
