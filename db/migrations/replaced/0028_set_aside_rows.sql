-- Each row that cannot be held is kept, also where several share a key; and the years of partitions are known.

ALTER TABLE prop_trading_model.recon_set_aside_rows
    ADD COLUMN row_digest text NOT NULL DEFAULT '',
    ADD COLUMN copies bigint NOT NULL DEFAULT 1,
    ADD COLUMN date date;
COMMENT ON COLUMN prop_trading_model.recon_set_aside_rows.row_digest IS 'tells rows apart that share a key: MD5 of what was sent';
COMMENT ON COLUMN prop_trading_model.recon_set_aside_rows.copies IS 'how often the very same row was sent';
COMMENT ON COLUMN prop_trading_model.recon_set_aside_rows.date IS 'the date of the row, by which it is taken off once the date was read without it; null where it has none';
ALTER TABLE prop_trading_model.recon_set_aside_rows DROP CONSTRAINT recon_set_aside_rows_pkey, ADD PRIMARY KEY (table_name, row_key, row_digest);
CREATE INDEX recon_set_aside_rows_of_account ON prop_trading_model.recon_set_aside_rows (account_id, table_name);
COMMENT ON INDEX prop_trading_model.recon_set_aside_rows_of_account IS 'changes: take_off_set_aside';

CREATE FUNCTION prop_trading_model.recon_partition_years(parent text) RETURNS TABLE (first_year integer, last_year integer)
LANGUAGE sql STABLE
-- The bounds below are read from text.
SET datestyle = 'ISO' AS $$
    SELECT min(extract(year FROM bound.first))::integer, max(extract(year FROM bound.last))::integer
    FROM pg_inherits AS i
    JOIN pg_class AS c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES FROM \((.*)\) TO \((.*)\)$') AS written
    CROSS JOIN LATERAL (
        SELECT
            CASE written[1] WHEN 'MINVALUE' THEN '-infinity' ELSE btrim(written[1], '''')::date END AS first,
            -- The end itself is not in the partition.
            CASE written[2] WHEN 'MAXVALUE' THEN 'infinity' ELSE (btrim(written[2], '''')::date - 1) END AS last
    ) AS bound
    WHERE i.inhparent = format('%I.%I', 'prop_trading_model', parent)::regclass AND isfinite(bound.first) AND isfinite(bound.last)
$$;
COMMENT ON FUNCTION prop_trading_model.recon_partition_years IS 'the first and the last year of which a table has partitions; null where it has none';
