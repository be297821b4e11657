-- name: get_writable
-- The ordinals of the rows that may be written, to search among them for one that is refused.
SELECT s.ordinal
FROM {{stage}} AS s
WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}}
ORDER BY s.ordinal
