-- The schema as db/migrations make it in an empty database, without monthly partitions.
-- Written by `make schema`; a test compares it with the migrations. Change these, not this file.
--
-- Raw tables, written by your ingestion and repaired here
--   raw_metrics_alltime: an account
--   raw_metrics_daily: an account and a date
--   raw_metrics_hourly: an account, a date and an hour
--   raw_trades_closed: a closed trade
--   raw_trades_open: an open trade of a snapshot
--
-- What dashboards read
--   trade_recon: one row an account: totals of each table, trades_recon_checksum, open issues,
--       reconciliation_status, failures
--   v_reconciliation_progress: how much of the warehouse agrees with itself
--   mv_all_account_ids: every account of the raw tables; a placeholder is none
--   get_issue_statistics: function: open issues by type and severity, with five accounts of each
--   update_trade_recon_stats: function: recomputes totals and checksum of one account
--   v_recon_days: the day matrix: what each table counts for an account on a date, side by side
--   v_recon_stats: totals of each account by table, and the number of dates on which the tables
--       disagree
--   v_recon_mismatched: accounts that a run takes: their tables disagree, an issue is open, or a
--       descent is not finished
--
-- Runs
--   recon_runs: each run: kind, request, status, figures, error
--   recon_attempts: each account of each run: while outcome is null it waits, or was left when the
--       run ended; then what was done
--   recon_workers: one row a worker process; claims of one whose heartbeat is older than the lease
--       are free
--   recon_fetches: whose rows are in staging, so that those of dead workers can be dropped
--   recon_shared_reads: dates of tables that a run reads once for all of its batches
--   recon_stage_alltime, recon_stage_daily, recon_stage_hourly, recon_stage_closed: pages that wait
--       until their fetch is proven
--   recon_orders: orders (start, pause, resume, cancel, confirm, restore, release, maintenance)
--       with their reasons
--   recon_run_inserts: rows that runs inserted, by table, date and broker
--   recon_run_losses: what a run takes from accounts that were not held before: its guards count
--       this over all processes
--   recon_inspection_figures: what inspections counted by issue, table, broker and date
--   recon_quota: one row: how far the quota of the API is spent, over all processes
--   recon_report: one row: the figures of the report as they were last counted
--
-- What was changed, and issues
--   recon_removed_rows: each row of a raw table as it stood before it was removed, moved or
--       overwritten
--   recon_changes: the change feed: slices that were written, in the order of their commits; old
--       rows may be deleted
--   recon_pins: rows that were restored: no run changes them until they are released, or upstream
--       sends the same values
--   recon_set_aside_rows: rows that upstream sends and the warehouse cannot hold as they are, with
--       the reason
--   recon_issue_history: each issue with the time it was opened and closed, and as what
--   recon_accepted_issues: issues that are accepted, and those whose acceptance is over, with the
--       reason
--   recon_few_hours: accounts with dates of more than ten trades and a single hourly row
--   recon_money_relations: which sums of net profit and lots are equal between two tables
--
-- Whose a row is
--   recon_identity: which account held a natural key when
--   recon_identity_findings: rows whose account id is missing, a placeholder or another account's,
--       by natural key, with candidates
--   recon_foreign_metrics: metrics rows under an id that is not their natural key's
--   recon_shared_ids: account ids that upstream sent for several natural keys
--   recon_upstream_holders: accounts under which upstream sent a natural key that stands, or may
--       stand, under a placeholder
--   recon_unmatched_keys: natural keys that fit no account or several, and the first run that ended
--       with each
--
-- What an audit keeps
--   recon_scan, recon_scan_days: what an audit saw of upstream's alltime metrics and of unsettled
--       dates; their rows go when the run ends
--   recon_drift: accounts that an audit found different from upstream, or absent there
--   recon_descents: dates whose daily row was repaired and whose finer rows were not read since
--   recon_doubted_dates: settled dates on which a run lowered, blanked or removed figures: audits
--       read them again for a week
--   recon_history: what upstream's daily rows count of an account before the history that is
--       compared
--   recon_window: one row: the first date of the history, by RECON_HISTORY_FROM; null: all

CREATE SCHEMA prop_trading_model;

CREATE FUNCTION prop_trading_model.get_issue_statistics() RETURNS TABLE(issue_type text, severity integer, account_count bigint, sample_accounts text[])
    LANGUAGE sql STABLE
    AS $_$
    SELECT CASE jsonb_typeof(issue -> 'type') WHEN 'string' THEN issue ->> 'type' ELSE 'unknown' END,
           CASE WHEN issue ->> 'severity' ~ '^[1-5]$' THEN (issue ->> 'severity')::integer ELSE 5 END, count(DISTINCT account_id),
           (array_agg(DISTINCT account_id::text))[1:5]
    FROM "prop_trading_model".trade_recon, jsonb_array_elements(CASE jsonb_typeof(issues) WHEN 'array' THEN issues ELSE '[]' END) AS issue
    WHERE issues <> '[]'
    GROUP BY 1, 2
    ORDER BY 2, 3 DESC, 1
$_$;

COMMENT ON FUNCTION prop_trading_model.get_issue_statistics() IS 'open issues by type and severity, with five accounts of each';

CREATE FUNCTION prop_trading_model.recon_count(value real) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (GREATEST(LEAST(COALESCE(NULLIF(value, 'NaN'::real), (0)::real), ('1000000000000'::bigint)::real), ('-1000000000000'::bigint)::real))::bigint;

CREATE FUNCTION prop_trading_model.recon_count(value double precision) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (GREATEST(LEAST(COALESCE(NULLIF(value, 'NaN'::double precision), (0)::double precision), ('1000000000000'::bigint)::double precision), ('-1000000000000'::bigint)::double precision))::bigint;

CREATE FUNCTION prop_trading_model.recon_count(value smallint) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (COALESCE(value, (0)::smallint))::integer;

CREATE FUNCTION prop_trading_model.recon_count(value integer) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN COALESCE(value, 0);

CREATE FUNCTION prop_trading_model.recon_count(value bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN GREATEST(LEAST(COALESCE(value, (0)::bigint), '1000000000000'::bigint), '-1000000000000'::bigint);

CREATE FUNCTION prop_trading_model.recon_count(value numeric) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (GREATEST(LEAST(COALESCE(NULLIF(value, 'NaN'::numeric), (0)::numeric), ('1000000000000'::bigint)::numeric), ('-1000000000000'::bigint)::numeric))::bigint;

COMMENT ON FUNCTION prop_trading_model.recon_count(value numeric) IS 'a count of trades that can be summed: 0 for NULL and NaN, a trillion for what is beyond';

CREATE FUNCTION prop_trading_model.recon_create_partitions(parent text, months date[]) RETURNS text[]
    LANGUAGE plpgsql
    SET "DateStyle" TO 'ISO'
    AS $$
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

COMMENT ON FUNCTION prop_trading_model.recon_create_partitions(parent text, months date[]) IS 'makes the monthly partitions TABLE_YYYY_MM that are missing; gives the names of those made';

CREATE FUNCTION prop_trading_model.recon_date(value text) RETURNS date
    LANGUAGE plpgsql IMMUTABLE
    AS $$
BEGIN
    RETURN substring(value from '^\d{4}-?\d{2}-?\d{2}')::date;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION prop_trading_model.recon_date(value text) IS 'the date part of a text; NULL if there is no such date';

CREATE FUNCTION prop_trading_model.recon_figure(value text) RETURNS numeric
    LANGUAGE plpgsql IMMUTABLE
    AS $$
DECLARE
    figure numeric := "prop_trading_model".recon_number(value);
BEGIN
    -- Sums of figures must not overflow; NaN is above every number.
    RETURN CASE WHEN abs(figure) < 1e1000 THEN figure END;
END
$$;

COMMENT ON FUNCTION prop_trading_model.recon_figure(value text) IS 'a number that can be compared and summed up, from its text; NULL if it is none';

CREATE FUNCTION prop_trading_model.recon_held_from(parents text[]) RETURNS date
    LANGUAGE sql STABLE
    SET "DateStyle" TO 'ISO'
    AS $_$
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
$_$;

COMMENT ON FUNCTION prop_trading_model.recon_held_from(parents text[]) IS 'the date from which on partitioned tables hold rows, as their attached partitions tell; null where these tell none';

CREATE FUNCTION prop_trading_model.recon_is_placeholder(account_id text, login text, platform text, broker text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((account_id = ''::text) OR COALESCE((account_id = login), false) OR ((char_length(account_id) = 32) AND COALESCE(((lower(account_id) = md5(((((login || '|'::text) || platform) || '|'::text) || COALESCE(broker, ''::text)))) OR ((COALESCE(broker, ''::text) = ''::text) AND (lower(account_id) = md5(((login || '|'::text) || platform))))), false)));

COMMENT ON FUNCTION prop_trading_model.recon_is_placeholder(account_id text, login text, platform text, broker text) IS 'whether a row''s account id may stand in for an unknown one: it is the MD5 of the row''s own natural key, its login, or nothing';

CREATE FUNCTION prop_trading_model.recon_number(value text) RETURNS numeric
    LANGUAGE plpgsql IMMUTABLE
    AS $_$
BEGIN
    -- What PostgreSQL surely holds needs no exception block, which costs a subtransaction each time.
    IF value ~ '^[+-]?[0-9]{1,250}(\.[0-9]{1,250})?([eE][+-]?[0-9]{1,3})?$' THEN
        RETURN value::numeric;
    END IF;
    BEGIN
        RETURN value::numeric;
    EXCEPTION WHEN data_exception THEN
        RETURN NULL;
    END;
END
$_$;

COMMENT ON FUNCTION prop_trading_model.recon_number(value text) IS 'a number from its text; NULL if it is none, or one that PostgreSQL cannot hold';

CREATE FUNCTION prop_trading_model.recon_partition_gaps(parent text, days date[]) RETURNS TABLE(day date, gap_from date, gap_to date)
    LANGUAGE sql STABLE
    SET "DateStyle" TO 'ISO'
    AS $_$
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
$_$;

COMMENT ON FUNCTION prop_trading_model.recon_partition_gaps(parent text, days date[]) IS 'days of which no partition takes rows, each with the stretch of its month that none takes; none where the table is not partitioned by ranges of dates';

CREATE FUNCTION prop_trading_model.recon_partition_years(parent text) RETURNS TABLE(first_year integer, last_year integer)
    LANGUAGE sql STABLE
    SET "DateStyle" TO 'ISO'
    AS $_$
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
$_$;

COMMENT ON FUNCTION prop_trading_model.recon_partition_years(parent text) IS 'the first and the last year of which a table has partitions; null where it has none';

CREATE FUNCTION prop_trading_model.recon_timestamp(value text) RETURNS timestamp without time zone
    LANGUAGE plpgsql STABLE
    AS $_$
BEGIN
    -- PostgreSQL also takes words such as now or yesterday for times.
    IF value !~ '^\d{4}-?\d{2}-?\d{2}' THEN
        RETURN NULL;
    END IF;
    IF value ~ '\d:\d\d.*[+-]\d\d(:?\d\d)?$' THEN
        RETURN value::timestamptz AT TIME ZONE 'UTC';
    END IF;
    RETURN value::timestamp;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$_$;

COMMENT ON FUNCTION prop_trading_model.recon_timestamp(value text) IS 'a time in UTC from its text; NULL if it is none';

CREATE FUNCTION prop_trading_model.update_trade_recon_stats(p_account_id character varying) RETURNS void
    LANGUAGE sql
    AS $_$
    INSERT INTO "prop_trading_model".trade_recon AS r (
        account_id, has_alltime, num_trades_alltime, has_daily, num_trades_daily, has_hourly, num_trades_hourly,
        has_raw_closed, num_trades_raw_closed, mismatched_days, trades_recon_checksum, last_checked
    )
    SELECT
        wanted.account_id, coalesce(has_alltime, false), coalesce(alltime, 0), coalesce(has_daily, false), coalesce(daily, 0),
        coalesce(has_hourly, false), coalesce(hourly, 0), coalesce(has_closed, false), coalesce(closed, 0), coalesce(mismatched_days, 0),
        coalesce(alltime, 0) = coalesce(daily, 0) AND coalesce(daily, 0) = coalesce(hourly, 0) AND coalesce(hourly, 0) = coalesce(closed, 0) AND coalesce(alltime, 0) >= 0,
        now()
    FROM (SELECT $1 AS account_id) AS wanted
    LEFT JOIN (SELECT * FROM "prop_trading_model".v_recon_stats WHERE account_id = $1) AS s ON true
    -- Triggers of ingestion may call this for trades that have no account yet.
    WHERE $1 IS NOT NULL
    ON CONFLICT (account_id) DO UPDATE SET
        has_alltime = excluded.has_alltime, num_trades_alltime = excluded.num_trades_alltime,
        has_daily = excluded.has_daily, num_trades_daily = excluded.num_trades_daily,
        has_hourly = excluded.has_hourly, num_trades_hourly = excluded.num_trades_hourly,
        has_raw_closed = excluded.has_raw_closed, num_trades_raw_closed = excluded.num_trades_raw_closed,
        mismatched_days = excluded.mismatched_days, trades_recon_checksum = excluded.trades_recon_checksum,
        last_checked = excluded.last_checked
$_$;

COMMENT ON FUNCTION prop_trading_model.update_trade_recon_stats(p_account_id character varying) IS 'recomputes the totals and the checksum of one account';

CREATE TABLE prop_trading_model.raw_metrics_alltime (
    login character varying(255),
    account_id character varying(255) NOT NULL,
    plan_id character varying(255),
    trader_id character varying(255),
    status integer,
    type integer,
    phase integer,
    broker integer,
    platform integer,
    price_stream integer,
    country character varying(2),
    approved_payouts numeric(18,2),
    pending_payouts numeric(18,2),
    starting_balance numeric(18,2),
    prior_days_balance numeric(18,2),
    prior_days_equity numeric(18,2),
    current_balance numeric(18,2),
    current_equity numeric(18,2),
    first_trade_date date,
    days_since_initial_deposit integer,
    days_since_first_trade integer,
    num_trades integer,
    first_trade_open timestamp without time zone,
    last_trade_open timestamp without time zone,
    last_trade_close timestamp without time zone,
    lifetime_in_days numeric(10,6),
    net_profit numeric(18,2),
    gross_profit numeric(18,2),
    gross_loss numeric(18,2),
    gain_to_pain numeric(10,2),
    profit_factor numeric(10,2),
    success_rate numeric(5,2),
    expectancy numeric(18,2),
    mean_profit numeric(18,2),
    median_profit numeric(18,2),
    std_profits numeric(18,2),
    risk_adj_profit double precision,
    min_profit numeric(18,2),
    max_profit numeric(18,2),
    profit_perc_10 numeric(18,2),
    profit_perc_25 numeric(18,2),
    profit_perc_75 numeric(18,2),
    profit_perc_90 numeric(18,2),
    profit_top_10_prcnt_trades numeric(18,2),
    profit_bottom_10_prcnt_trades numeric(18,2),
    top_10_prcnt_profit_contrib numeric(5,2),
    bottom_10_prcnt_loss_contrib numeric(5,2),
    one_std_outlier_profit numeric(18,2),
    one_std_outlier_profit_contrib numeric(10,6),
    two_std_outlier_profit numeric(18,2),
    two_std_outlier_profit_contrib numeric(10,6),
    net_profit_per_usd_volume double precision,
    gross_profit_per_usd_volume double precision,
    gross_loss_per_usd_volume double precision,
    distance_gross_profit_loss_per_usd_volume double precision,
    multiple_gross_profit_loss_per_usd_volume double precision,
    gross_profit_per_lot numeric(18,6),
    gross_loss_per_lot numeric(18,6),
    distance_gross_profit_loss_per_lot numeric(18,6),
    multiple_gross_profit_loss_per_lot double precision,
    net_profit_per_duration numeric(18,6),
    gross_profit_per_duration numeric(18,6),
    gross_loss_per_duration numeric(18,6),
    mean_ret double precision,
    std_rets double precision,
    risk_adj_ret double precision,
    downside_std_rets double precision,
    downside_risk_adj_ret double precision,
    total_ret double precision,
    daily_mean_ret double precision,
    daily_std_ret double precision,
    daily_sharpe double precision,
    daily_downside_std_ret double precision,
    daily_sortino double precision,
    rel_net_profit numeric(18,6),
    rel_gross_profit numeric(18,6),
    rel_gross_loss numeric(18,6),
    rel_mean_profit numeric(18,6),
    rel_median_profit numeric(18,6),
    rel_std_profits numeric(18,6),
    rel_risk_adj_profit double precision,
    rel_min_profit numeric(18,6),
    rel_max_profit numeric(18,6),
    rel_profit_perc_10 numeric(18,6),
    rel_profit_perc_25 numeric(18,6),
    rel_profit_perc_75 numeric(18,6),
    rel_profit_perc_90 numeric(18,6),
    rel_profit_top_10_prcnt_trades numeric(18,6),
    rel_profit_bottom_10_prcnt_trades numeric(18,6),
    rel_one_std_outlier_profit numeric(18,6),
    rel_two_std_outlier_profit numeric(18,6),
    mean_drawdown numeric(18,2),
    median_drawdown numeric(18,2),
    max_drawdown numeric(18,2),
    mean_num_trades_in_dd numeric(18,2),
    median_num_trades_in_dd numeric(18,2),
    max_num_trades_in_dd integer,
    rel_mean_drawdown numeric(18,6),
    rel_median_drawdown numeric(18,6),
    rel_max_drawdown numeric(18,6),
    total_lots numeric(18,6),
    total_volume numeric(18,2),
    std_volumes numeric(18,2),
    mean_winning_lot numeric(18,6),
    mean_losing_lot numeric(18,6),
    distance_win_loss_lots numeric(18,6),
    multiple_win_loss_lots numeric(10,6),
    mean_winning_volume numeric(18,2),
    mean_losing_volume numeric(18,2),
    distance_win_loss_volume numeric(18,2),
    multiple_win_loss_volume numeric(10,6),
    mean_duration numeric(18,6),
    median_duration numeric(18,6),
    std_durations numeric(18,6),
    min_duration numeric(18,6),
    max_duration numeric(18,6),
    cv_durations numeric(10,6),
    mean_tp numeric(18,6),
    median_tp numeric(18,6),
    std_tp numeric(18,6),
    min_tp numeric(18,6),
    max_tp numeric(18,6),
    cv_tp numeric(10,6),
    mean_sl numeric(18,6),
    median_sl numeric(18,6),
    std_sl numeric(18,6),
    min_sl numeric(18,6),
    max_sl numeric(18,6),
    cv_sl numeric(10,6),
    mean_tp_vs_sl numeric(10,6),
    median_tp_vs_sl numeric(10,6),
    min_tp_vs_sl numeric(10,6),
    max_tp_vs_sl numeric(10,6),
    cv_tp_vs_sl numeric(10,6),
    mean_num_consec_wins numeric(10,2),
    median_num_consec_wins integer,
    max_num_consec_wins integer,
    mean_num_consec_losses numeric(10,2),
    median_num_consec_losses integer,
    max_num_consec_losses integer,
    mean_val_consec_wins numeric(18,2),
    median_val_consec_wins numeric(18,2),
    max_val_consec_wins numeric(18,2),
    mean_val_consec_losses numeric(18,2),
    median_val_consec_losses numeric(18,2),
    max_val_consec_losses numeric(18,2),
    mean_num_open_pos numeric(10,2),
    median_num_open_pos integer,
    max_num_open_pos integer,
    mean_val_open_pos numeric(18,2),
    median_val_open_pos numeric(18,2),
    max_val_open_pos numeric(18,2),
    mean_val_to_eqty_open_pos numeric(10,6),
    median_val_to_eqty_open_pos numeric(10,6),
    max_val_to_eqty_open_pos numeric(10,6),
    mean_account_margin numeric(18,2),
    mean_firm_margin numeric(18,2),
    mean_trades_per_day numeric(10,2),
    median_trades_per_day integer,
    min_trades_per_day integer,
    max_trades_per_day integer,
    cv_trades_per_day numeric(10,6),
    mean_idle_days numeric(10,2),
    median_idle_days integer,
    max_idle_days integer,
    min_idle_days integer,
    num_traded_symbols integer,
    most_traded_symbol character varying(50),
    most_traded_smb_trades integer,
    updated_date timestamp without time zone,
    ingestion_timestamp timestamp without time zone DEFAULT (now() AT TIME ZONE 'UTC'::text),
    source_api_endpoint character varying(500)
);

CREATE TABLE prop_trading_model.raw_metrics_daily (
    date date NOT NULL,
    login character varying(255),
    account_id character varying(255) NOT NULL,
    plan_id character varying(255),
    trader_id character varying(255),
    status integer,
    type integer,
    phase integer,
    broker integer,
    platform integer,
    price_stream integer,
    country character varying(2),
    days_to_next_payout integer,
    todays_payouts numeric(18,2),
    approved_payouts numeric(18,2),
    pending_payouts numeric(18,2),
    starting_balance numeric(18,2),
    prior_days_balance numeric(18,2),
    prior_days_equity numeric(18,2),
    current_balance numeric(18,2),
    current_equity numeric(18,2),
    first_trade_date date,
    days_since_initial_deposit integer,
    days_since_first_trade integer,
    num_trades integer,
    net_profit numeric(18,2),
    gross_profit numeric(18,2),
    gross_loss numeric(18,2),
    gain_to_pain numeric(10,2),
    profit_factor numeric(10,2),
    success_rate numeric(5,2),
    expectancy numeric(18,2),
    mean_profit numeric(18,2),
    median_profit numeric(18,2),
    std_profits numeric(18,2),
    risk_adj_profit double precision,
    min_profit numeric(18,2),
    max_profit numeric(18,2),
    profit_perc_10 numeric(18,2),
    profit_perc_25 numeric(18,2),
    profit_perc_75 numeric(18,2),
    profit_perc_90 numeric(18,2),
    profit_top_10_prcnt_trades numeric(18,2),
    profit_bottom_10_prcnt_trades numeric(18,2),
    top_10_prcnt_profit_contrib numeric(5,2),
    bottom_10_prcnt_loss_contrib numeric(5,2),
    one_std_outlier_profit numeric(18,2),
    one_std_outlier_profit_contrib numeric(10,6),
    two_std_outlier_profit numeric(18,2),
    two_std_outlier_profit_contrib numeric(10,6),
    net_profit_per_usd_volume double precision,
    gross_profit_per_usd_volume double precision,
    gross_loss_per_usd_volume double precision,
    distance_gross_profit_loss_per_usd_volume double precision,
    multiple_gross_profit_loss_per_usd_volume double precision,
    gross_profit_per_lot numeric(18,6),
    gross_loss_per_lot numeric(18,6),
    distance_gross_profit_loss_per_lot numeric(18,6),
    multiple_gross_profit_loss_per_lot double precision,
    net_profit_per_duration numeric(18,6),
    gross_profit_per_duration numeric(18,6),
    gross_loss_per_duration numeric(18,6),
    mean_ret double precision,
    std_rets double precision,
    risk_adj_ret double precision,
    downside_std_rets double precision,
    downside_risk_adj_ret double precision,
    rel_net_profit numeric(18,6),
    rel_gross_profit numeric(18,6),
    rel_gross_loss numeric(18,6),
    rel_mean_profit numeric(18,6),
    rel_median_profit numeric(18,6),
    rel_std_profits numeric(18,6),
    rel_risk_adj_profit double precision,
    rel_min_profit numeric(18,6),
    rel_max_profit numeric(18,6),
    rel_profit_perc_10 numeric(18,6),
    rel_profit_perc_25 numeric(18,6),
    rel_profit_perc_75 numeric(18,6),
    rel_profit_perc_90 numeric(18,6),
    rel_profit_top_10_prcnt_trades numeric(18,6),
    rel_profit_bottom_10_prcnt_trades numeric(18,6),
    rel_one_std_outlier_profit numeric(18,6),
    rel_two_std_outlier_profit numeric(18,6),
    mean_drawdown numeric(18,2),
    median_drawdown numeric(18,2),
    max_drawdown numeric(18,2),
    mean_num_trades_in_dd numeric(18,2),
    median_num_trades_in_dd numeric(18,2),
    max_num_trades_in_dd integer,
    rel_mean_drawdown numeric(18,6),
    rel_median_drawdown numeric(18,6),
    rel_max_drawdown numeric(18,6),
    total_lots numeric(18,6),
    total_volume numeric(18,2),
    std_volumes numeric(18,2),
    mean_winning_lot numeric(18,6),
    mean_losing_lot numeric(18,6),
    distance_win_loss_lots numeric(18,6),
    multiple_win_loss_lots numeric(10,6),
    mean_winning_volume numeric(18,2),
    mean_losing_volume numeric(18,2),
    distance_win_loss_volume numeric(18,2),
    multiple_win_loss_volume numeric(10,6),
    mean_duration numeric(18,6),
    median_duration numeric(18,6),
    std_durations numeric(18,6),
    min_duration numeric(18,6),
    max_duration numeric(18,6),
    cv_durations numeric(10,6),
    mean_tp numeric(18,6),
    median_tp numeric(18,6),
    std_tp numeric(18,6),
    min_tp numeric(18,6),
    max_tp numeric(18,6),
    cv_tp numeric(10,6),
    mean_sl numeric(18,6),
    median_sl numeric(18,6),
    std_sl numeric(18,6),
    min_sl numeric(18,6),
    max_sl numeric(18,6),
    cv_sl numeric(10,6),
    mean_tp_vs_sl numeric(10,6),
    median_tp_vs_sl numeric(10,6),
    min_tp_vs_sl numeric(10,6),
    max_tp_vs_sl numeric(10,6),
    cv_tp_vs_sl numeric(10,6),
    mean_num_consec_wins numeric(10,2),
    median_num_consec_wins integer,
    max_num_consec_wins integer,
    mean_num_consec_losses numeric(10,2),
    median_num_consec_losses integer,
    max_num_consec_losses integer,
    mean_val_consec_wins numeric(18,2),
    median_val_consec_wins numeric(18,2),
    max_val_consec_wins numeric(18,2),
    mean_val_consec_losses numeric(18,2),
    median_val_consec_losses numeric(18,2),
    max_val_consec_losses numeric(18,2),
    mean_num_open_pos numeric(10,2),
    median_num_open_pos integer,
    max_num_open_pos integer,
    mean_val_open_pos numeric(18,2),
    median_val_open_pos numeric(18,2),
    max_val_open_pos numeric(18,2),
    mean_val_to_eqty_open_pos numeric(10,6),
    median_val_to_eqty_open_pos numeric(10,6),
    max_val_to_eqty_open_pos numeric(10,6),
    mean_account_margin numeric(18,2),
    mean_firm_margin numeric(18,2),
    num_traded_symbols integer,
    most_traded_symbol character varying(50),
    most_traded_smb_trades integer,
    ingestion_timestamp timestamp without time zone DEFAULT (now() AT TIME ZONE 'UTC'::text),
    source_api_endpoint character varying(500)
)
PARTITION BY RANGE (date);

CREATE TABLE prop_trading_model.raw_metrics_hourly (
    date date NOT NULL,
    datetime timestamp without time zone,
    hour integer NOT NULL,
    login character varying(255),
    account_id character varying(255) NOT NULL,
    plan_id character varying(255),
    trader_id character varying(255),
    status integer,
    type integer,
    phase integer,
    broker integer,
    platform integer,
    price_stream integer,
    country character varying(2),
    days_to_next_payout integer,
    todays_payouts numeric(18,2),
    approved_payouts numeric(18,2),
    pending_payouts numeric(18,2),
    starting_balance numeric(18,2),
    prior_days_balance numeric(18,2),
    prior_days_equity numeric(18,2),
    current_balance numeric(18,2),
    current_equity numeric(18,2),
    first_trade_date date,
    days_since_initial_deposit integer,
    days_since_first_trade integer,
    num_trades integer,
    net_profit numeric(18,2),
    gross_profit numeric(18,2),
    gross_loss numeric(18,2),
    gain_to_pain numeric(10,2),
    profit_factor numeric(10,2),
    success_rate numeric(5,2),
    expectancy numeric(18,2),
    mean_profit numeric(18,2),
    median_profit numeric(18,2),
    std_profits numeric(18,2),
    risk_adj_profit double precision,
    min_profit numeric(18,2),
    max_profit numeric(18,2),
    profit_perc_10 numeric(18,2),
    profit_perc_25 numeric(18,2),
    profit_perc_75 numeric(18,2),
    profit_perc_90 numeric(18,2),
    profit_top_10_prcnt_trades numeric(18,2),
    profit_bottom_10_prcnt_trades numeric(18,2),
    top_10_prcnt_profit_contrib numeric(5,2),
    bottom_10_prcnt_loss_contrib numeric(5,2),
    one_std_outlier_profit numeric(18,2),
    one_std_outlier_profit_contrib numeric(10,6),
    two_std_outlier_profit numeric(18,2),
    two_std_outlier_profit_contrib numeric(10,6),
    net_profit_per_usd_volume double precision,
    gross_profit_per_usd_volume double precision,
    gross_loss_per_usd_volume double precision,
    distance_gross_profit_loss_per_usd_volume double precision,
    multiple_gross_profit_loss_per_usd_volume double precision,
    gross_profit_per_lot numeric(18,6),
    gross_loss_per_lot numeric(18,6),
    distance_gross_profit_loss_per_lot numeric(18,6),
    multiple_gross_profit_loss_per_lot double precision,
    net_profit_per_duration numeric(18,6),
    gross_profit_per_duration numeric(18,6),
    gross_loss_per_duration numeric(18,6),
    mean_ret double precision,
    std_rets double precision,
    risk_adj_ret double precision,
    downside_std_rets double precision,
    downside_risk_adj_ret double precision,
    rel_net_profit numeric(18,6),
    rel_gross_profit numeric(18,6),
    rel_gross_loss numeric(18,6),
    rel_mean_profit numeric(18,6),
    rel_median_profit numeric(18,6),
    rel_std_profits numeric(18,6),
    rel_risk_adj_profit double precision,
    rel_min_profit numeric(18,6),
    rel_max_profit numeric(18,6),
    rel_profit_perc_10 numeric(18,6),
    rel_profit_perc_25 numeric(18,6),
    rel_profit_perc_75 numeric(18,6),
    rel_profit_perc_90 numeric(18,6),
    rel_profit_top_10_prcnt_trades numeric(18,6),
    rel_profit_bottom_10_prcnt_trades numeric(18,6),
    rel_one_std_outlier_profit numeric(18,6),
    rel_two_std_outlier_profit numeric(18,6),
    mean_drawdown numeric(18,2),
    median_drawdown numeric(18,2),
    max_drawdown numeric(18,2),
    mean_num_trades_in_dd numeric(18,2),
    median_num_trades_in_dd numeric(18,2),
    max_num_trades_in_dd integer,
    rel_mean_drawdown numeric(18,6),
    rel_median_drawdown numeric(18,6),
    rel_max_drawdown numeric(18,6),
    total_lots numeric(18,6),
    total_volume numeric(18,2),
    std_volumes numeric(18,2),
    mean_winning_lot numeric(18,6),
    mean_losing_lot numeric(18,6),
    distance_win_loss_lots numeric(18,6),
    multiple_win_loss_lots numeric(10,6),
    mean_winning_volume numeric(18,2),
    mean_losing_volume numeric(18,2),
    distance_win_loss_volume numeric(18,2),
    multiple_win_loss_volume numeric(10,6),
    mean_duration numeric(18,6),
    median_duration numeric(18,6),
    std_durations numeric(18,6),
    min_duration numeric(18,6),
    max_duration numeric(18,6),
    cv_durations numeric(10,6),
    mean_tp numeric(18,6),
    median_tp numeric(18,6),
    std_tp numeric(18,6),
    min_tp numeric(18,6),
    max_tp numeric(18,6),
    cv_tp numeric(10,6),
    mean_sl numeric(18,6),
    median_sl numeric(18,6),
    std_sl numeric(18,6),
    min_sl numeric(18,6),
    max_sl numeric(18,6),
    cv_sl numeric(10,6),
    mean_tp_vs_sl numeric(10,6),
    median_tp_vs_sl numeric(10,6),
    min_tp_vs_sl numeric(10,6),
    max_tp_vs_sl numeric(10,6),
    cv_tp_vs_sl numeric(10,6),
    mean_num_consec_wins numeric(10,2),
    median_num_consec_wins integer,
    max_num_consec_wins integer,
    mean_num_consec_losses numeric(10,2),
    median_num_consec_losses integer,
    max_num_consec_losses integer,
    mean_val_consec_wins numeric(18,2),
    median_val_consec_wins numeric(18,2),
    max_val_consec_wins numeric(18,2),
    mean_val_consec_losses numeric(18,2),
    median_val_consec_losses numeric(18,2),
    max_val_consec_losses numeric(18,2),
    mean_num_open_pos numeric(10,2),
    median_num_open_pos integer,
    max_num_open_pos integer,
    mean_val_open_pos numeric(18,2),
    median_val_open_pos numeric(18,2),
    max_val_open_pos numeric(18,2),
    mean_val_to_eqty_open_pos numeric(10,6),
    median_val_to_eqty_open_pos numeric(10,6),
    max_val_to_eqty_open_pos numeric(10,6),
    mean_account_margin numeric(18,2),
    mean_firm_margin numeric(18,2),
    num_traded_symbols integer,
    most_traded_symbol character varying(50),
    most_traded_smb_trades integer,
    ingestion_timestamp timestamp without time zone DEFAULT (now() AT TIME ZONE 'UTC'::text),
    source_api_endpoint character varying(500)
)
PARTITION BY RANGE (date);

CREATE TABLE prop_trading_model.raw_trades_closed (
    trade_date date NOT NULL,
    broker integer NOT NULL,
    manager integer,
    platform integer NOT NULL,
    ticket character varying(255) NOT NULL,
    "position" character varying(255) NOT NULL,
    login character varying(255) NOT NULL,
    account_id character varying(255),
    std_symbol character varying(50),
    side character varying(10),
    lots numeric(18,4),
    contract_size numeric(18,4),
    qty_in_base_ccy numeric(18,4),
    volume_usd numeric(18,4),
    stop_loss numeric(18,6),
    take_profit numeric(18,6),
    open_time timestamp without time zone,
    open_price numeric(18,6),
    close_time timestamp without time zone,
    close_price numeric(18,6),
    duration numeric(18,2),
    profit numeric(18,2),
    commission numeric(18,2),
    fee numeric(18,2),
    swap numeric(18,2),
    comment character varying(255),
    ingestion_timestamp timestamp without time zone DEFAULT (now() AT TIME ZONE 'UTC'::text),
    source_api_endpoint character varying(500)
)
PARTITION BY RANGE (trade_date);

CREATE TABLE prop_trading_model.raw_trades_open (
    trade_date date NOT NULL,
    broker integer NOT NULL,
    manager integer,
    platform integer NOT NULL,
    ticket character varying(255) NOT NULL,
    "position" character varying(255) NOT NULL,
    login character varying(255) NOT NULL,
    account_id character varying(255),
    std_symbol character varying(50),
    side character varying(10),
    lots numeric(18,4),
    contract_size numeric(18,4),
    qty_in_base_ccy numeric(18,4),
    volume_usd numeric(18,4),
    stop_loss numeric(18,6),
    take_profit numeric(18,6),
    open_time timestamp without time zone,
    open_price numeric(18,6),
    duration numeric(18,2),
    commission numeric(18,2),
    fee numeric(18,2),
    swap numeric(18,2),
    comment character varying(255),
    unrealized_profit numeric(18,2),
    ingestion_timestamp timestamp without time zone DEFAULT (now() AT TIME ZONE 'UTC'::text),
    source_api_endpoint character varying(500)
)
PARTITION BY RANGE (trade_date);

CREATE TABLE prop_trading_model.recon_identity (
    login text NOT NULL,
    platform text NOT NULL,
    broker text NOT NULL,
    account_id text NOT NULL,
    daily_from date,
    daily_to date,
    today boolean NOT NULL,
    counts boolean NOT NULL,
    first_trade date,
    valid_from date,
    valid_to date,
    open_from date
)
WITH (fillfactor='80');

COMMENT ON TABLE prop_trading_model.recon_identity IS 'who held a natural key when; derived from daily rows (daily_from, daily_to) and alltime (today), rebuilt by maintenance';

COMMENT ON COLUMN prop_trading_model.recon_identity.counts IS 'alltime counts trades for the account';

COMMENT ON COLUMN prop_trading_model.recon_identity.open_from IS 'the account also holds the key from this day on: alltime says so, and no daily row of any holder reaches it';

CREATE MATERIALIZED VIEW prop_trading_model.mv_all_account_ids AS
 WITH known AS (
         SELECT DISTINCT metrics.account_id
           FROM ( SELECT raw_metrics_alltime.account_id,
                    (raw_metrics_alltime.login)::text AS login,
                    (raw_metrics_alltime.platform)::text AS platform,
                    (raw_metrics_alltime.broker)::text AS broker
                   FROM prop_trading_model.raw_metrics_alltime
                  GROUP BY raw_metrics_alltime.account_id, (raw_metrics_alltime.login)::text, (raw_metrics_alltime.platform)::text, (raw_metrics_alltime.broker)::text
                UNION
                 SELECT raw_metrics_daily.account_id,
                    (raw_metrics_daily.login)::text AS login,
                    (raw_metrics_daily.platform)::text AS platform,
                    (raw_metrics_daily.broker)::text AS broker
                   FROM prop_trading_model.raw_metrics_daily
                  GROUP BY raw_metrics_daily.account_id, (raw_metrics_daily.login)::text, (raw_metrics_daily.platform)::text, (raw_metrics_daily.broker)::text) metrics
          WHERE (NOT prop_trading_model.recon_is_placeholder((metrics.account_id)::text, metrics.login, metrics.platform, metrics.broker))
        )
 SELECT known.account_id
   FROM known
UNION
 SELECT raw_metrics_hourly.account_id
   FROM prop_trading_model.raw_metrics_hourly
  WHERE (((raw_metrics_hourly.account_id)::text = ANY ((ARRAY( SELECT raw_metrics_hourly_1.account_id
           FROM prop_trading_model.raw_metrics_hourly raw_metrics_hourly_1
          GROUP BY raw_metrics_hourly_1.account_id
        EXCEPT
         SELECT known.account_id
           FROM known))::text[])) AND (NOT prop_trading_model.recon_is_placeholder((raw_metrics_hourly.account_id)::text, (raw_metrics_hourly.login)::text, (raw_metrics_hourly.platform)::text, (raw_metrics_hourly.broker)::text)))
  GROUP BY raw_metrics_hourly.account_id
UNION (
         SELECT trades.account_id
           FROM ( SELECT raw_trades_closed.account_id,
                    (raw_trades_closed.login)::text AS login,
                    (raw_trades_closed.platform)::text AS platform,
                    (raw_trades_closed.broker)::text AS broker
                   FROM prop_trading_model.raw_trades_closed
                  WHERE (raw_trades_closed.account_id IS NOT NULL)
                  GROUP BY raw_trades_closed.account_id, (raw_trades_closed.login)::text, (raw_trades_closed.platform)::text, (raw_trades_closed.broker)::text
                UNION
                 SELECT raw_trades_open.account_id,
                    (raw_trades_open.login)::text AS login,
                    (raw_trades_open.platform)::text AS platform,
                    (raw_trades_open.broker)::text AS broker
                   FROM prop_trading_model.raw_trades_open
                  WHERE (raw_trades_open.account_id IS NOT NULL)
                  GROUP BY raw_trades_open.account_id, (raw_trades_open.login)::text, (raw_trades_open.platform)::text, (raw_trades_open.broker)::text) trades
          WHERE (NOT prop_trading_model.recon_is_placeholder((trades.account_id)::text, trades.login, trades.platform, trades.broker))
        EXCEPT
         SELECT (recon_identity.login)::character varying AS account_id
           FROM prop_trading_model.recon_identity
)
UNION
 SELECT (recon_identity.account_id)::character varying AS account_id
   FROM prop_trading_model.recon_identity
  WITH NO DATA;

COMMENT ON MATERIALIZED VIEW prop_trading_model.mv_all_account_ids IS 'every account of the raw tables; an id that only stands in for an unknown one is none';

CREATE TABLE prop_trading_model.recon_accepted_issues (
    acceptance_id bigint NOT NULL,
    account_id character varying(255) NOT NULL,
    type text NOT NULL,
    reason text NOT NULL,
    until date NOT NULL,
    evidence jsonb NOT NULL,
    figures text NOT NULL,
    seen text NOT NULL,
    was_held boolean NOT NULL,
    accepted_at timestamp with time zone DEFAULT now() NOT NULL,
    ended_at timestamp with time zone,
    ended_as text,
    ended_reason text,
    CONSTRAINT recon_accepted_issues_ended_as_check CHECK ((ended_as = ANY (ARRAY['withdrawn'::text, 'replaced'::text, 'changed'::text, 'closed'::text, 'expired'::text])))
);

COMMENT ON TABLE prop_trading_model.recon_accepted_issues IS 'issues that somebody accepted, and those whose acceptance is over, with the reason';

COMMENT ON COLUMN prop_trading_model.recon_accepted_issues.until IS 'the first date on which it counts again';

COMMENT ON COLUMN prop_trading_model.recon_accepted_issues.evidence IS 'the issue as it was shown when it was accepted';

COMMENT ON COLUMN prop_trading_model.recon_accepted_issues.figures IS 'a digest of the figures that were accepted: where those of the issue are others, it counts again';

COMMENT ON COLUMN prop_trading_model.recon_accepted_issues.seen IS 'a digest of how the account''s tables disagreed: while it is the same, runs that compare counts do not ask upstream about it';

COMMENT ON COLUMN prop_trading_model.recon_accepted_issues.was_held IS 'the account was held: once the acceptance is over it is guarded as such';

ALTER TABLE prop_trading_model.recon_accepted_issues ALTER COLUMN acceptance_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME prop_trading_model.recon_accepted_issues_acceptance_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE prop_trading_model.recon_attempts (
    run_id uuid NOT NULL,
    account_id character varying(255) NOT NULL,
    "position" bigint NOT NULL,
    outcome text,
    finished_at timestamp with time zone,
    seconds double precision,
    requests integer,
    rows_inserted bigint,
    rows_updated bigint,
    rows_moved bigint,
    rows_removed bigint,
    rows_set_aside bigint,
    values_nulled bigint,
    issues_found text[],
    issues_left text[],
    detail text,
    postponed_until timestamp with time zone,
    held jsonb,
    confirmed boolean DEFAULT false NOT NULL,
    compared jsonb,
    own_seconds double precision,
    seen text,
    own_requests double precision,
    CONSTRAINT recon_attempts_outcome_check CHECK ((outcome = ANY (ARRAY['unchanged'::text, 'healed'::text, 'explained'::text, 'partial'::text, 'failed'::text, 'flapping'::text, 'needs_confirmation'::text, 'gone'::text, 'found'::text])))
)
WITH (fillfactor='80');

COMMENT ON TABLE prop_trading_model.recon_attempts IS 'each account of each run: while outcome is null it waits, or was left when the run ended; then what was done';

COMMENT ON COLUMN prop_trading_model.recon_attempts.postponed_until IS 'a fetch for the account could not be completed: not before this time it is read once more; infinity: it failed together with others and was not tried alone, the next run takes it; null: that has not happened in this run';

COMMENT ON COLUMN prop_trading_model.recon_attempts.held IS 'what was shown when the account was held: the trades that would be left, and whether figures become empty';

COMMENT ON COLUMN prop_trading_model.recon_attempts.confirmed IS 'somebody confirmed what was shown';

COMMENT ON COLUMN prop_trading_model.recon_attempts.compared IS 'rows, columns and differing rows by table where every row of the account was compared with upstream; null where only counts were';

COMMENT ON COLUMN prop_trading_model.recon_attempts.own_seconds IS 'what the account took of the time of its requests, from the first page to the write: the time of each is shared by the accounts that it is for';

COMMENT ON COLUMN prop_trading_model.recon_attempts.seen IS 'a digest of how the account''s tables disagreed when its issues were recorded; null where none was left, and for attempts of an earlier version';

COMMENT ON COLUMN prop_trading_model.recon_attempts.own_requests IS 'what the account took of the requests of its batch: one that is for several accounts is shared by them in equal parts';

CREATE TABLE prop_trading_model.recon_changes (
    change_id bigint NOT NULL,
    account_id text NOT NULL,
    table_name text NOT NULL,
    days datemultirange,
    entries bigint NOT NULL,
    run_id uuid,
    changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    inserted_days date[],
    inserted_rows integer[],
    CONSTRAINT recon_changes_days_check CHECK ((NOT isempty(days))),
    CONSTRAINT recon_changes_entries_check CHECK ((entries > 0))
);

COMMENT ON TABLE prop_trading_model.recon_changes IS 'slices that trade-recon wrote, one row for an account and table of a transaction, in the order of their commits; old rows may be deleted';

COMMENT ON COLUMN prop_trading_model.recon_changes.days IS 'the dates; null where rows have none (alltime)';

COMMENT ON COLUMN prop_trading_model.recon_changes.entries IS 'the number of entries that the row becomes in the feed: one for each date, else one';

COMMENT ON COLUMN prop_trading_model.recon_changes.run_id IS 'null: ids were mended outside a run';

COMMENT ON COLUMN prop_trading_model.recon_changes.inserted_days IS 'the dates on which rows were inserted, ascending (null: alltime has none); null where none was, and before version 0130';

COMMENT ON COLUMN prop_trading_model.recon_changes.inserted_rows IS 'how many rows were inserted on each of these dates';

ALTER TABLE prop_trading_model.recon_changes ALTER COLUMN change_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME prop_trading_model.recon_changes_change_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE prop_trading_model.recon_definitions (
    kind text NOT NULL,
    name text NOT NULL,
    definition text NOT NULL,
    beside text[] NOT NULL,
    made bigint NOT NULL,
    server integer NOT NULL,
    CONSTRAINT recon_definitions_kind_check CHECK ((kind = ANY (ARRAY['function'::text, 'view'::text, 'materialized view'::text, 'index'::text, 'column'::text, 'trigger'::text])))
);

COMMENT ON TABLE prop_trading_model.recon_definitions IS 'functions, views, the account list, columns of trade_recon and triggers as the last migrate left them; others are found by comparing with it';

COMMENT ON COLUMN prop_trading_model.recon_definitions.name IS 'a function with the types of its arguments, a trigger with its table';

COMMENT ON COLUMN prop_trading_model.recon_definitions.beside IS 'the statements that give its comment and its grants back';

COMMENT ON COLUMN prop_trading_model.recon_definitions.made IS 'the order in which they can be made again';

COMMENT ON COLUMN prop_trading_model.recon_definitions.server IS 'the major version of PostgreSQL that wrote the definition: another one may write the same otherwise';

CREATE TABLE prop_trading_model.recon_descents (
    account_id character varying(255) NOT NULL,
    date date NOT NULL
);

COMMENT ON TABLE prop_trading_model.recon_descents IS 'dates whose daily row an audit''s heal changed and whose hourly rows and trades were not read since; written with the daily row';

CREATE TABLE prop_trading_model.recon_doubted_dates (
    account_id character varying(255) NOT NULL,
    date date NOT NULL,
    noted_at timestamp with time zone DEFAULT now() NOT NULL,
    read_at timestamp with time zone,
    read_run uuid
);

COMMENT ON TABLE prop_trading_model.recon_doubted_dates IS 'settled dates on which a run lowered, blanked or removed figures since upstream said so: audits read daily, hourly rows and trades of them again for a week';

COMMENT ON COLUMN prop_trading_model.recon_doubted_dates.noted_at IS 'when figures were lowered there for the last time';

COMMENT ON COLUMN prop_trading_model.recon_doubted_dates.read_at IS 'when an audit last took the date to read it again';

COMMENT ON COLUMN prop_trading_model.recon_doubted_dates.read_run IS 'the audit that did';

CREATE TABLE prop_trading_model.recon_drift (
    run_id uuid NOT NULL,
    account_id character varying(255) NOT NULL,
    absent boolean NOT NULL,
    evidence jsonb NOT NULL
);

COMMENT ON TABLE prop_trading_model.recon_drift IS 'accounts that an audit found different from upstream, or absent there';

CREATE TABLE prop_trading_model.recon_fetches (
    fetch_id uuid NOT NULL,
    worker_id uuid NOT NULL,
    table_name text NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    run_id uuid
);

COMMENT ON TABLE prop_trading_model.recon_fetches IS 'whose rows are in staging, so that those of dead workers can be purged';

COMMENT ON COLUMN prop_trading_model.recon_fetches.run_id IS 'the run that shares the fetch, which keeps it until it ends; null: the worker''s own';

CREATE TABLE prop_trading_model.recon_few_hours (
    account_id character varying(255) NOT NULL,
    dates date[] NOT NULL,
    noted_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE prop_trading_model.recon_few_hours IS 'accounts with dates of more than ten trades and a single hourly row (suspiciously_few_hours): shown, never healed; kept up by maintenance and runs';

CREATE TABLE prop_trading_model.recon_foreign_metrics (
    login text NOT NULL,
    platform text NOT NULL,
    broker text NOT NULL,
    holder text NOT NULL,
    owner text NOT NULL,
    days date[] NOT NULL,
    own_from date,
    own_to date
);

COMMENT ON TABLE prop_trading_model.recon_foreign_metrics IS 'daily rows under an id (holder) that is not their natural key''s: on these days another account (owner) has rows under the key, and alltime does not give it to the holder; no days: the alltime row; rebuilt by maintenance';

COMMENT ON COLUMN prop_trading_model.recon_foreign_metrics.own_from IS 'the first of the holder''s other daily rows under the key; null: there are none';

CREATE TABLE prop_trading_model.recon_history (
    account_id text NOT NULL,
    history_from date NOT NULL,
    trades bigint NOT NULL,
    net_profit numeric,
    total_lots numeric,
    read_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE prop_trading_model.recon_history IS 'what upstream''s daily rows count of an account before the history that the warehouse keeps: alltime less that is what all other tables are compared with';

COMMENT ON COLUMN prop_trading_model.recon_history.history_from IS 'the first date that is not counted here';

CREATE TABLE prop_trading_model.recon_identity_findings (
    table_name text NOT NULL,
    login text NOT NULL,
    platform text NOT NULL,
    broker text NOT NULL,
    holder text,
    candidates text[] NOT NULL,
    fits text NOT NULL,
    rows bigint NOT NULL,
    dates date[] NOT NULL,
    found_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY prop_trading_model.recon_identity_findings REPLICA IDENTITY FULL;

COMMENT ON TABLE prop_trading_model.recon_identity_findings IS 'rows whose account id is missing, a placeholder or another account''s, by natural key; holder is the id they carry, candidates those that fit';

COMMENT ON COLUMN prop_trading_model.recon_identity_findings.fits IS 'MD5 of the candidates, which may be too long for an index';

CREATE TABLE prop_trading_model.recon_inspection_figures (
    figures_id bigint NOT NULL,
    run_id uuid NOT NULL,
    figures jsonb NOT NULL
);

COMMENT ON TABLE prop_trading_model.recon_inspection_figures IS 'what inspections counted by issue, table, broker and date: a row a batch, written with its accounts, and summed up when they are read';

ALTER TABLE prop_trading_model.recon_inspection_figures ALTER COLUMN figures_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME prop_trading_model.recon_inspection_figures_figures_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE prop_trading_model.recon_issue_history (
    issue_id bigint NOT NULL,
    account_id character varying(255) NOT NULL,
    type text NOT NULL,
    severity integer NOT NULL,
    opened_at timestamp with time zone DEFAULT now() NOT NULL,
    opened_run uuid,
    evidence jsonb NOT NULL,
    closed_at timestamp with time zone,
    closed_run uuid,
    closing_evidence jsonb,
    reopened integer DEFAULT 0 NOT NULL
);

COMMENT ON COLUMN prop_trading_model.recon_issue_history.reopened IS 'how often in a row the same issue of the account was healed before and opened again right after';

ALTER TABLE prop_trading_model.recon_issue_history ALTER COLUMN issue_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME prop_trading_model.recon_issue_history_issue_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE prop_trading_model.recon_migrations (
    name text NOT NULL,
    adopted boolean NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE prop_trading_model.recon_money_relations (
    relation text NOT NULL,
    accounts bigint NOT NULL,
    holding bigint NOT NULL,
    is_used boolean NOT NULL,
    reason text NOT NULL,
    learned_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE prop_trading_model.recon_money_relations IS 'which sums of net profit and lots are equal between two tables: learned by each sweep, and used to find accounts where they are not (money_mismatch)';

COMMENT ON COLUMN prop_trading_model.recon_money_relations.accounts IS 'accounts whose counts agree and that have an amount on either side';

COMMENT ON COLUMN prop_trading_model.recon_money_relations.holding IS 'those of them for which both sides are equal but for rounding';

COMMENT ON COLUMN prop_trading_model.recon_money_relations.is_used IS 'whether accounts for which it does not hold have the issue money_mismatch';

CREATE TABLE prop_trading_model.recon_orders (
    order_id bigint NOT NULL,
    what text NOT NULL,
    run_id uuid,
    reason text,
    given_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE prop_trading_model.recon_orders IS 'orders that people gave (start, pause, resume, cancel, confirm, restore, release, maintenance), with their reasons';

COMMENT ON COLUMN prop_trading_model.recon_orders.run_id IS 'the run that was ordered or steered, or whose changes were restored or released; null: none';

ALTER TABLE prop_trading_model.recon_orders ALTER COLUMN order_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME prop_trading_model.recon_orders_order_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE prop_trading_model.recon_pins (
    table_name text NOT NULL,
    row_key text[] NOT NULL,
    account_id character varying(255),
    date date,
    upstream_date date,
    removed_id bigint NOT NULL,
    run_id uuid,
    reason text,
    pinned_at timestamp with time zone DEFAULT now() NOT NULL,
    doubled_dates date[] DEFAULT '{}'::date[] NOT NULL
);

COMMENT ON TABLE prop_trading_model.recon_pins IS 'rows that were restored and pinned: no run overwrites, moves or removes them until they are released, or upstream sends the same values';

COMMENT ON COLUMN prop_trading_model.recon_pins.row_key IS 'the row''s key, of a trade without its date, as text';

COMMENT ON COLUMN prop_trading_model.recon_pins.upstream_date IS 'where upstream has the row under another date, which then lacks it here; null: not known to';

COMMENT ON COLUMN prop_trading_model.recon_pins.removed_id IS 'the copy from which the row was restored';

COMMENT ON COLUMN prop_trading_model.recon_pins.run_id IS 'the run that had changed the row; null: ids were repaired outside a run';

COMMENT ON COLUMN prop_trading_model.recon_pins.doubled_dates IS 'the dates under which doubles of the trade were restored, beside the row of `date`';

CREATE UNLOGGED TABLE prop_trading_model.recon_quota (
    singleton boolean DEFAULT true NOT NULL,
    spent_until timestamp with time zone NOT NULL,
    drawn_at timestamp with time zone NOT NULL,
    permits bigint NOT NULL,
    CONSTRAINT recon_quota_singleton_check CHECK (singleton)
)
WITH (fillfactor='10');

COMMENT ON TABLE prop_trading_model.recon_quota IS 'one row: how far the quota of the upstream API is spent, over all replicas';

COMMENT ON COLUMN prop_trading_model.recon_quota.spent_until IS 'when the next permit is due (the theoretical arrival time of GCRA)';

COMMENT ON COLUMN prop_trading_model.recon_quota.drawn_at IS 'the database''s clock at the last draw';

COMMENT ON COLUMN prop_trading_model.recon_quota.permits IS 'what the last draw gave; 0: more than enough is drawn ahead already';

CREATE TABLE prop_trading_model.recon_removed_rows (
    removed_id bigint NOT NULL,
    run_id uuid,
    account_id character varying(255),
    table_name text NOT NULL,
    date date,
    reason text NOT NULL,
    row_data jsonb NOT NULL,
    removed_at timestamp with time zone DEFAULT now() NOT NULL,
    restored_at timestamp with time zone,
    right_date date,
    CONSTRAINT recon_removed_rows_reason_check CHECK ((reason = ANY (ARRAY['removed'::text, 'overwritten'::text, 'moved'::text, 'placeholder'::text])))
);

COMMENT ON TABLE prop_trading_model.recon_removed_rows IS 'each row of a raw table as it stood before trade-recon removed, moved or overwrote it';

COMMENT ON COLUMN prop_trading_model.recon_removed_rows.restored_at IS 'when the row was brought back from this copy; null: never';

COMMENT ON COLUMN prop_trading_model.recon_removed_rows.right_date IS 'where a trade was removed since it was stored twice: the date under which upstream has it, and it stays; null: no double, or kept before version 0160';

ALTER TABLE prop_trading_model.recon_removed_rows ALTER COLUMN removed_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME prop_trading_model.recon_removed_rows_removed_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE prop_trading_model.recon_report (
    only_row boolean DEFAULT true NOT NULL,
    figures jsonb,
    computed_at timestamp with time zone,
    seconds double precision DEFAULT 0 NOT NULL,
    CONSTRAINT recon_report_only_row_check CHECK (only_row)
);

COMMENT ON TABLE prop_trading_model.recon_report IS 'the figures of the report as they were last counted; one row';

COMMENT ON COLUMN prop_trading_model.recon_report.seconds IS 'how long counting took: so seldom is it done that it never costs much';

CREATE TABLE prop_trading_model.recon_run_inserts (
    insert_id bigint NOT NULL,
    run_id uuid NOT NULL,
    table_name text NOT NULL,
    date date,
    broker text,
    rows bigint NOT NULL
);

COMMENT ON TABLE prop_trading_model.recon_run_inserts IS 'rows that runs inserted, by table, date and broker: written with them, one transaction after the other, and summed up when they are read';

ALTER TABLE prop_trading_model.recon_run_inserts ALTER COLUMN insert_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME prop_trading_model.recon_run_inserts_insert_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE prop_trading_model.recon_run_losses (
    run_id uuid NOT NULL,
    account_id character varying(255) NOT NULL,
    worker_id uuid NOT NULL,
    rows bigint NOT NULL,
    lowers boolean NOT NULL,
    rewrites boolean DEFAULT false NOT NULL
);

COMMENT ON TABLE prop_trading_model.recon_run_losses IS 'what a run takes from accounts that were not held before: its limits count this over all processes; forgotten when somebody confirms the run';

COMMENT ON COLUMN prop_trading_model.recon_run_losses.rows IS 'rows that were removed, moved, lowered or blanked';

COMMENT ON COLUMN prop_trading_model.recon_run_losses.lowers IS 'upstream has lower figures, empty ones or nothing at all, or the account is held';

COMMENT ON COLUMN prop_trading_model.recon_run_losses.rewrites IS 'the account counts only since too many of its rows would be rewritten: upstream lowers none of its figures';

CREATE TABLE prop_trading_model.recon_runs (
    run_id uuid NOT NULL,
    kind text NOT NULL,
    request jsonb DEFAULT '{}'::jsonb NOT NULL,
    status text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    prepared_by uuid,
    prepared_at timestamp with time zone,
    error text,
    total bigint DEFAULT 0 NOT NULL,
    unchanged bigint DEFAULT 0 NOT NULL,
    healed bigint DEFAULT 0 NOT NULL,
    explained bigint DEFAULT 0 NOT NULL,
    partial bigint DEFAULT 0 NOT NULL,
    failed bigint DEFAULT 0 NOT NULL,
    skipped bigint DEFAULT 0 NOT NULL,
    requests bigint DEFAULT 0 NOT NULL,
    rows_inserted bigint DEFAULT 0 NOT NULL,
    rows_updated bigint DEFAULT 0 NOT NULL,
    rows_moved bigint DEFAULT 0 NOT NULL,
    rows_removed bigint DEFAULT 0 NOT NULL,
    rows_set_aside bigint DEFAULT 0 NOT NULL,
    values_nulled bigint DEFAULT 0 NOT NULL,
    phases jsonb DEFAULT '{}'::jsonb NOT NULL,
    api jsonb DEFAULT '{}'::jsonb NOT NULL,
    maintenance jsonb DEFAULT '{}'::jsonb NOT NULL,
    postponed bigint DEFAULT 0 NOT NULL,
    stop_at timestamp with time zone,
    is_sole boolean DEFAULT false NOT NULL,
    idempotency_key text,
    request_digest text,
    confirmed_at timestamp with time zone,
    flapping bigint DEFAULT 0 NOT NULL,
    needs_confirmation bigint DEFAULT 0 NOT NULL,
    covers_until timestamp with time zone,
    rows_compared bigint DEFAULT 0 NOT NULL,
    suspicion text,
    gone bigint DEFAULT 0 NOT NULL,
    search_requests bigint DEFAULT 0 NOT NULL,
    known_search_requests bigint DEFAULT 0 NOT NULL,
    fault text,
    newly_held bigint DEFAULT 0 NOT NULL,
    held_since uuid,
    covers_horizon bigint,
    history_from date,
    missing_partitions text[] DEFAULT '{}'::text[] NOT NULL,
    open_trades jsonb,
    upstream_well boolean DEFAULT false NOT NULL,
    compared jsonb DEFAULT '{}'::jsonb NOT NULL,
    named_open_trades jsonb,
    paused_at timestamp with time zone,
    only_confirmed boolean DEFAULT false NOT NULL,
    found bigint DEFAULT 0 NOT NULL,
    known_accounts bigint,
    left_over jsonb,
    CONSTRAINT recon_runs_kind_check CHECK ((kind = ANY (ARRAY['full'::text, 'retry'::text, 'audit'::text, 'inspect'::text]))),
    CONSTRAINT recon_runs_status_check CHECK ((status = ANY (ARRAY['queued'::text, 'running'::text, 'paused'::text, 'succeeded'::text, 'completed_with_issues'::text, 'needs_confirmation'::text, 'failed'::text, 'cancelled'::text])))
)
WITH (fillfactor='70');

COMMENT ON COLUMN prop_trading_model.recon_runs.explained IS 'accounts whose remaining issues are not the warehouse''s to heal';

COMMENT ON COLUMN prop_trading_model.recon_runs.phases IS 'seconds by phase, summed over workers';

COMMENT ON COLUMN prop_trading_model.recon_runs.postponed IS 'accounts that were put back to be read once more, since a fetch could not be completed';

COMMENT ON COLUMN prop_trading_model.recon_runs.stop_at IS 'the run ends in order at this time, whatever is left; null: when nothing is left';

COMMENT ON COLUMN prop_trading_model.recon_runs.is_sole IS 'no second run of its sort may be active beside it; false for runs from before this column';

COMMENT ON COLUMN prop_trading_model.recon_runs.request_digest IS 'of the request that came with the idempotency key';

COMMENT ON COLUMN prop_trading_model.recon_runs.confirmed_at IS 'somebody looked at what was held and let it be written: what was shown then is not held again, all else is guarded as before';

COMMENT ON COLUMN prop_trading_model.recon_runs.flapping IS 'accounts that were held back, since the same issue opened again and again right after healing';

COMMENT ON COLUMN prop_trading_model.recon_runs.needs_confirmation IS 'accounts that were held, since healing them would rewrite too much or upstream suddenly has nothing for them';

COMMENT ON COLUMN prop_trading_model.recon_runs.covers_until IS 'what was written before this time was looked at, if the run ended in order; null for runs of named accounts, and for one that left accounts out';

COMMENT ON COLUMN prop_trading_model.recon_runs.rows_compared IS 'stored rows that were compared with a complete answer of upstream';

COMMENT ON COLUMN prop_trading_model.recon_runs.suspicion IS 'why the run was stopped, or is about to be, since upstream is suspect; null again once somebody confirmed it';

COMMENT ON COLUMN prop_trading_model.recon_runs.gone IS 'accounts whose row of trade_recon was deleted while they waited in the run';

COMMENT ON COLUMN prop_trading_model.recon_runs.search_requests IS 'requests that failed while accounts were searched for that make requests for several fail; the run stops to search at RECON_SEARCH_REQUESTS';

COMMENT ON COLUMN prop_trading_model.recon_runs.known_search_requests IS 'the same for accounts that had failed before, with a limit of their own';

COMMENT ON COLUMN prop_trading_model.recon_runs.fault IS 'why the run ends as failed once nothing of it waits any more: an endpoint of the API answered nobody';

COMMENT ON COLUMN prop_trading_model.recon_runs.newly_held IS 'of the accounts that need confirmation, those that were not held before the run';

COMMENT ON COLUMN prop_trading_model.recon_runs.held_since IS 'the earliest run since which some of the others are held; null where that is this run, or not known';

COMMENT ON COLUMN prop_trading_model.recon_runs.covers_horizon IS 'transactions from this one on may have committed after covers_until; null for runs of earlier versions';

COMMENT ON COLUMN prop_trading_model.recon_runs.history_from IS 'the first date that the run compared; null: all';

COMMENT ON COLUMN prop_trading_model.recon_runs.missing_partitions IS 'what is to be done so that rows which the run fetched get a partition, each said once';

COMMENT ON COLUMN prop_trading_model.recon_runs.open_trades IS 'how many open trades upstream''s snapshot has and how many of its dates are stored, by date; null where no audit compared them';

COMMENT ON COLUMN prop_trading_model.recon_runs.upstream_well IS 'whether the run, an audit, compared the accounts with upstream and found it well: after that, suspicions of earlier runs are over';

COMMENT ON COLUMN prop_trading_model.recon_runs.compared IS 'rows, columns and differing rows by table, of all accounts whose rows were compared with upstream';

COMMENT ON COLUMN prop_trading_model.recon_runs.named_open_trades IS 'how many open trades of the named accounts upstream''s snapshot has and how many of its dates are stored; null where they were not compared';

COMMENT ON COLUMN prop_trading_model.recon_runs.paused_at IS 'since when the run is paused';

COMMENT ON COLUMN prop_trading_model.recon_runs.only_confirmed IS 'only the accounts that somebody confirmed are worked on: the others that are held, and those that the run had not come to, stay as they are';

COMMENT ON COLUMN prop_trading_model.recon_runs.found IS 'accounts at which an inspection found an issue that is more than information';

COMMENT ON COLUMN prop_trading_model.recon_runs.known_accounts IS 'the accounts that were known when those of the run were chosen; null: not chosen yet, or by an earlier version';

COMMENT ON COLUMN prop_trading_model.recon_runs.left_over IS 'what the run left when it ended, by kind, and new_issues: accounts with an issue that it was the first to find; null: not ended, or by an earlier version';

CREATE TABLE prop_trading_model.recon_scan (
    run_id uuid NOT NULL,
    account_id character varying(255) NOT NULL,
    num_trades numeric,
    net_profit numeric,
    total_lots numeric,
    sends_trades boolean NOT NULL,
    sends_profit boolean NOT NULL,
    sends_lots boolean NOT NULL,
    login text,
    platform text,
    broker text,
    sent_id text
);

COMMENT ON TABLE prop_trading_model.recon_scan IS 'what an audit saw of upstream''s alltime metrics, and which figures were sent at all; its rows go when the run ends';

COMMENT ON COLUMN prop_trading_model.recon_scan.sent_id IS 'the id that was sent, where it is shared';

CREATE TABLE prop_trading_model.recon_scan_days (
    run_id uuid NOT NULL,
    account_id character varying(255) NOT NULL,
    date date NOT NULL,
    num_trades numeric,
    net_profit numeric,
    total_lots numeric
);

CREATE TABLE prop_trading_model.recon_set_aside_rows (
    table_name text NOT NULL,
    row_key text NOT NULL,
    account_id character varying(255),
    reason text NOT NULL,
    row_data json NOT NULL,
    run_id uuid,
    first_seen timestamp with time zone DEFAULT now() NOT NULL,
    last_seen timestamp with time zone DEFAULT now() NOT NULL,
    row_digest text DEFAULT ''::text NOT NULL,
    copies bigint DEFAULT 1 NOT NULL,
    date date,
    asked text[],
    asked_dates datemultirange
);

COMMENT ON TABLE prop_trading_model.recon_set_aside_rows IS 'rows that upstream sends and the warehouse cannot hold as they are, with the reason';

COMMENT ON COLUMN prop_trading_model.recon_set_aside_rows.row_digest IS 'tells rows apart that share a key: MD5 of what was sent';

COMMENT ON COLUMN prop_trading_model.recon_set_aside_rows.copies IS 'how often the very same row was sent';

COMMENT ON COLUMN prop_trading_model.recon_set_aside_rows.date IS 'the date of the row, by which it is taken off once the date was read without it; null where it has none';

COMMENT ON COLUMN prop_trading_model.recon_set_aside_rows.asked IS 'of a row whose account cannot be told: the accounts for which it came, a hundred at most';

COMMENT ON COLUMN prop_trading_model.recon_set_aside_rows.asked_dates IS 'of a row without a date: the dates for which it came and that were not read again without it since; null where all dates were asked for';

CREATE TABLE prop_trading_model.recon_shared_ids (
    account_id text NOT NULL,
    run_id uuid,
    seen_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE prop_trading_model.recon_shared_ids IS 'account ids that upstream sent for several natural keys in alltime answers: rows with such an id count as rows without one, until an audit sees it for one key alone';

COMMENT ON COLUMN prop_trading_model.recon_shared_ids.run_id IS 'the audit that saw it last; null: a fetch by logins did';

CREATE TABLE prop_trading_model.recon_shared_reads (
    run_id uuid NOT NULL,
    table_name text NOT NULL,
    days date[] NOT NULL,
    gaps date[] NOT NULL,
    most_rows integer NOT NULL,
    expected_rows integer NOT NULL,
    state text DEFAULT 'planned'::text NOT NULL,
    read_by uuid,
    fetch_id uuid,
    rows bigint,
    bytes bigint,
    horizon bigint,
    has_unsent boolean,
    reason text,
    CONSTRAINT recon_shared_reads_state_check CHECK ((state = ANY (ARRAY['planned'::text, 'proven'::text, 'dropped'::text])))
);

COMMENT ON TABLE prop_trading_model.recon_shared_reads IS 'dates of tables that a run reads once for all of its batches; dropped: asked for by id instead';

COMMENT ON COLUMN prop_trading_model.recon_shared_reads.gaps IS 'dates of which no table has rows';

COMMENT ON COLUMN prop_trading_model.recon_shared_reads.most_rows IS 'beyond, asking by id costs less';

COMMENT ON COLUMN prop_trading_model.recon_shared_reads.read_by IS 'the worker that reads it, or read it';

COMMENT ON COLUMN prop_trading_model.recon_shared_reads.horizon IS 'the oldest transaction under way when the read began: rows written since are newer';

COMMENT ON COLUMN prop_trading_model.recon_shared_reads.reason IS 'why it was dropped';

CREATE UNLOGGED TABLE prop_trading_model.recon_stage_alltime (
    fetch_id uuid NOT NULL,
    ordinal bigint NOT NULL,
    unsent bytea,
    refused text,
    nulled text[],
    account_id character varying(255),
    login character varying(255),
    platform integer,
    broker integer,
    num_trades integer,
    net_profit numeric(18,2),
    total_lots numeric(18,6),
    plan_id character varying(255),
    trader_id character varying(255),
    status integer,
    type integer,
    phase integer,
    price_stream integer,
    country character varying(2),
    approved_payouts numeric(18,2),
    pending_payouts numeric(18,2),
    starting_balance numeric(18,2),
    prior_days_balance numeric(18,2),
    prior_days_equity numeric(18,2),
    current_balance numeric(18,2),
    current_equity numeric(18,2),
    first_trade_date date,
    days_since_initial_deposit integer,
    days_since_first_trade integer,
    first_trade_open timestamp without time zone,
    last_trade_open timestamp without time zone,
    last_trade_close timestamp without time zone,
    lifetime_in_days numeric(10,6),
    gross_profit numeric(18,2),
    gross_loss numeric(18,2),
    gain_to_pain numeric(10,2),
    profit_factor numeric(10,2),
    success_rate numeric(5,2),
    expectancy numeric(18,2),
    mean_profit numeric(18,2),
    median_profit numeric(18,2),
    std_profits numeric(18,2),
    risk_adj_profit double precision,
    min_profit numeric(18,2),
    max_profit numeric(18,2),
    profit_perc_10 numeric(18,2),
    profit_perc_25 numeric(18,2),
    profit_perc_75 numeric(18,2),
    profit_perc_90 numeric(18,2),
    profit_top_10_prcnt_trades numeric(18,2),
    profit_bottom_10_prcnt_trades numeric(18,2),
    top_10_prcnt_profit_contrib numeric(5,2),
    bottom_10_prcnt_loss_contrib numeric(5,2),
    one_std_outlier_profit numeric(18,2),
    one_std_outlier_profit_contrib numeric(10,6),
    two_std_outlier_profit numeric(18,2),
    two_std_outlier_profit_contrib numeric(10,6),
    net_profit_per_usd_volume double precision,
    gross_profit_per_usd_volume double precision,
    gross_loss_per_usd_volume double precision,
    distance_gross_profit_loss_per_usd_volume double precision,
    multiple_gross_profit_loss_per_usd_volume double precision,
    gross_profit_per_lot numeric(18,6),
    gross_loss_per_lot numeric(18,6),
    distance_gross_profit_loss_per_lot numeric(18,6),
    multiple_gross_profit_loss_per_lot double precision,
    net_profit_per_duration numeric(18,6),
    gross_profit_per_duration numeric(18,6),
    gross_loss_per_duration numeric(18,6),
    mean_ret double precision,
    std_rets double precision,
    risk_adj_ret double precision,
    downside_std_rets double precision,
    downside_risk_adj_ret double precision,
    total_ret double precision,
    daily_mean_ret double precision,
    daily_std_ret double precision,
    daily_sharpe double precision,
    daily_downside_std_ret double precision,
    daily_sortino double precision,
    rel_net_profit numeric(18,6),
    rel_gross_profit numeric(18,6),
    rel_gross_loss numeric(18,6),
    rel_mean_profit numeric(18,6),
    rel_median_profit numeric(18,6),
    rel_std_profits numeric(18,6),
    rel_risk_adj_profit double precision,
    rel_min_profit numeric(18,6),
    rel_max_profit numeric(18,6),
    rel_profit_perc_10 numeric(18,6),
    rel_profit_perc_25 numeric(18,6),
    rel_profit_perc_75 numeric(18,6),
    rel_profit_perc_90 numeric(18,6),
    rel_profit_top_10_prcnt_trades numeric(18,6),
    rel_profit_bottom_10_prcnt_trades numeric(18,6),
    rel_one_std_outlier_profit numeric(18,6),
    rel_two_std_outlier_profit numeric(18,6),
    mean_drawdown numeric(18,2),
    median_drawdown numeric(18,2),
    max_drawdown numeric(18,2),
    mean_num_trades_in_dd numeric(18,2),
    median_num_trades_in_dd numeric(18,2),
    max_num_trades_in_dd integer,
    rel_mean_drawdown numeric(18,6),
    rel_median_drawdown numeric(18,6),
    rel_max_drawdown numeric(18,6),
    total_volume numeric(18,2),
    std_volumes numeric(18,2),
    mean_winning_lot numeric(18,6),
    mean_losing_lot numeric(18,6),
    distance_win_loss_lots numeric(18,6),
    multiple_win_loss_lots numeric(10,6),
    mean_winning_volume numeric(18,2),
    mean_losing_volume numeric(18,2),
    distance_win_loss_volume numeric(18,2),
    multiple_win_loss_volume numeric(10,6),
    mean_duration numeric(18,6),
    median_duration numeric(18,6),
    std_durations numeric(18,6),
    min_duration numeric(18,6),
    max_duration numeric(18,6),
    cv_durations numeric(10,6),
    mean_tp numeric(18,6),
    median_tp numeric(18,6),
    std_tp numeric(18,6),
    min_tp numeric(18,6),
    max_tp numeric(18,6),
    cv_tp numeric(10,6),
    mean_sl numeric(18,6),
    median_sl numeric(18,6),
    std_sl numeric(18,6),
    min_sl numeric(18,6),
    max_sl numeric(18,6),
    cv_sl numeric(10,6),
    mean_tp_vs_sl numeric(10,6),
    median_tp_vs_sl numeric(10,6),
    min_tp_vs_sl numeric(10,6),
    max_tp_vs_sl numeric(10,6),
    cv_tp_vs_sl numeric(10,6),
    mean_num_consec_wins numeric(10,2),
    median_num_consec_wins integer,
    max_num_consec_wins integer,
    mean_num_consec_losses numeric(10,2),
    median_num_consec_losses integer,
    max_num_consec_losses integer,
    mean_val_consec_wins numeric(18,2),
    median_val_consec_wins numeric(18,2),
    max_val_consec_wins numeric(18,2),
    mean_val_consec_losses numeric(18,2),
    median_val_consec_losses numeric(18,2),
    max_val_consec_losses numeric(18,2),
    mean_num_open_pos numeric(10,2),
    median_num_open_pos integer,
    max_num_open_pos integer,
    mean_val_open_pos numeric(18,2),
    median_val_open_pos numeric(18,2),
    max_val_open_pos numeric(18,2),
    mean_val_to_eqty_open_pos numeric(10,6),
    median_val_to_eqty_open_pos numeric(10,6),
    max_val_to_eqty_open_pos numeric(10,6),
    mean_account_margin numeric(18,2),
    mean_firm_margin numeric(18,2),
    mean_trades_per_day numeric(10,2),
    median_trades_per_day integer,
    min_trades_per_day integer,
    max_trades_per_day integer,
    cv_trades_per_day numeric(10,6),
    mean_idle_days numeric(10,2),
    median_idle_days integer,
    max_idle_days integer,
    min_idle_days integer,
    num_traded_symbols integer,
    most_traded_symbol character varying(50),
    most_traded_smb_trades integer,
    updated_date timestamp without time zone,
    source json
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='20000', autovacuum_analyze_threshold='2000000000');
ALTER TABLE ONLY prop_trading_model.recon_stage_alltime ALTER COLUMN fetch_id SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_alltime ALTER COLUMN ordinal SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_alltime ALTER COLUMN refused SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_alltime ALTER COLUMN account_id SET STATISTICS 10;

COMMENT ON TABLE prop_trading_model.recon_stage_alltime IS 'pages on their way in; unsent: the bits of columns that were not sent, null if none is missing; nulled: columns whose value cannot be held; refused: why the row cannot be held';

CREATE UNLOGGED TABLE prop_trading_model.recon_stage_closed (
    fetch_id uuid NOT NULL,
    ordinal bigint NOT NULL,
    unsent bytea,
    refused text,
    nulled text[],
    account_id text,
    platform integer,
    broker integer,
    login character varying(255),
    "position" character varying(255),
    ticket character varying(255),
    trade_date date,
    manager integer,
    std_symbol character varying(50),
    side character varying(10),
    lots numeric(18,4),
    contract_size numeric(18,4),
    qty_in_base_ccy numeric(18,4),
    volume_usd numeric(18,4),
    stop_loss numeric(18,6),
    take_profit numeric(18,6),
    open_time timestamp without time zone,
    open_price numeric(18,6),
    close_time timestamp without time zone,
    close_price numeric(18,6),
    duration numeric(18,2),
    profit numeric(18,2),
    commission numeric(18,2),
    fee numeric(18,2),
    swap numeric(18,2),
    comment character varying(255),
    source json
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='20000', autovacuum_analyze_threshold='2000000000');
ALTER TABLE ONLY prop_trading_model.recon_stage_closed ALTER COLUMN fetch_id SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_closed ALTER COLUMN ordinal SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_closed ALTER COLUMN refused SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_closed ALTER COLUMN account_id SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_closed ALTER COLUMN platform SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_closed ALTER COLUMN broker SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_closed ALTER COLUMN login SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_closed ALTER COLUMN "position" SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_closed ALTER COLUMN ticket SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_closed ALTER COLUMN trade_date SET STATISTICS 10;

COMMENT ON TABLE prop_trading_model.recon_stage_closed IS 'pages on their way in; unsent: the bits of columns that were not sent, null if none is missing; nulled: columns whose value cannot be held; refused: why the row cannot be held';

CREATE UNLOGGED TABLE prop_trading_model.recon_stage_daily (
    fetch_id uuid NOT NULL,
    ordinal bigint NOT NULL,
    unsent bytea,
    refused text,
    nulled text[],
    account_id character varying(255),
    date date,
    login character varying(255),
    platform integer,
    broker integer,
    num_trades integer,
    net_profit numeric(18,2),
    total_lots numeric(18,6),
    plan_id character varying(255),
    trader_id character varying(255),
    status integer,
    type integer,
    phase integer,
    price_stream integer,
    country character varying(2),
    days_to_next_payout integer,
    todays_payouts numeric(18,2),
    approved_payouts numeric(18,2),
    pending_payouts numeric(18,2),
    starting_balance numeric(18,2),
    prior_days_balance numeric(18,2),
    prior_days_equity numeric(18,2),
    current_balance numeric(18,2),
    current_equity numeric(18,2),
    first_trade_date date,
    days_since_initial_deposit integer,
    days_since_first_trade integer,
    gross_profit numeric(18,2),
    gross_loss numeric(18,2),
    gain_to_pain numeric(10,2),
    profit_factor numeric(10,2),
    success_rate numeric(5,2),
    expectancy numeric(18,2),
    mean_profit numeric(18,2),
    median_profit numeric(18,2),
    std_profits numeric(18,2),
    risk_adj_profit double precision,
    min_profit numeric(18,2),
    max_profit numeric(18,2),
    profit_perc_10 numeric(18,2),
    profit_perc_25 numeric(18,2),
    profit_perc_75 numeric(18,2),
    profit_perc_90 numeric(18,2),
    profit_top_10_prcnt_trades numeric(18,2),
    profit_bottom_10_prcnt_trades numeric(18,2),
    top_10_prcnt_profit_contrib numeric(5,2),
    bottom_10_prcnt_loss_contrib numeric(5,2),
    one_std_outlier_profit numeric(18,2),
    one_std_outlier_profit_contrib numeric(10,6),
    two_std_outlier_profit numeric(18,2),
    two_std_outlier_profit_contrib numeric(10,6),
    net_profit_per_usd_volume double precision,
    gross_profit_per_usd_volume double precision,
    gross_loss_per_usd_volume double precision,
    distance_gross_profit_loss_per_usd_volume double precision,
    multiple_gross_profit_loss_per_usd_volume double precision,
    gross_profit_per_lot numeric(18,6),
    gross_loss_per_lot numeric(18,6),
    distance_gross_profit_loss_per_lot numeric(18,6),
    multiple_gross_profit_loss_per_lot double precision,
    net_profit_per_duration numeric(18,6),
    gross_profit_per_duration numeric(18,6),
    gross_loss_per_duration numeric(18,6),
    mean_ret double precision,
    std_rets double precision,
    risk_adj_ret double precision,
    downside_std_rets double precision,
    downside_risk_adj_ret double precision,
    rel_net_profit numeric(18,6),
    rel_gross_profit numeric(18,6),
    rel_gross_loss numeric(18,6),
    rel_mean_profit numeric(18,6),
    rel_median_profit numeric(18,6),
    rel_std_profits numeric(18,6),
    rel_risk_adj_profit double precision,
    rel_min_profit numeric(18,6),
    rel_max_profit numeric(18,6),
    rel_profit_perc_10 numeric(18,6),
    rel_profit_perc_25 numeric(18,6),
    rel_profit_perc_75 numeric(18,6),
    rel_profit_perc_90 numeric(18,6),
    rel_profit_top_10_prcnt_trades numeric(18,6),
    rel_profit_bottom_10_prcnt_trades numeric(18,6),
    rel_one_std_outlier_profit numeric(18,6),
    rel_two_std_outlier_profit numeric(18,6),
    mean_drawdown numeric(18,2),
    median_drawdown numeric(18,2),
    max_drawdown numeric(18,2),
    mean_num_trades_in_dd numeric(18,2),
    median_num_trades_in_dd numeric(18,2),
    max_num_trades_in_dd integer,
    rel_mean_drawdown numeric(18,6),
    rel_median_drawdown numeric(18,6),
    rel_max_drawdown numeric(18,6),
    total_volume numeric(18,2),
    std_volumes numeric(18,2),
    mean_winning_lot numeric(18,6),
    mean_losing_lot numeric(18,6),
    distance_win_loss_lots numeric(18,6),
    multiple_win_loss_lots numeric(10,6),
    mean_winning_volume numeric(18,2),
    mean_losing_volume numeric(18,2),
    distance_win_loss_volume numeric(18,2),
    multiple_win_loss_volume numeric(10,6),
    mean_duration numeric(18,6),
    median_duration numeric(18,6),
    std_durations numeric(18,6),
    min_duration numeric(18,6),
    max_duration numeric(18,6),
    cv_durations numeric(10,6),
    mean_tp numeric(18,6),
    median_tp numeric(18,6),
    std_tp numeric(18,6),
    min_tp numeric(18,6),
    max_tp numeric(18,6),
    cv_tp numeric(10,6),
    mean_sl numeric(18,6),
    median_sl numeric(18,6),
    std_sl numeric(18,6),
    min_sl numeric(18,6),
    max_sl numeric(18,6),
    cv_sl numeric(10,6),
    mean_tp_vs_sl numeric(10,6),
    median_tp_vs_sl numeric(10,6),
    min_tp_vs_sl numeric(10,6),
    max_tp_vs_sl numeric(10,6),
    cv_tp_vs_sl numeric(10,6),
    mean_num_consec_wins numeric(10,2),
    median_num_consec_wins integer,
    max_num_consec_wins integer,
    mean_num_consec_losses numeric(10,2),
    median_num_consec_losses integer,
    max_num_consec_losses integer,
    mean_val_consec_wins numeric(18,2),
    median_val_consec_wins numeric(18,2),
    max_val_consec_wins numeric(18,2),
    mean_val_consec_losses numeric(18,2),
    median_val_consec_losses numeric(18,2),
    max_val_consec_losses numeric(18,2),
    mean_num_open_pos numeric(10,2),
    median_num_open_pos integer,
    max_num_open_pos integer,
    mean_val_open_pos numeric(18,2),
    median_val_open_pos numeric(18,2),
    max_val_open_pos numeric(18,2),
    mean_val_to_eqty_open_pos numeric(10,6),
    median_val_to_eqty_open_pos numeric(10,6),
    max_val_to_eqty_open_pos numeric(10,6),
    mean_account_margin numeric(18,2),
    mean_firm_margin numeric(18,2),
    num_traded_symbols integer,
    most_traded_symbol character varying(50),
    most_traded_smb_trades integer,
    source json
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='20000', autovacuum_analyze_threshold='2000000000');
ALTER TABLE ONLY prop_trading_model.recon_stage_daily ALTER COLUMN fetch_id SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_daily ALTER COLUMN ordinal SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_daily ALTER COLUMN refused SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_daily ALTER COLUMN account_id SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_daily ALTER COLUMN date SET STATISTICS 10;

COMMENT ON TABLE prop_trading_model.recon_stage_daily IS 'pages on their way in; unsent: the bits of columns that were not sent, null if none is missing; nulled: columns whose value cannot be held; refused: why the row cannot be held';

CREATE UNLOGGED TABLE prop_trading_model.recon_stage_hourly (
    fetch_id uuid NOT NULL,
    ordinal bigint NOT NULL,
    unsent bytea,
    refused text,
    nulled text[],
    account_id character varying(255),
    date date,
    hour integer,
    login character varying(255),
    platform integer,
    broker integer,
    num_trades integer,
    net_profit numeric(18,2),
    total_lots numeric(18,6),
    datetime timestamp without time zone,
    plan_id character varying(255),
    trader_id character varying(255),
    status integer,
    type integer,
    phase integer,
    price_stream integer,
    country character varying(2),
    days_to_next_payout integer,
    todays_payouts numeric(18,2),
    approved_payouts numeric(18,2),
    pending_payouts numeric(18,2),
    starting_balance numeric(18,2),
    prior_days_balance numeric(18,2),
    prior_days_equity numeric(18,2),
    current_balance numeric(18,2),
    current_equity numeric(18,2),
    first_trade_date date,
    days_since_initial_deposit integer,
    days_since_first_trade integer,
    gross_profit numeric(18,2),
    gross_loss numeric(18,2),
    gain_to_pain numeric(10,2),
    profit_factor numeric(10,2),
    success_rate numeric(5,2),
    expectancy numeric(18,2),
    mean_profit numeric(18,2),
    median_profit numeric(18,2),
    std_profits numeric(18,2),
    risk_adj_profit double precision,
    min_profit numeric(18,2),
    max_profit numeric(18,2),
    profit_perc_10 numeric(18,2),
    profit_perc_25 numeric(18,2),
    profit_perc_75 numeric(18,2),
    profit_perc_90 numeric(18,2),
    profit_top_10_prcnt_trades numeric(18,2),
    profit_bottom_10_prcnt_trades numeric(18,2),
    top_10_prcnt_profit_contrib numeric(5,2),
    bottom_10_prcnt_loss_contrib numeric(5,2),
    one_std_outlier_profit numeric(18,2),
    one_std_outlier_profit_contrib numeric(10,6),
    two_std_outlier_profit numeric(18,2),
    two_std_outlier_profit_contrib numeric(10,6),
    net_profit_per_usd_volume double precision,
    gross_profit_per_usd_volume double precision,
    gross_loss_per_usd_volume double precision,
    distance_gross_profit_loss_per_usd_volume double precision,
    multiple_gross_profit_loss_per_usd_volume double precision,
    gross_profit_per_lot numeric(18,6),
    gross_loss_per_lot numeric(18,6),
    distance_gross_profit_loss_per_lot numeric(18,6),
    multiple_gross_profit_loss_per_lot double precision,
    net_profit_per_duration numeric(18,6),
    gross_profit_per_duration numeric(18,6),
    gross_loss_per_duration numeric(18,6),
    mean_ret double precision,
    std_rets double precision,
    risk_adj_ret double precision,
    downside_std_rets double precision,
    downside_risk_adj_ret double precision,
    rel_net_profit numeric(18,6),
    rel_gross_profit numeric(18,6),
    rel_gross_loss numeric(18,6),
    rel_mean_profit numeric(18,6),
    rel_median_profit numeric(18,6),
    rel_std_profits numeric(18,6),
    rel_risk_adj_profit double precision,
    rel_min_profit numeric(18,6),
    rel_max_profit numeric(18,6),
    rel_profit_perc_10 numeric(18,6),
    rel_profit_perc_25 numeric(18,6),
    rel_profit_perc_75 numeric(18,6),
    rel_profit_perc_90 numeric(18,6),
    rel_profit_top_10_prcnt_trades numeric(18,6),
    rel_profit_bottom_10_prcnt_trades numeric(18,6),
    rel_one_std_outlier_profit numeric(18,6),
    rel_two_std_outlier_profit numeric(18,6),
    mean_drawdown numeric(18,2),
    median_drawdown numeric(18,2),
    max_drawdown numeric(18,2),
    mean_num_trades_in_dd numeric(18,2),
    median_num_trades_in_dd numeric(18,2),
    max_num_trades_in_dd integer,
    rel_mean_drawdown numeric(18,6),
    rel_median_drawdown numeric(18,6),
    rel_max_drawdown numeric(18,6),
    total_volume numeric(18,2),
    std_volumes numeric(18,2),
    mean_winning_lot numeric(18,6),
    mean_losing_lot numeric(18,6),
    distance_win_loss_lots numeric(18,6),
    multiple_win_loss_lots numeric(10,6),
    mean_winning_volume numeric(18,2),
    mean_losing_volume numeric(18,2),
    distance_win_loss_volume numeric(18,2),
    multiple_win_loss_volume numeric(10,6),
    mean_duration numeric(18,6),
    median_duration numeric(18,6),
    std_durations numeric(18,6),
    min_duration numeric(18,6),
    max_duration numeric(18,6),
    cv_durations numeric(10,6),
    mean_tp numeric(18,6),
    median_tp numeric(18,6),
    std_tp numeric(18,6),
    min_tp numeric(18,6),
    max_tp numeric(18,6),
    cv_tp numeric(10,6),
    mean_sl numeric(18,6),
    median_sl numeric(18,6),
    std_sl numeric(18,6),
    min_sl numeric(18,6),
    max_sl numeric(18,6),
    cv_sl numeric(10,6),
    mean_tp_vs_sl numeric(10,6),
    median_tp_vs_sl numeric(10,6),
    min_tp_vs_sl numeric(10,6),
    max_tp_vs_sl numeric(10,6),
    cv_tp_vs_sl numeric(10,6),
    mean_num_consec_wins numeric(10,2),
    median_num_consec_wins integer,
    max_num_consec_wins integer,
    mean_num_consec_losses numeric(10,2),
    median_num_consec_losses integer,
    max_num_consec_losses integer,
    mean_val_consec_wins numeric(18,2),
    median_val_consec_wins numeric(18,2),
    max_val_consec_wins numeric(18,2),
    mean_val_consec_losses numeric(18,2),
    median_val_consec_losses numeric(18,2),
    max_val_consec_losses numeric(18,2),
    mean_num_open_pos numeric(10,2),
    median_num_open_pos integer,
    max_num_open_pos integer,
    mean_val_open_pos numeric(18,2),
    median_val_open_pos numeric(18,2),
    max_val_open_pos numeric(18,2),
    mean_val_to_eqty_open_pos numeric(10,6),
    median_val_to_eqty_open_pos numeric(10,6),
    max_val_to_eqty_open_pos numeric(10,6),
    mean_account_margin numeric(18,2),
    mean_firm_margin numeric(18,2),
    num_traded_symbols integer,
    most_traded_symbol character varying(50),
    most_traded_smb_trades integer,
    source json
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='20000', autovacuum_analyze_threshold='2000000000');
ALTER TABLE ONLY prop_trading_model.recon_stage_hourly ALTER COLUMN fetch_id SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_hourly ALTER COLUMN ordinal SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_hourly ALTER COLUMN refused SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_hourly ALTER COLUMN account_id SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_hourly ALTER COLUMN date SET STATISTICS 10;
ALTER TABLE ONLY prop_trading_model.recon_stage_hourly ALTER COLUMN hour SET STATISTICS 10;

COMMENT ON TABLE prop_trading_model.recon_stage_hourly IS 'pages on their way in; unsent: the bits of columns that were not sent, null if none is missing; nulled: columns whose value cannot be held; refused: why the row cannot be held';

CREATE TABLE prop_trading_model.recon_unmatched_keys (
    table_name text NOT NULL,
    login text NOT NULL,
    platform text NOT NULL,
    broker text NOT NULL,
    first_run uuid NOT NULL,
    first_seen timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE prop_trading_model.recon_unmatched_keys IS 'natural keys of stored rows that fit no account or several, and the first run that ended with each: later runs know it';

CREATE TABLE prop_trading_model.recon_upstream_holders (
    login text NOT NULL,
    platform text NOT NULL,
    broker text NOT NULL,
    account_id text NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    first_day date
);

COMMENT ON TABLE prop_trading_model.recon_upstream_holders IS 'accounts under which upstream sent a natural key that stands, or may stand, under a placeholder: the placeholder itself where upstream sends no id';

COMMENT ON COLUMN prop_trading_model.recon_upstream_holders.first_day IS 'the first day of the rows that stand under the placeholder of the natural key: they are the account''s';

CREATE TABLE prop_trading_model.recon_window (
    only_row boolean DEFAULT true NOT NULL,
    first_day date,
    noted_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT recon_window_only_row_check CHECK (only_row)
);

COMMENT ON TABLE prop_trading_model.recon_window IS 'the first date of the history that runs compare, by RECON_HISTORY_FROM (one row); null: all';

CREATE TABLE prop_trading_model.recon_workers (
    worker_id uuid NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    heartbeat_at timestamp with time zone DEFAULT now() NOT NULL,
    only_run uuid,
    waits_for text,
    waits_detail text,
    waits_since timestamp with time zone,
    next_try_at timestamp with time zone,
    given_up_at timestamp with time zone,
    under_way jsonb
)
WITH (fillfactor='50');

COMMENT ON TABLE prop_trading_model.recon_workers IS 'one row a worker process; claims of a worker whose heartbeat is older than the lease are free';

COMMENT ON COLUMN prop_trading_model.recon_workers.only_run IS 'the only run that the process serves; null: all of them';

COMMENT ON COLUMN prop_trading_model.recon_workers.waits_for IS 'what keeps the work of the process from going on: upstream_down, upstream_throttles, quota or locks; null: nothing';

COMMENT ON COLUMN prop_trading_model.recon_workers.waits_detail IS 'the error of the last try';

COMMENT ON COLUMN prop_trading_model.recon_workers.next_try_at IS 'when the process tries again; null: soon';

COMMENT ON COLUMN prop_trading_model.recon_workers.given_up_at IS 'when the runs that wait are given up; null: they wait as long as it takes';

COMMENT ON COLUMN prop_trading_model.recon_workers.under_way IS 'the batches that the process works on, by run: accounts, those of which nothing more is to be read, requests and rows written; null: none';

CREATE TABLE prop_trading_model.trade_recon (
    account_id character varying(255) NOT NULL,
    has_alltime boolean DEFAULT false NOT NULL,
    num_trades_alltime bigint DEFAULT 0,
    has_daily boolean DEFAULT false NOT NULL,
    num_trades_daily bigint DEFAULT 0,
    has_hourly boolean DEFAULT false NOT NULL,
    num_trades_hourly bigint DEFAULT 0,
    has_raw_closed boolean DEFAULT false NOT NULL,
    num_trades_raw_closed bigint DEFAULT 0,
    trades_recon_checksum boolean DEFAULT false NOT NULL,
    issues jsonb DEFAULT '[]'::jsonb NOT NULL,
    last_checked timestamp with time zone,
    last_reconciled timestamp with time zone,
    failed_attempts integer DEFAULT 0 NOT NULL,
    last_failed_attempt timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    reconciliation_status text DEFAULT 'pending'::text NOT NULL,
    mismatched_days bigint DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone,
    explained_as text,
    claim_id uuid,
    claimed_by uuid,
    claimed_at timestamp with time zone,
    whole_copy bigint DEFAULT 0 NOT NULL,
    explained_times integer DEFAULT 0 NOT NULL,
    ask_again_at timestamp with time zone,
    mismatched_money bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='40');

COMMENT ON COLUMN prop_trading_model.trade_recon.mismatched_days IS 'dates on which daily, hourly and closed trades disagree';

COMMENT ON COLUMN prop_trading_model.trade_recon.next_attempt_at IS 'no ordinary run takes the account before this time: it is backing off';

COMMENT ON COLUMN prop_trading_model.trade_recon.explained_as IS 'what detection saw when a run could only explain what was left: while it sees the same, a full run need not ask again';

COMMENT ON COLUMN prop_trading_model.trade_recon.whole_copy IS 'the newest copy in recon_removed_rows when the account was last found whole: rows copied since count together against its guard';

COMMENT ON COLUMN prop_trading_model.trade_recon.explained_times IS 'how many times in a row upstream was asked in vain about the state that explained_as stands for';

COMMENT ON COLUMN prop_trading_model.trade_recon.ask_again_at IS 'until then a full run does not ask again about the state that explained_as stands for';

COMMENT ON COLUMN prop_trading_model.trade_recon.mismatched_money IS 'dates on which net profit or lots disagree between tables whose counts agree; 1 where only the totals do';

CREATE VIEW prop_trading_model.v_recon_days AS
 SELECT account_id,
    date,
    COALESCE(sum(daily), (0)::bigint) AS daily,
    COALESCE(max(hourly), (0)::bigint) AS hourly,
    COALESCE(max(closed), (0)::bigint) AS closed,
    COALESCE(sum(daily_rows), (0)::bigint) AS daily_rows,
    COALESCE(max(hourly_rows), (0)::bigint) AS hourly_rows
   FROM ( SELECT raw_metrics_daily.account_id,
            raw_metrics_daily.date,
            prop_trading_model.recon_count(raw_metrics_daily.num_trades) AS daily,
            NULL::bigint AS hourly,
            NULL::bigint AS closed,
            1 AS daily_rows,
            NULL::bigint AS hourly_rows
           FROM prop_trading_model.raw_metrics_daily
          WHERE ((raw_metrics_daily.date >= COALESCE(( SELECT recon_window.first_day
                   FROM prop_trading_model.recon_window), '0001-01-01'::date)) AND (raw_metrics_daily.date <= '9999-12-31'::date))
        UNION ALL
         SELECT raw_metrics_hourly.account_id,
            raw_metrics_hourly.date,
            NULL::integer,
            COALESCE(sum(prop_trading_model.recon_count(raw_metrics_hourly.num_trades)), (0)::bigint) AS "coalesce",
            NULL::bigint,
            NULL::integer,
            count(*) AS count
           FROM prop_trading_model.raw_metrics_hourly
          WHERE ((raw_metrics_hourly.date >= COALESCE(( SELECT recon_window.first_day
                   FROM prop_trading_model.recon_window), '0001-01-01'::date)) AND (raw_metrics_hourly.date <= '9999-12-31'::date))
          GROUP BY raw_metrics_hourly.account_id, raw_metrics_hourly.date
        UNION ALL
         SELECT raw_trades_closed.account_id,
            raw_trades_closed.trade_date,
            NULL::integer,
            NULL::bigint,
            count(*) AS count,
            NULL::integer,
            NULL::bigint
           FROM prop_trading_model.raw_trades_closed
          WHERE ((raw_trades_closed.account_id IS NOT NULL) AND ((raw_trades_closed.trade_date >= COALESCE(( SELECT recon_window.first_day
                   FROM prop_trading_model.recon_window), '0001-01-01'::date)) AND (raw_trades_closed.trade_date <= '9999-12-31'::date)))
          GROUP BY raw_trades_closed.account_id, raw_trades_closed.trade_date) sides
  GROUP BY account_id, date;

COMMENT ON VIEW prop_trading_model.v_recon_days IS 'the day matrix: what each table counts for an account on a date, side by side; an absent row counts 0; rows of before the history that is kept, and of a date that no calendar holds, are left out';

CREATE VIEW prop_trading_model.v_recon_mismatched AS
 SELECT trade_recon.account_id
   FROM prop_trading_model.trade_recon
  WHERE ((NOT trade_recon.trades_recon_checksum) OR (trade_recon.mismatched_days > 0) OR (trade_recon.mismatched_money > 0) OR (trade_recon.issues <> '[]'::jsonb))
UNION
 SELECT recon_descents.account_id
   FROM prop_trading_model.recon_descents
UNION
 SELECT recon_issue_history.account_id
   FROM prop_trading_model.recon_issue_history
  WHERE (recon_issue_history.closed_at IS NULL);

COMMENT ON VIEW prop_trading_model.v_recon_mismatched IS 'accounts that a run looks at: their tables disagree, an issue is open, or a descent that an audit began is not finished';

CREATE VIEW prop_trading_model.v_recon_stats AS
 SELECT account_id,
    (sum(alltime_rows) > (0)::numeric) AS has_alltime,
    (sum(alltime))::bigint AS alltime,
    (sum(daily_rows) > (0)::numeric) AS has_daily,
    (sum(daily))::bigint AS daily,
    (sum(hourly_rows) > (0)::numeric) AS has_hourly,
    (sum(hourly))::bigint AS hourly,
    (sum(closed) > (0)::numeric) AS has_closed,
    (sum(closed))::bigint AS closed,
    sum(mismatched) AS mismatched_days
   FROM ( SELECT v_recon_days.account_id,
            (0)::bigint AS alltime,
            (0)::bigint AS alltime_rows,
            v_recon_days.daily,
            v_recon_days.daily_rows,
            v_recon_days.hourly,
            v_recon_days.hourly_rows,
            v_recon_days.closed,
            (((v_recon_days.daily <> v_recon_days.hourly) OR (v_recon_days.daily <> v_recon_days.closed)))::integer AS mismatched
           FROM prop_trading_model.v_recon_days
        UNION ALL
         SELECT a.account_id,
            ((prop_trading_model.recon_count(a.num_trades))::bigint - COALESCE(( SELECT h.trades
                   FROM prop_trading_model.recon_history h
                  WHERE ((h.account_id = (a.account_id)::text) AND (h.history_from = ( SELECT recon_window.first_day
                           FROM prop_trading_model.recon_window)))), (0)::bigint)),
            1,
            0,
            0,
            0,
            0,
            0,
            0
           FROM prop_trading_model.raw_metrics_alltime a) levels
  GROUP BY account_id;

COMMENT ON VIEW prop_trading_model.v_recon_stats IS 'the totals of each account by table, and the number of dates on which the tables disagree';

CREATE VIEW prop_trading_model.v_reconciliation_progress AS
 SELECT count(*) AS total_accounts,
    count(*) FILTER (WHERE (trades_recon_checksum AND (mismatched_days = 0) AND (mismatched_money = 0) AND (issues = '[]'::jsonb))) AS reconciled,
    count(*) FILTER (WHERE ((NOT trades_recon_checksum) OR (mismatched_days > 0) OR (mismatched_money > 0) OR (issues <> '[]'::jsonb))) AS needs_reconciliation,
    count(*) FILTER (WHERE (failed_attempts > 0)) AS has_failures,
    count(*) FILTER (WHERE (issues <> '[]'::jsonb)) AS has_issues,
    COALESCE(round(((100.0 * (count(*) FILTER (WHERE (trades_recon_checksum AND (mismatched_days = 0) AND (mismatched_money = 0) AND (issues = '[]'::jsonb))))::numeric) / (NULLIF(count(*), 0))::numeric), 2), (0)::numeric) AS reconciliation_percentage,
    max(GREATEST(last_checked, last_reconciled)) AS last_activity,
    min(last_checked) FILTER (WHERE ((NOT trades_recon_checksum) OR (mismatched_days > 0) OR (mismatched_money > 0) OR (issues <> '[]'::jsonb))) AS oldest_unreconciled
   FROM prop_trading_model.trade_recon;

COMMENT ON VIEW prop_trading_model.v_reconciliation_progress IS 'how much of the warehouse agrees with itself';

ALTER TABLE ONLY prop_trading_model.raw_metrics_alltime
    ADD CONSTRAINT raw_metrics_alltime_pkey PRIMARY KEY (account_id);

ALTER TABLE ONLY prop_trading_model.raw_metrics_daily
    ADD CONSTRAINT raw_metrics_daily_pkey PRIMARY KEY (account_id, date) INCLUDE (num_trades, login, platform, broker, net_profit, total_lots);

ALTER TABLE ONLY prop_trading_model.raw_metrics_hourly
    ADD CONSTRAINT raw_metrics_hourly_pkey PRIMARY KEY (account_id, date, hour) INCLUDE (num_trades, login, net_profit, total_lots);

ALTER TABLE ONLY prop_trading_model.raw_trades_closed
    ADD CONSTRAINT raw_trades_closed_pkey PRIMARY KEY (platform, broker, login, "position", ticket, trade_date) INCLUDE (account_id);

ALTER TABLE ONLY prop_trading_model.raw_trades_open
    ADD CONSTRAINT raw_trades_open_pkey PRIMARY KEY (platform, broker, login, "position", ticket, trade_date) INCLUDE (account_id);

ALTER TABLE ONLY prop_trading_model.recon_accepted_issues
    ADD CONSTRAINT recon_accepted_issues_pkey PRIMARY KEY (acceptance_id);

ALTER TABLE ONLY prop_trading_model.recon_attempts
    ADD CONSTRAINT recon_attempts_pkey PRIMARY KEY (run_id, account_id);

ALTER TABLE ONLY prop_trading_model.recon_changes
    ADD CONSTRAINT recon_changes_pkey PRIMARY KEY (change_id);

ALTER TABLE ONLY prop_trading_model.recon_definitions
    ADD CONSTRAINT recon_definitions_pkey PRIMARY KEY (kind, name);

ALTER TABLE ONLY prop_trading_model.recon_descents
    ADD CONSTRAINT recon_descents_pkey PRIMARY KEY (account_id, date);

ALTER TABLE ONLY prop_trading_model.recon_doubted_dates
    ADD CONSTRAINT recon_doubted_dates_pkey PRIMARY KEY (account_id, date);

ALTER TABLE ONLY prop_trading_model.recon_drift
    ADD CONSTRAINT recon_drift_pkey PRIMARY KEY (run_id, account_id);

ALTER TABLE ONLY prop_trading_model.recon_fetches
    ADD CONSTRAINT recon_fetches_pkey PRIMARY KEY (fetch_id);

ALTER TABLE ONLY prop_trading_model.recon_few_hours
    ADD CONSTRAINT recon_few_hours_pkey PRIMARY KEY (account_id);

ALTER TABLE ONLY prop_trading_model.recon_foreign_metrics
    ADD CONSTRAINT recon_foreign_metrics_pkey PRIMARY KEY (login, platform, broker, holder);

ALTER TABLE ONLY prop_trading_model.recon_history
    ADD CONSTRAINT recon_history_pkey PRIMARY KEY (account_id);

ALTER TABLE ONLY prop_trading_model.recon_identity
    ADD CONSTRAINT recon_identity_pkey PRIMARY KEY (login, platform, broker, account_id);

ALTER TABLE ONLY prop_trading_model.recon_inspection_figures
    ADD CONSTRAINT recon_inspection_figures_pkey PRIMARY KEY (figures_id);

ALTER TABLE ONLY prop_trading_model.recon_issue_history
    ADD CONSTRAINT recon_issue_history_pkey PRIMARY KEY (issue_id);

ALTER TABLE ONLY prop_trading_model.recon_migrations
    ADD CONSTRAINT recon_migrations_pkey PRIMARY KEY (name);

ALTER TABLE ONLY prop_trading_model.recon_money_relations
    ADD CONSTRAINT recon_money_relations_pkey PRIMARY KEY (relation);

ALTER TABLE ONLY prop_trading_model.recon_orders
    ADD CONSTRAINT recon_orders_pkey PRIMARY KEY (order_id);

ALTER TABLE ONLY prop_trading_model.recon_pins
    ADD CONSTRAINT recon_pins_pkey PRIMARY KEY (table_name, row_key);

ALTER TABLE ONLY prop_trading_model.recon_quota
    ADD CONSTRAINT recon_quota_pkey PRIMARY KEY (singleton);

ALTER TABLE ONLY prop_trading_model.recon_removed_rows
    ADD CONSTRAINT recon_removed_rows_pkey PRIMARY KEY (removed_id);

ALTER TABLE ONLY prop_trading_model.recon_report
    ADD CONSTRAINT recon_report_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY prop_trading_model.recon_run_inserts
    ADD CONSTRAINT recon_run_inserts_pkey PRIMARY KEY (insert_id);

ALTER TABLE ONLY prop_trading_model.recon_run_losses
    ADD CONSTRAINT recon_run_losses_pkey PRIMARY KEY (run_id, account_id);

ALTER TABLE ONLY prop_trading_model.recon_runs
    ADD CONSTRAINT recon_runs_pkey PRIMARY KEY (run_id);

ALTER TABLE ONLY prop_trading_model.recon_scan_days
    ADD CONSTRAINT recon_scan_days_pkey PRIMARY KEY (run_id, account_id, date);

ALTER TABLE ONLY prop_trading_model.recon_scan
    ADD CONSTRAINT recon_scan_pkey PRIMARY KEY (run_id, account_id);

ALTER TABLE ONLY prop_trading_model.recon_set_aside_rows
    ADD CONSTRAINT recon_set_aside_rows_pkey PRIMARY KEY (table_name, row_key, row_digest);

ALTER TABLE ONLY prop_trading_model.recon_shared_ids
    ADD CONSTRAINT recon_shared_ids_pkey PRIMARY KEY (account_id);

ALTER TABLE ONLY prop_trading_model.recon_shared_reads
    ADD CONSTRAINT recon_shared_reads_pkey PRIMARY KEY (run_id, table_name, days);

ALTER TABLE ONLY prop_trading_model.recon_unmatched_keys
    ADD CONSTRAINT recon_unmatched_keys_pkey PRIMARY KEY (table_name, login, platform, broker);

ALTER TABLE ONLY prop_trading_model.recon_upstream_holders
    ADD CONSTRAINT recon_upstream_holders_pkey PRIMARY KEY (login, platform, broker, account_id);

ALTER TABLE ONLY prop_trading_model.recon_window
    ADD CONSTRAINT recon_window_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY prop_trading_model.recon_workers
    ADD CONSTRAINT recon_workers_pkey PRIMARY KEY (worker_id);

ALTER TABLE ONLY prop_trading_model.trade_recon
    ADD CONSTRAINT trade_recon_pkey PRIMARY KEY (account_id);

CREATE UNIQUE INDEX mv_all_account_ids_account_id ON prop_trading_model.mv_all_account_ids USING btree (account_id);

CREATE INDEX raw_metrics_alltime_ingested ON prop_trading_model.raw_metrics_alltime USING brin (ingestion_timestamp) WITH (pages_per_range='32', autosummarize='on');

COMMENT ON INDEX prop_trading_model.raw_metrics_alltime_ingested IS 'touched: get_touched_accounts';

CREATE INDEX raw_metrics_alltime_natural_key ON prop_trading_model.raw_metrics_alltime USING btree (login, platform, broker) INCLUDE (account_id);

COMMENT ON INDEX prop_trading_model.raw_metrics_alltime_natural_key IS 'identity: refresh_identity finds who holds a natural key today';

CREATE INDEX raw_metrics_daily_ingested ON ONLY prop_trading_model.raw_metrics_daily USING brin (ingestion_timestamp) WITH (pages_per_range='32', autosummarize='on');

COMMENT ON INDEX prop_trading_model.raw_metrics_daily_ingested IS 'touched: get_touched_accounts';

CREATE INDEX raw_metrics_hourly_ingested ON ONLY prop_trading_model.raw_metrics_hourly USING brin (ingestion_timestamp) WITH (pages_per_range='32', autosummarize='on');

COMMENT ON INDEX prop_trading_model.raw_metrics_hourly_ingested IS 'touched: get_touched_accounts';

CREATE INDEX raw_trades_closed_account_day ON ONLY prop_trading_model.raw_trades_closed USING btree (account_id, trade_date) INCLUDE (login, platform, broker, profit, lots);

COMMENT ON INDEX prop_trading_model.raw_trades_closed_account_day IS 'detection and identity: the day matrix with its amounts and find_foreign_ids read this index alone';

CREATE INDEX raw_trades_closed_ingested ON ONLY prop_trading_model.raw_trades_closed USING brin (ingestion_timestamp) WITH (pages_per_range='32', autosummarize='on');

COMMENT ON INDEX prop_trading_model.raw_trades_closed_ingested IS 'touched: get_touched_accounts';

CREATE INDEX raw_trades_closed_without_account ON ONLY prop_trading_model.raw_trades_closed USING btree (login, platform, broker, trade_date) WHERE (account_id IS NULL);

COMMENT ON INDEX prop_trading_model.raw_trades_closed_without_account IS 'identity: find_null_ids and mend_trade_ids';

CREATE INDEX raw_trades_open_account_day ON ONLY prop_trading_model.raw_trades_open USING btree (account_id, trade_date) INCLUDE (login, platform, broker);

COMMENT ON INDEX prop_trading_model.raw_trades_open_account_day IS 'detection and identity: the day matrix and find_foreign_ids read this index alone';

CREATE INDEX raw_trades_open_ingested ON ONLY prop_trading_model.raw_trades_open USING brin (ingestion_timestamp) WITH (pages_per_range='32', autosummarize='on');

COMMENT ON INDEX prop_trading_model.raw_trades_open_ingested IS 'touched: get_touched_accounts';

CREATE INDEX raw_trades_open_without_account ON ONLY prop_trading_model.raw_trades_open USING btree (login, platform, broker, trade_date) WHERE (account_id IS NULL);

COMMENT ON INDEX prop_trading_model.raw_trades_open_without_account IS 'identity: find_null_ids and mend_trade_ids';

CREATE INDEX recon_accepted_issues_ended ON prop_trading_model.recon_accepted_issues USING btree (ended_at) WHERE (ended_at IS NOT NULL);

COMMENT ON INDEX prop_trading_model.recon_accepted_issues_ended IS 'retention: purge_accepted';

CREATE UNIQUE INDEX recon_accepted_issues_open ON prop_trading_model.recon_accepted_issues USING btree (account_id, type) WHERE (ended_at IS NULL);

COMMENT ON INDEX prop_trading_model.recon_accepted_issues_open IS 'accepted: get_accepted, one acceptance of an issue at a time; report: what is accepted';

CREATE INDEX recon_attempts_account ON prop_trading_model.recon_attempts USING btree (account_id, finished_at DESC);

COMMENT ON INDEX prop_trading_model.recon_attempts_account IS 'report: get_attempts';

CREATE INDEX recon_attempts_finished ON prop_trading_model.recon_attempts USING brin (finished_at) WITH (pages_per_range='32', autosummarize='on');

COMMENT ON INDEX prop_trading_model.recon_attempts_finished IS 'report: get_activity';

CREATE INDEX recon_attempts_waiting ON prop_trading_model.recon_attempts USING btree (run_id, postponed_until NULLS FIRST, "position") WHERE (outcome IS NULL);

COMMENT ON INDEX prop_trading_model.recon_attempts_waiting IS 'claims: claim_accounts takes the accounts of a run in order, postponed ones behind all others; runs: get_run, finish_run, get_run_state';

CREATE INDEX recon_changes_inserted_of_account ON prop_trading_model.recon_changes USING btree (account_id, change_id) WHERE (inserted_rows IS NOT NULL);

COMMENT ON INDEX prop_trading_model.recon_changes_inserted_of_account IS 'inserted: list_inserted_rows of an account, newest first';

CREATE INDEX recon_changes_inserted_of_run ON prop_trading_model.recon_changes USING btree (run_id, change_id) WHERE (inserted_rows IS NOT NULL);

COMMENT ON INDEX prop_trading_model.recon_changes_inserted_of_run IS 'inserted: list_inserted_rows of a run, newest first';

CREATE INDEX recon_doubted_dates_of_run ON prop_trading_model.recon_doubted_dates USING btree (read_run, account_id);

COMMENT ON INDEX prop_trading_model.recon_doubted_dates_of_run IS 'runs: enqueue_audited; detection: get_doubts';

CREATE INDEX recon_identity_account ON prop_trading_model.recon_identity USING btree (account_id);

CREATE INDEX recon_identity_findings_candidates ON prop_trading_model.recon_identity_findings USING gin (candidates);

CREATE UNIQUE INDEX recon_identity_findings_natural_key ON prop_trading_model.recon_identity_findings USING btree (login, platform, broker, table_name, holder, fits) NULLS NOT DISTINCT;

COMMENT ON INDEX prop_trading_model.recon_identity_findings_natural_key IS 'identity: two that look at once find a thing once';

CREATE INDEX recon_identity_zeros ON prop_trading_model.recon_identity USING btree (ltrim(login, '0'::text), platform, broker) WHERE (login ~~ '0%'::text);

COMMENT ON INDEX prop_trading_model.recon_identity_zeros IS 'staging: get_known_logins';

CREATE INDEX recon_inspection_figures_run ON prop_trading_model.recon_inspection_figures USING btree (run_id);

COMMENT ON INDEX prop_trading_model.recon_inspection_figures_run IS 'inspections: get_inspection_figures';

CREATE INDEX recon_issue_history_account ON prop_trading_model.recon_issue_history USING btree (account_id, opened_at DESC);

CREATE INDEX recon_issue_history_closed ON prop_trading_model.recon_issue_history USING btree (closed_at) WHERE (closed_at IS NOT NULL);

COMMENT ON INDEX prop_trading_model.recon_issue_history_closed IS 'retention: purge_issues';

CREATE UNIQUE INDEX recon_issue_history_open ON prop_trading_model.recon_issue_history USING btree (account_id, type) WHERE (closed_at IS NULL);

COMMENT ON INDEX prop_trading_model.recon_issue_history_open IS 'record: an issue of an account is open once';

CREATE INDEX recon_orders_run ON prop_trading_model.recon_orders USING btree (run_id, order_id) WHERE (run_id IS NOT NULL);

COMMENT ON INDEX prop_trading_model.recon_orders_run IS 'orders: get_orders_of_run';

CREATE INDEX recon_pins_account ON prop_trading_model.recon_pins USING btree (account_id, table_name);

COMMENT ON INDEX prop_trading_model.recon_pins_account IS 'detection: get_pins, and release_pins of an account';

CREATE INDEX recon_removed_rows_account ON prop_trading_model.recon_removed_rows USING btree (account_id, table_name, date);

CREATE INDEX recon_removed_rows_of_account ON prop_trading_model.recon_removed_rows USING btree (account_id, removed_id);

COMMENT ON INDEX prop_trading_model.recon_removed_rows_of_account IS 'removed: list_removed_rows of an account, newest first';

CREATE INDEX recon_removed_rows_of_reason ON prop_trading_model.recon_removed_rows USING btree (reason, removed_id) WHERE (reason <> 'overwritten'::text);

COMMENT ON INDEX prop_trading_model.recon_removed_rows_of_reason IS 'removed: list_removed_rows of a reason that is rare, newest first';

CREATE INDEX recon_removed_rows_of_run ON prop_trading_model.recon_removed_rows USING btree (run_id, removed_id) WHERE (run_id IS NOT NULL);

COMMENT ON INDEX prop_trading_model.recon_removed_rows_of_run IS 'removed: list_removed_rows and get_ids_of_run of a run, newest first';

CREATE INDEX recon_run_inserts_run ON prop_trading_model.recon_run_inserts USING btree (run_id);

COMMENT ON INDEX prop_trading_model.recon_run_inserts_run IS 'runs: get_run_result';

CREATE INDEX recon_runs_active ON prop_trading_model.recon_runs USING btree (created_at) WHERE (status = ANY (ARRAY['queued'::text, 'running'::text]));

COMMENT ON INDEX prop_trading_model.recon_runs_active IS 'runs: find_active_run';

CREATE INDEX recon_runs_covers_until ON prop_trading_model.recon_runs USING btree (covers_until DESC) WHERE (covers_until IS NOT NULL);

COMMENT ON INDEX prop_trading_model.recon_runs_covers_until IS 'touched: get_covered_until';

CREATE INDEX recon_runs_finished ON prop_trading_model.recon_runs USING btree (finished_at) WHERE (finished_at IS NOT NULL);

COMMENT ON INDEX prop_trading_model.recon_runs_finished IS 'report: get_last_run';

CREATE INDEX recon_runs_holding ON prop_trading_model.recon_runs USING btree (finished_at) WHERE (needs_confirmation > 0);

COMMENT ON INDEX prop_trading_model.recon_runs_holding IS 'report: get_holding_run';

CREATE UNIQUE INDEX recon_runs_idempotency_key ON prop_trading_model.recon_runs USING btree (idempotency_key) WHERE (idempotency_key IS NOT NULL);

COMMENT ON INDEX prop_trading_model.recon_runs_idempotency_key IS 'runs: create_run and get_run_of_key';

CREATE INDEX recon_runs_newest ON prop_trading_model.recon_runs USING btree (created_at, run_id);

COMMENT ON INDEX prop_trading_model.recon_runs_newest IS 'runs: list_runs';

CREATE INDEX recon_runs_open_trades ON prop_trading_model.recon_runs USING btree (finished_at) WHERE (open_trades IS NOT NULL);

COMMENT ON INDEX prop_trading_model.recon_runs_open_trades IS 'report: get_open_trades';

CREATE UNIQUE INDEX recon_runs_sole ON prop_trading_model.recon_runs USING btree (is_sole) WHERE (is_sole AND (status = ANY (ARRAY['queued'::text, 'running'::text, 'paused'::text])));

COMMENT ON INDEX prop_trading_model.recon_runs_sole IS 'runs: create_run, of two that start a full run at the same time one is refused';

CREATE INDEX recon_runs_stop_at ON prop_trading_model.recon_runs USING btree (stop_at) WHERE ((stop_at IS NOT NULL) AND (status = ANY (ARRAY['queued'::text, 'running'::text, 'paused'::text])));

COMMENT ON INDEX prop_trading_model.recon_runs_stop_at IS 'control: end_overdue_runs, each second of each process';

CREATE INDEX recon_runs_suspicion ON prop_trading_model.recon_runs USING btree (finished_at) WHERE (suspicion IS NOT NULL);

COMMENT ON INDEX prop_trading_model.recon_runs_suspicion IS 'runs: get_standing_suspicion';

CREATE INDEX recon_runs_upstream_well ON prop_trading_model.recon_runs USING btree (started_at) WHERE upstream_well;

COMMENT ON INDEX prop_trading_model.recon_runs_upstream_well IS 'runs: get_standing_suspicion';

CREATE INDEX recon_set_aside_rows_of_account ON prop_trading_model.recon_set_aside_rows USING btree (account_id, table_name);

COMMENT ON INDEX prop_trading_model.recon_set_aside_rows_of_account IS 'changes: take_off_set_aside';

CREATE INDEX recon_stage_alltime_fetch_id_account_id_idx ON prop_trading_model.recon_stage_alltime USING btree (fetch_id, account_id);

CREATE INDEX recon_stage_alltime_fetch_id_idx ON prop_trading_model.recon_stage_alltime USING btree (fetch_id) WHERE ((refused IS NOT NULL) OR (nulled IS NOT NULL));

CREATE INDEX recon_stage_alltime_fetch_id_ordinal_idx ON prop_trading_model.recon_stage_alltime USING btree (fetch_id, ordinal);

CREATE INDEX recon_stage_closed_fetch_id_idx ON prop_trading_model.recon_stage_closed USING btree (fetch_id) WHERE ((refused IS NOT NULL) OR (nulled IS NOT NULL));

CREATE INDEX recon_stage_closed_fetch_id_ordinal_idx ON prop_trading_model.recon_stage_closed USING btree (fetch_id, ordinal);

CREATE INDEX recon_stage_closed_fetch_id_trade_date_login_position_ticke_idx ON prop_trading_model.recon_stage_closed USING btree (fetch_id, trade_date, login, "position", ticket);

CREATE INDEX recon_stage_daily_fetch_id_account_id_date_idx ON prop_trading_model.recon_stage_daily USING btree (fetch_id, account_id, date);

CREATE INDEX recon_stage_daily_fetch_id_idx ON prop_trading_model.recon_stage_daily USING btree (fetch_id) WHERE ((refused IS NOT NULL) OR (nulled IS NOT NULL));

CREATE INDEX recon_stage_daily_fetch_id_ordinal_idx ON prop_trading_model.recon_stage_daily USING btree (fetch_id, ordinal);

CREATE INDEX recon_stage_hourly_fetch_id_account_id_date_hour_idx ON prop_trading_model.recon_stage_hourly USING btree (fetch_id, account_id, date, hour);

CREATE INDEX recon_stage_hourly_fetch_id_idx ON prop_trading_model.recon_stage_hourly USING btree (fetch_id) WHERE ((refused IS NOT NULL) OR (nulled IS NOT NULL));

CREATE INDEX recon_stage_hourly_fetch_id_ordinal_idx ON prop_trading_model.recon_stage_hourly USING btree (fetch_id, ordinal);

CREATE INDEX recon_upstream_holders_account ON prop_trading_model.recon_upstream_holders USING btree (account_id);

COMMENT ON INDEX prop_trading_model.recon_upstream_holders_account IS 'identity: refresh_identity of some accounts';

ALTER TABLE ONLY prop_trading_model.recon_attempts
    ADD CONSTRAINT recon_attempts_run_id_fkey FOREIGN KEY (run_id) REFERENCES prop_trading_model.recon_runs(run_id) ON DELETE CASCADE;

ALTER TABLE ONLY prop_trading_model.recon_shared_reads
    ADD CONSTRAINT recon_shared_reads_run_id_fkey FOREIGN KEY (run_id) REFERENCES prop_trading_model.recon_runs(run_id) ON DELETE CASCADE;
