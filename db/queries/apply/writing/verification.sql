-- name: get_changed_rows
-- Rows of upstream that are stored with other values than they were written with, by the columns, and whether these are figures by which accounts are judged.
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
-- Note at rows ($2) the columns ($3) that hold something else than was written.
UPDATE {{stage}} AS s SET nulled = coalesce(s.nulled, '{}') || $3::text[] WHERE s.fetch_id = $1 AND s.ordinal = ANY($2::bigint[])
