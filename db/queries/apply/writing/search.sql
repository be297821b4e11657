-- name: get_writable
-- Ordinals of writable rows, to search for a rejected one.
SELECT s.ordinal
FROM {{stage}} AS s
WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}}
ORDER BY s.ordinal
