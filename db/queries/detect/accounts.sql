-- name: days_of_accounts
-- Day matrix of some accounts, like v_recon_days for all. The condition is repeated for each table,
-- since none outside the view reaches distributed tables, which would be read entirely. Without
-- impossible dates, which get_odd_rows names, and dates before the history.
(
    SELECT
        account_id, date, coalesce(sum(daily), 0)::bigint AS daily,
        coalesce(max(hourly), 0) AS hourly, coalesce(max(closed), 0) AS closed,
        coalesce(sum(daily_rows), 0) AS daily_rows, coalesce(max(hourly_rows), 0) AS hourly_rows
    FROM (
        SELECT account_id, date, prop_trading_model.recon_count(num_trades) AS daily,
            NULL::bigint AS hourly, NULL::bigint AS closed, 1 AS daily_rows,
            NULL::bigint AS hourly_rows
        FROM prop_trading_model.raw_metrics_daily
        WHERE {{accounts}} AND date BETWEEN {{first_day}} AND '9999-12-31'
        UNION ALL
        SELECT account_id, date, NULL,
            coalesce(sum(prop_trading_model.recon_count(num_trades)), 0)::bigint, NULL, NULL,
            count(*)
        FROM prop_trading_model.raw_metrics_hourly
        WHERE {{accounts}} AND date BETWEEN {{first_day}} AND '9999-12-31'
        GROUP BY account_id, date
        UNION ALL
        SELECT account_id, trade_date, NULL, NULL, count(*), NULL, NULL
        FROM prop_trading_model.raw_trades_closed
        WHERE account_id IS NOT NULL AND {{accounts}}
            AND trade_date BETWEEN {{first_day}} AND '9999-12-31'
        GROUP BY account_id, trade_date
    ) AS sides
    GROUP BY account_id, date
)

-- name: look_at_accounts
-- Accounts with stored state and issues, and totals, first, last and disagreeing dates from the raw
-- tables. Dates are day numbers, 1 being the first day of year 1.
SELECT
    wanted.account_id, t.account_id IS NOT NULL AS is_known, t.issues, t.explained_as,
    t.explained_times, t.ask_again_at, t.reconciliation_status,
    coalesce(t.has_alltime, false) AS stored_has_alltime,
    coalesce(t.num_trades_alltime, 0) AS stored_alltime,
    coalesce(t.has_daily, false) AS stored_has_daily,
    coalesce(t.num_trades_daily, 0) AS stored_daily,
    coalesce(t.has_hourly, false) AS stored_has_hourly,
    coalesce(t.num_trades_hourly, 0) AS stored_hourly,
    coalesce(t.has_raw_closed, false) AS stored_has_closed,
    coalesce(t.num_trades_raw_closed, 0) AS stored_closed,
    coalesce(t.mismatched_days, 0) AS stored_mismatched_days,
    coalesce(t.mismatched_money, 0) AS stored_mismatched_money,
    coalesce(t.trades_recon_checksum, false) AS stored_checksum,
    a.account_id IS NOT NULL AS has_alltime, coalesce(a.alltime{{less_history}}, 0) AS alltime,
    {{history_columns}},
    coalesce(m.has_daily, false) AS has_daily, coalesce(m.daily, 0) AS daily,
    coalesce(m.has_hourly, false) AS has_hourly, coalesce(m.hourly, 0) AS hourly,
    coalesce(m.closed > 0, false) AS has_closed, coalesce(m.closed, 0) AS closed,
    m.first_day, m.last_day, coalesce(m.known_days, 0) AS known_days,
    m.days, m.few_hours, f.dates AS stored_few_hours, {{money_columns}}
FROM unnest($1::text[]) AS wanted (account_id)
LEFT JOIN prop_trading_model.trade_recon AS t ON t.account_id = wanted.account_id
LEFT JOIN prop_trading_model.recon_few_hours AS f ON f.account_id = wanted.account_id
LEFT JOIN (
    SELECT account_id,
        sum(prop_trading_model.recon_count(num_trades))::bigint AS alltime{{alltime_amounts}}
    FROM prop_trading_model.raw_metrics_alltime
    WHERE account_id = ANY($1::text[])
    GROUP BY account_id
) AS a ON a.account_id = wanted.account_id
{{history_join}}LEFT JOIN (
    SELECT
        account_id, sum(daily)::bigint AS daily, sum(hourly)::bigint AS hourly,
        sum(closed)::bigint AS closed,
        bool_or(days.daily_rows > 0) AS has_daily, bool_or(days.hourly_rows > 0) AS has_hourly,
        -- Extreme dates are single errors and do not extend the account's life.
        min(date) FILTER (WHERE date BETWEEN '1970-01-01' AND '2199-12-31') AS first_day,
        max(date) FILTER (WHERE date BETWEEN '1970-01-01' AND '2199-12-31') AS last_day,
        count(*) AS known_days,
        -- One array of numbers: PostgreSQL reserves 8 kB for each array of each account.
        array_agg(ARRAY[date - date '0001-01-01' + 1, daily, hourly, closed, days.daily_rows,
            days.hourly_rows])
            FILTER (WHERE daily <> hourly OR daily <> closed) AS days,
        array_agg(date)
            FILTER (WHERE days.hourly_rows = 1 AND hourly > {{few_hours_trades}})
            AS few_hours{{money_sums}}
    FROM {{days}} AS days
    GROUP BY account_id
) AS m ON m.account_id = wanted.account_id
{{money_join}}

-- name: issues_if_emptied
-- Issues of an account `r` counted as `now`, adding one if nothing is stored but metrics were at
-- the last count: rows were deleted, or the account is gone upstream, which only upstream knows.
CASE
    WHEN (r.has_alltime OR r.has_daily)
        AND NOT (now.has_alltime OR now.has_daily OR now.has_hourly OR now.has_closed)
         AND NOT r.issues @> '[{"type": "upstream_drift"}]'
    THEN CASE jsonb_typeof(r.issues) WHEN 'array' THEN r.issues
        ELSE '[]' END || jsonb_build_array(jsonb_build_object(
        'type', 'upstream_drift', 'severity', 2, 'affected',
        jsonb_build_array('raw_metrics_alltime'), 'resolution_strategy', 'refetch_all_data',
        'description', 'Nothing is stored of the account any more.',
        'metadata', jsonb_build_object('emptied', jsonb_build_object(
            'raw_metrics_alltime', r.num_trades_alltime, 'raw_metrics_daily', r.num_trades_daily,
            'raw_metrics_hourly', r.num_trades_hourly,
            'raw_trades_closed', r.num_trades_raw_closed
        ))
    ))
    ELSE r.issues
END

-- name: write_stats
-- Write changed totals and checksums of accounts ($1), waiting for locked rows.
WITH fresh AS (
    SELECT * FROM jsonb_to_recordset($1) AS f (
        account_id text, has_alltime boolean, alltime bigint, has_daily boolean, daily bigint,
        has_hourly boolean, hourly bigint, has_closed boolean, closed bigint,
        mismatched_days bigint, mismatched_money bigint, checksum boolean
    )
), held AS MATERIALIZED (
    SELECT account_id FROM prop_trading_model.trade_recon
    WHERE account_id = ANY(ARRAY(SELECT account_id FROM fresh))
    -- A common order prevents deadlocks between workers.
    ORDER BY account_id
    FOR NO KEY UPDATE
)
UPDATE prop_trading_model.trade_recon AS r
SET has_alltime = now.has_alltime, num_trades_alltime = now.alltime,
    has_daily = now.has_daily, num_trades_daily = now.daily,
    has_hourly = now.has_hourly, num_trades_hourly = now.hourly,
    has_raw_closed = now.has_closed, num_trades_raw_closed = now.closed,
    mismatched_days = now.mismatched_days, mismatched_money = now.mismatched_money,
    trades_recon_checksum = now.checksum, issues = {{issues}}
FROM fresh AS now JOIN held USING (account_id)
WHERE r.account_id = now.account_id

-- name: write_few_hours
-- Replace recorded dates with too many trades in one hourly row, of accounts ($1); none clears
-- them.
WITH fresh AS (
    SELECT * FROM jsonb_to_recordset($1) AS f (account_id text, dates date[])
), gone AS (
    DELETE FROM prop_trading_model.recon_few_hours
        WHERE account_id IN (SELECT account_id FROM fresh WHERE dates = '{}')
)
INSERT INTO prop_trading_model.recon_few_hours AS f (account_id, dates)
SELECT account_id, dates FROM fresh WHERE dates <> '{}' ORDER BY account_id
ON CONFLICT (account_id) DO UPDATE SET dates = excluded.dates, noted_at = now()

-- name: get_size
-- Number of known accounts and of their trades.
SELECT count(*) AS accounts,
       least(coalesce(sum(greatest(num_trades_alltime, num_trades_daily, num_trades_hourly,
           num_trades_raw_closed)), 0), 9223372036854775807)::bigint AS trades
FROM prop_trading_model.trade_recon

-- name: get_coverage
-- Number of these accounts with a row, by date.
SELECT date, count(*) AS accounts
FROM {{days}} AS days
WHERE date BETWEEN '1970-01-01' AND '2199-12-31'
GROUP BY date

-- name: get_findings
-- Rows with missing or wrong ids that are under, or fit, these accounts.
SELECT table_name, login, platform, broker, holder, candidates, rows, dates
FROM prop_trading_model.recon_identity_findings
WHERE candidates && $1::text[] OR holder = ANY($1::text[])

-- name: get_drift
-- Findings of a run's audit about accounts.
SELECT account_id, absent, evidence
FROM prop_trading_model.recon_drift
WHERE run_id = $1 AND account_id = ANY($2::text[])

-- name: get_descents
-- Dates with unread finer rows below a drift.
SELECT account_id, array_agg(date) AS dates FROM prop_trading_model.recon_descents
    WHERE account_id = ANY($1::text[]) GROUP BY account_id

-- name: get_doubts
-- Dates that earlier runs lowered on upstream's word and audit $1 reads again, and dates of rows
-- whose partition exists now.
SELECT account_id, array_agg(date) AS dates
FROM (
    SELECT account_id, date FROM prop_trading_model.recon_doubted_dates WHERE read_run = $1
        AND account_id = ANY($2::text[])
    UNION
    SELECT account_id, date FROM ({{placeable}}) AS placeable WHERE account_id = ANY($2::text[])
) AS dates
GROUP BY account_id

-- name: get_placeable_accounts
-- Accounts of set-aside rows whose missing partition exists now.
SELECT DISTINCT account_id FROM ({{placeable}}) AS placeable ORDER BY account_id

-- name: placeable_rows
-- Accounts and dates of set-aside rows whose missing partition exists now, all dates checked at
-- once.
WITH unplaced AS MATERIALIZED (
    SELECT table_name, account_id, date FROM prop_trading_model.recon_set_aside_rows
    WHERE starts_with(reason, 'no partition') AND account_id IS NOT NULL AND date IS NOT NULL
        AND {{accounts}}
), gaps AS MATERIALIZED (
    SELECT d.table_name, g.day
    FROM (SELECT table_name, array_agg(DISTINCT date) AS days FROM unplaced GROUP BY table_name)
        AS d
    CROSS JOIN LATERAL prop_trading_model.recon_partition_gaps(d.table_name, d.days) AS g
)
SELECT u.account_id, u.date FROM unplaced AS u
WHERE NOT EXISTS (SELECT FROM gaps AS g WHERE g.table_name = u.table_name AND g.day = u.date)

-- name: get_odd_rows
-- Rows with impossible dates (infinity, outside years 1 to 9999, none), which no count includes and
-- no request can name: number by table and account, with first rows as date and key. Only
-- partitions that can hold such dates are read.
SELECT account_id, table_name, count(*) AS rows,
    (array_agg(row_key ORDER BY row_key))[1:10] AS samples
FROM (
    SELECT account_id::text, 'raw_metrics_daily' AS table_name,
        concat_ws(' ', coalesce(date::text, 'no date')) AS row_key
    FROM prop_trading_model.raw_metrics_daily
    WHERE (date < '0001-01-01' OR date > '9999-12-31' OR date IS NULL) AND {{accounts}}
    UNION ALL
    SELECT account_id::text, 'raw_metrics_hourly',
        concat_ws(' ', coalesce(date::text, 'no date'), 'hour', hour)
    FROM prop_trading_model.raw_metrics_hourly
    WHERE (date < '0001-01-01' OR date > '9999-12-31' OR date IS NULL) AND {{accounts}}
    UNION ALL
    SELECT account_id::text, 'raw_trades_closed',
        concat_ws(' ', coalesce(trade_date::text, 'no date'), 'position', position, 'ticket',
        ticket)
    FROM prop_trading_model.raw_trades_closed
    WHERE (trade_date < '0001-01-01' OR trade_date > '9999-12-31' OR trade_date IS NULL)
        AND {{accounts}}
    UNION ALL
    SELECT account_id::text, 'raw_trades_open',
        concat_ws(' ', coalesce(trade_date::text, 'no date'), 'position', position, 'ticket',
        ticket)
    FROM prop_trading_model.raw_trades_open
    WHERE (trade_date < '0001-01-01' OR trade_date > '9999-12-31' OR trade_date IS NULL)
        AND {{accounts}}
) AS odd
WHERE account_id IS NOT NULL
GROUP BY account_id, table_name

-- name: get_pins
-- Pinned rows of accounts ($1) by table and date, and dates of upstream's rows in their stead
-- (rows: 0). Includes trades restored under another id or none (elsewhere): their key starts with
-- platform, broker and login, and arrays end with nulls.
SELECT account_id, table_name, date, sum(rows)::bigint AS rows, sum(elsewhere)::bigint AS elsewhere
FROM (
    SELECT p.account_id::text AS account_id, p.table_name, p.date, 1 AS rows,
        (p.table_name LIKE 'raw_trades%' AND c.row_data ->> 'account_id' IS NULL
            AND c.removed_id IS NOT NULL)::integer AS elsewhere
    FROM prop_trading_model.recon_pins AS p
    LEFT JOIN prop_trading_model.recon_removed_rows AS c ON c.removed_id = p.removed_id
    WHERE p.account_id = ANY($1::text[])
    UNION ALL
    SELECT p.account_id::text, p.table_name, doubled.date, 1, 0
    FROM prop_trading_model.recon_pins AS p CROSS
        JOIN LATERAL (SELECT DISTINCT unnest(p.doubled_dates) AS date) AS doubled
    WHERE p.account_id = ANY($1::text[]) AND doubled.date IS DISTINCT FROM p.date
    UNION ALL
    SELECT account_id::text, table_name, upstream_date, 0, 0 FROM prop_trading_model.recon_pins
        WHERE account_id = ANY($1::text[]) AND upstream_date IS NOT NULL
    UNION ALL
    SELECT i.account_id, p.table_name, p.date, 1, 1
    FROM prop_trading_model.recon_identity AS i
    CROSS JOIN LATERAL (
        SELECT DISTINCT unnest(ARRAY[i.broker, nullif(i.broker, '')]) AS broker
    ) AS b
    JOIN prop_trading_model.recon_pins AS p
        ON p.table_name IN ('raw_trades_closed', 'raw_trades_open')
        AND p.row_key >= ARRAY[i.platform, b.broker, i.login]
        AND p.row_key <= ARRAY[i.platform, b.broker, i.login, NULL, NULL]
    WHERE i.account_id = ANY($1::text[]) AND p.account_id IS DISTINCT FROM i.account_id
        AND (p.date BETWEEN i.valid_from AND i.valid_to OR p.date >= i.open_from)
        AND NOT EXISTS (
            SELECT FROM prop_trading_model.recon_identity AS h
            WHERE (h.login, h.platform, h.broker) = (i.login, i.platform, i.broker)
                AND h.account_id = p.account_id
                AND (p.date BETWEEN h.valid_from AND h.valid_to OR p.date >= h.open_from)
        )
) AS places
GROUP BY account_id, table_name, date
