-- name: get_columns
-- Present columns of table $1, and what may be written to them.
SELECT attname AS name, attgenerated <> '' AS is_generated, attidentity = 'a' AS is_numbered, format_type(atttypid, atttypmod) AS sql_type,
       CASE WHEN atttypid IN ('text'::regtype, 'varchar'::regtype) THEN 'text'
            WHEN atttypid = ANY(ARRAY['int2', 'int4', 'int8', 'numeric', 'float4', 'float8', 'bool', 'date', 'timestamp', 'timestamptz', 'uuid']::regtype[]) THEN 'plain'
            ELSE 'other' END AS sort
FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
ORDER BY attnum
