-- Functions on the partitions of raw tables: what stands is told from the catalogue, and months are made where that changes
-- nothing else.

CREATE FUNCTION prop_trading_model.recon_create_partitions(parent text, months date[]) RETURNS text[]
LANGUAGE plpgsql
SET datestyle = 'ISO' AS $$
DECLARE
    month date;
    partition text;
    created text[] := '{}';
    parent_table regclass := format('%I.%I', 'prop_trading_model', parent)::regclass;
    parent_owner name;
    identity_is_full boolean;
BEGIN
    -- Only of a table that is partitioned by ranges of a date, and whose owner we are or may act as.
    IF NOT EXISTS (
        SELECT FROM pg_partitioned_table AS p
        JOIN pg_class AS c ON c.oid = p.partrelid
        JOIN pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] AND a.atttypid = 'date'::regtype
        WHERE p.partrelid = parent_table AND p.partstrat = 'r' AND p.partnatts = 1
          AND pg_has_role(c.relowner, 'USAGE') AND has_schema_privilege(c.relnamespace, 'CREATE')
    ) THEN
        RETURN created;
    END IF;
    -- Two workers that need the same month: the second waits here, then finds it made.
    PERFORM pg_advisory_xact_lock(hashtext('trade-recon partitions'), parent_table::oid::integer);
    SELECT pg_get_userbyid(relowner) INTO parent_owner FROM pg_class WHERE oid = parent_table;
    SELECT coalesce(bool_or(c.relreplident = 'f'), false) INTO identity_is_full
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = parent_table;
    FOR month IN SELECT DISTINCT date_trunc('month', m)::date FROM unnest(months) m ORDER BY 1 LOOP
        partition := format('%s_%s', parent, to_char(month, 'YYYY_MM'));
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_inherits WHERE inhparent = parent_table AND inhrelid = to_regclass(format('%I.%I', 'prop_trading_model', partition))
        );
        BEGIN
            -- The table first, then ATTACH: it takes a weaker lock on the parent than CREATE TABLE ... PARTITION OF.
            -- An identity column belongs to the parent alone.
            EXECUTE format(
                'CREATE TABLE %I.%I (LIKE %I.%I INCLUDING ALL EXCLUDING IDENTITY)', 'prop_trading_model', partition, 'prop_trading_model', parent
            );
            IF parent_owner <> current_user THEN
                EXECUTE format('ALTER TABLE %I.%I OWNER TO %I', 'prop_trading_model', partition, parent_owner);
            END IF;
            IF identity_is_full THEN
                EXECUTE format('ALTER TABLE %I.%I REPLICA IDENTITY FULL', 'prop_trading_model', partition);
            END IF;
            EXECUTE format(
                'ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
                'prop_trading_model', parent, 'prop_trading_model', partition, month, (month + interval '1 month')::date
            );
            created := created || partition;
        EXCEPTION WHEN invalid_object_definition OR check_violation OR duplicate_table OR insufficient_privilege OR lock_not_available THEN
            -- A partition of another name holds this month or a part of it, the default partition has rows of it and takes the new ones
            -- too, the name is another table's (a partition that was detached, say), or we may not or cannot now: the inner block undid
            -- the table, and whoever needs a day that has no partition asks recon_partition_gaps.
            NULL;
        END;
    END LOOP;
    RETURN created;
END
$$;
COMMENT ON FUNCTION prop_trading_model.recon_create_partitions IS
    'makes the monthly partitions TABLE_YYYY_MM that are missing; gives the names of those made';

CREATE FUNCTION prop_trading_model.recon_partition_gaps(parent text, days date[]) RETURNS TABLE (day date, gap_from date, gap_to date)
LANGUAGE sql STABLE
-- The bounds below are read from text.
SET datestyle = 'ISO' AS $$
    WITH partitioned AS (
        SELECT p.partrelid
        FROM pg_partitioned_table AS p
        JOIN pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] AND a.atttypid = 'date'::regtype
        WHERE p.partrelid = format('%I.%I', 'prop_trading_model', parent)::regclass AND p.partstrat = 'r' AND p.partnatts = 1 AND p.partdefid = 0
    ), bounds AS (
        SELECT
            CASE bound[1] WHEN 'MINVALUE' THEN '-infinity' ELSE btrim(bound[1], '''')::date END AS first,
            CASE bound[2] WHEN 'MAXVALUE' THEN 'infinity' ELSE btrim(bound[2], '''')::date END AS behind
        FROM partitioned AS p
        JOIN pg_inherits AS i ON i.inhparent = p.partrelid
        JOIN pg_class AS c ON c.oid = i.inhrelid
        CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES FROM \((.*)\) TO \((.*)\)$') AS bound
    )
    SELECT
        d.day,
        greatest(date_trunc('month', d.day)::date, (SELECT max(behind) FROM bounds WHERE behind <= d.day)),
        least((date_trunc('month', d.day) + interval '1 month')::date, (SELECT min(first) FROM bounds WHERE first > d.day))
    FROM partitioned
    CROSS JOIN (SELECT DISTINCT unnest(days) AS day) AS d
    WHERE NOT EXISTS (SELECT FROM bounds WHERE d.day >= first AND d.day < behind)
    ORDER BY d.day
$$;
COMMENT ON FUNCTION prop_trading_model.recon_partition_gaps IS
    'days of which no partition takes rows, each with the stretch of its month that none takes; none where the table is not partitioned by ranges of dates';

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
COMMENT ON FUNCTION prop_trading_model.recon_partition_years IS
    'the first and the last year of which a table has partitions; null where it has none';

-- The latest of the first bounds of those tables that are partitioned by ranges of dates: what one of them holds no more is
-- compared in none. Null where none has a first bound: no partition but a default one, or one without a lower end.
CREATE FUNCTION prop_trading_model.recon_held_from(parents text[]) RETURNS date
LANGUAGE sql STABLE
-- The bounds below are read from text.
SET datestyle = 'ISO' AS $$
    SELECT nullif(max(first), '-infinity')
    FROM (
        SELECT min(CASE bound[1] WHEN 'MINVALUE' THEN '-infinity' ELSE btrim(bound[1], '''')::date END) AS first
        FROM unnest(parents) AS parent
        JOIN pg_partitioned_table AS p ON p.partrelid = to_regclass(format('%I.%I', 'prop_trading_model', parent)) AND p.partstrat = 'r' AND p.partnatts = 1
        JOIN pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] AND a.atttypid = 'date'::regtype
        JOIN pg_inherits AS i ON i.inhparent = p.partrelid AND NOT i.inhdetachpending
        JOIN pg_class AS c ON c.oid = i.inhrelid
        CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES FROM \((.*)\) TO \((.*)\)$') AS bound
        GROUP BY p.partrelid
    ) AS tables
$$;
COMMENT ON FUNCTION prop_trading_model.recon_held_from IS
    'the date from which on partitioned tables hold rows, as their attached partitions tell; null where these tell none';
