-- name: get_staging_columns
-- Columns and types of staging table $1, in its order.
SELECT attname AS column, format_type(atttypid, atttypmod) AS type
FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
ORDER BY attnum
