-- name: get_costly_tables
-- Large raw tables with an index covering counts but not amounts, whose sums would read all rows.
SELECT uncovered.table_name
FROM (
    SELECT w.raw AS table_name, c.oid AS relation
    FROM unnest($1::text[]) WITH ORDINALITY AS w (raw, place)
    JOIN pg_class AS c ON c.relname = w.raw
        AND c.relnamespace = to_regnamespace(quote_ident('prop_trading_model'))
    JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL
    CROSS JOIN LATERAL (
        SELECT array_agg(a.attname::text) AS names FROM pg_attribute AS a
            WHERE a.attrelid = i.indexrelid
    ) AS held
    GROUP BY w.raw, w.place, c.oid
    HAVING bool_or(string_to_array(($2::text[])[w.place], ',') <@ held.names)
       AND NOT bool_or(string_to_array(($2::text[])[w.place] || ',' || ($3::text[])[w.place],
           ',') <@ held.names)
) AS uncovered
-- Asking for a table's size checks each of its files.
WHERE (SELECT sum(pg_table_size(t.relid)) FROM pg_partition_tree(uncovered.relation) AS t) > $4
