-- name: get_violated_index
-- The unique index named $4 of table $2.$3, if that is the raw table ($1), its partition or child:
-- whether it is plain (columns only, all rows), its columns and definition.
WITH RECURSIVE family AS (
    SELECT to_regclass($1)::oid AS relid
    UNION
    SELECT i.inhrelid FROM family AS f JOIN pg_inherits AS i ON i.inhparent = f.relid
)
SELECT i.indpred IS NULL AND i.indexprs IS NULL AS is_plain, substring(pg_get_indexdef(i.indexrelid) FROM 'USING .*') AS definition,
       ARRAY(
           SELECT a.attname::text
           FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (number, place)
           JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
           WHERE k.place <= i.indnkeyatts
           ORDER BY k.place
       ) AS columns
FROM family AS f
JOIN pg_index AS i ON i.indrelid = f.relid AND i.indisunique
JOIN pg_class AS x ON x.oid = i.indexrelid AND x.relname = $4
JOIN pg_class AS t ON t.oid = f.relid AND t.relname = $3
JOIN pg_namespace AS n ON n.oid = t.relnamespace AND n.nspname = $2
