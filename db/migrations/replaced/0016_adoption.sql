-- What a warehouse with a history needs: the table of an earlier system brought into our shape, and partitions made only
-- where that changes nothing else.

-- An earlier system left columns empty that ours reads as figures and flags.
UPDATE prop_trading_model.trade_recon
SET has_alltime = coalesce(has_alltime, false), num_trades_alltime = coalesce(num_trades_alltime, 0),
    has_daily = coalesce(has_daily, false), num_trades_daily = coalesce(num_trades_daily, 0),
    has_hourly = coalesce(has_hourly, false), num_trades_hourly = coalesce(num_trades_hourly, 0),
    has_raw_closed = coalesce(has_raw_closed, false), num_trades_raw_closed = coalesce(num_trades_raw_closed, 0),
    trades_recon_checksum = coalesce(trades_recon_checksum, false),
    issues = CASE jsonb_typeof(issues) WHEN 'array' THEN issues WHEN 'object' THEN jsonb_build_array(issues) ELSE '[]' END,
    failed_attempts = coalesce(failed_attempts, 0),
    created_at = coalesce(created_at, now()),
    reconciliation_status = coalesce(reconciliation_status, 'pending')
WHERE num_nulls(has_alltime, num_trades_alltime, has_daily, num_trades_daily, has_hourly, num_trades_hourly, has_raw_closed, num_trades_raw_closed,
                trades_recon_checksum, issues, failed_attempts, created_at, reconciliation_status) > 0
   OR jsonb_typeof(issues) <> 'array';

ALTER TABLE prop_trading_model.trade_recon
    ALTER COLUMN has_alltime SET DEFAULT false, ALTER COLUMN has_alltime SET NOT NULL,
    ALTER COLUMN num_trades_alltime SET DEFAULT 0, ALTER COLUMN num_trades_alltime SET NOT NULL,
    ALTER COLUMN has_daily SET DEFAULT false, ALTER COLUMN has_daily SET NOT NULL,
    ALTER COLUMN num_trades_daily SET DEFAULT 0, ALTER COLUMN num_trades_daily SET NOT NULL,
    ALTER COLUMN has_hourly SET DEFAULT false, ALTER COLUMN has_hourly SET NOT NULL,
    ALTER COLUMN num_trades_hourly SET DEFAULT 0, ALTER COLUMN num_trades_hourly SET NOT NULL,
    ALTER COLUMN has_raw_closed SET DEFAULT false, ALTER COLUMN has_raw_closed SET NOT NULL,
    ALTER COLUMN num_trades_raw_closed SET DEFAULT 0, ALTER COLUMN num_trades_raw_closed SET NOT NULL,
    ALTER COLUMN trades_recon_checksum SET DEFAULT false, ALTER COLUMN trades_recon_checksum SET NOT NULL,
    ALTER COLUMN issues SET DEFAULT '[]', ALTER COLUMN issues SET NOT NULL,
    ALTER COLUMN failed_attempts SET DEFAULT 0, ALTER COLUMN failed_attempts SET NOT NULL,
    ALTER COLUMN created_at SET DEFAULT now(), ALTER COLUMN created_at SET NOT NULL,
    ALTER COLUMN reconciliation_status SET DEFAULT 'pending', ALTER COLUMN reconciliation_status SET NOT NULL,
    -- An account is not checked when it becomes known: the first run takes the longest unchecked first.
    ALTER COLUMN last_checked DROP DEFAULT, ALTER COLUMN last_checked DROP NOT NULL;

-- Where the function was made before it knew what to do without an account, as triggers of ingestion may call it.
DO $$
DECLARE
    definition text;
BEGIN
    SELECT pg_get_functiondef(oid) INTO definition
    FROM pg_proc
    WHERE pronamespace = quote_ident('prop_trading_model')::regnamespace AND proname = 'update_trade_recon_stats' AND prosrc !~ '\$1 IS NOT NULL';
    IF FOUND THEN
        EXECUTE replace(definition, 'AS s ON true', 'AS s ON true WHERE $1 IS NOT NULL');
    END IF;
END
$$;

-- Entries of an earlier system may hold a severity that is no number.
CREATE OR REPLACE FUNCTION prop_trading_model.get_issue_statistics()
RETURNS TABLE (issue_type text, severity integer, account_count bigint, sample_accounts text[])
LANGUAGE sql STABLE AS $$
    SELECT issue ->> 'type', CASE WHEN issue ->> 'severity' ~ '^\d{1,9}$' THEN (issue ->> 'severity')::integer END, count(DISTINCT account_id),
           (array_agg(DISTINCT account_id::text))[1:5]
    FROM prop_trading_model.trade_recon, jsonb_array_elements(issues) AS issue
    WHERE issues <> '[]'
    GROUP BY 1, 2
    ORDER BY 2, 3 DESC, 1
$$;

CREATE OR REPLACE FUNCTION prop_trading_model.recon_create_partitions(parent text, months date[]) RETURNS text[]
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
