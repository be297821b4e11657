-- name: get_open_days
-- The first of the last seven days, and the first of them that may not be over: earlier ones need
-- not be counted again. A confirmed run takes back what it recorded, on any day.
SELECT
    now() AS read_at,
    today - 7 AS first_day,
    CASE
        WHEN figures IS NULL
            OR EXISTS (SELECT FROM "prop_trading_model".recon_runs AS r
            WHERE r.confirmed_at > kept.computed_at - interval '1 hour') THEN today - 7
        -- An hour: whoever recorded before midnight has committed by then.
        ELSE greatest(today - 7,
            (least(computed_at, now()) AT TIME ZONE 'UTC' - interval '1 hour')::date)
    END AS open_from
FROM "prop_trading_model".recon_report AS kept,
    (SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS clock
WHERE only_row

-- name: count_accounts_by_state
-- The overall figures as v_reconciliation_progress has them, the accounts by status, and how many
-- disagree without an issue that says where, and some: in one pass over the accounts. Where the
-- date on which an acceptance ends has come ($1), the account is no longer explained by that: it
-- waits for the next run, or is held as before.
WITH lapsed AS MATERIALIZED (
    SELECT account_id, bool_or(was_held) AS was_held
    FROM "prop_trading_model".recon_accepted_issues WHERE ended_at IS NULL AND until <= $1::date
    GROUP BY account_id
), states AS MATERIALIZED (
    SELECT
        CASE
            WHEN l.account_id IS NULL
                OR t.reconciliation_status <> 'explained' THEN t.reconciliation_status
            WHEN l.was_held THEN 'needs_confirmation'
            WHEN coalesce(t.explained_as, '') = '' THEN 'needs_reconciliation'
            ELSE t.reconciliation_status
        END AS status,
        count(*) AS accounts,
        count(*) FILTER
            (WHERE trades_recon_checksum AND mismatched_days = 0 AND mismatched_money = 0
            AND issues = '[]') AS reconciled,
        count(*) FILTER
            (WHERE NOT trades_recon_checksum OR mismatched_days > 0 OR mismatched_money > 0
            OR issues <> '[]') AS needs_reconciliation,
        count(*) FILTER (WHERE failed_attempts > 0) AS has_failures,
        count(*) FILTER (WHERE issues <> '[]') AS has_issues,
        count(*) FILTER
            (WHERE (NOT trades_recon_checksum OR mismatched_days > 0 OR mismatched_money > 0)
            AND issues = '[]') AS undated,
        min(t.account_id::text)
            FILTER (WHERE (NOT trades_recon_checksum OR mismatched_days > 0 OR mismatched_money > 0)
            AND issues = '[]') AS undated_account,
        max(greatest(last_checked, last_reconciled)) AS last_activity,
        count(*) FILTER (
            WHERE num_trades_alltime <> 0 OR num_trades_daily <> 0 OR num_trades_hourly <> 0
                OR num_trades_raw_closed <> 0
        ) AS with_trades,
        min(last_checked)
            FILTER (WHERE NOT trades_recon_checksum OR mismatched_days > 0 OR mismatched_money > 0
            OR issues <> '[]') AS oldest_unreconciled
    FROM "prop_trading_model".trade_recon AS t
    LEFT JOIN lapsed AS l ON l.account_id = t.account_id
    GROUP BY 1
)
SELECT
    coalesce(sum(accounts), 0)::bigint AS total_accounts,
    coalesce(sum(reconciled), 0)::bigint AS reconciled,
    coalesce(sum(needs_reconciliation), 0)::bigint AS needs_reconciliation,
    coalesce(sum(has_failures), 0)::bigint AS has_failures,
    coalesce(sum(has_issues), 0)::bigint AS has_issues,
    coalesce(round(100.0 * sum(reconciled) / nullif(sum(accounts), 0), 2), 0)::double precision
        AS reconciliation_percentage,
    max(last_activity) AS last_activity,
    min(oldest_unreconciled) AS oldest_unreconciled,
    coalesce(sum(undated), 0)::bigint AS undated,
    coalesce(array_agg(undated_account ORDER BY undated_account)
        FILTER (WHERE undated_account IS NOT NULL), '{}') AS undated_accounts,
    coalesce(sum(with_trades), 0)::bigint AS with_trades,
    coalesce(jsonb_object_agg(status, accounts) FILTER (WHERE status IS NOT NULL), '{}') AS statuses
FROM states

-- name: count_issues
-- Open issues by type and severity as get_issue_statistics() has them: in one pass. Of those that
-- are not accepted on a date ($1): the first date that one names, at how many accounts they are,
-- and how many name none. Behind them (`account_id`) the first $3 of the accounts, each with their
-- number, of which such an issue holds dates before $2 back, or, of the codes $4 and of held
-- accounts, tells no date. An issue for information holds none back, but an unsettled one the dates
-- before $2.
WITH read AS MATERIALIZED (
    SELECT
        t.account_id::text AS account_id,
        (t.reconciliation_status = 'needs_confirmation' OR t.reconciliation_status = 'explained'
            AND EXISTS (
            SELECT FROM "prop_trading_model".recon_accepted_issues AS h
            WHERE h.account_id = t.account_id AND h.ended_at IS NULL AND h.was_held
                AND h.until <= $1::date
        )) AS is_held,
        EXISTS (
            SELECT FROM "prop_trading_model".recon_accepted_issues AS x
            WHERE x.account_id = t.account_id AND x.type = issue ->> 'type' AND x.ended_at IS NULL
                AND x.until > $1::date
        ) AS is_accepted,
        -- An entry that nobody of today wrote is counted all the same, as one of the least
        -- severity.
        CASE jsonb_typeof(issue -> 'type') WHEN 'string' THEN issue ->> 'type'
            ELSE 'unknown' END AS type,
        CASE WHEN issue ->> 'severity' ~ '^[1-5]$' THEN (issue ->> 'severity')::integer
            ELSE 5 END AS severity,
        -- Entries of an earlier system may hold anything. As text, in which dates sort: to read
        -- each of them would take most of the time.
        (
            SELECT min(day COLLATE "C")
            FROM jsonb_array_elements_text(CASE
                WHEN jsonb_typeof(issue -> 'missing_dates') = 'array' THEN issue -> 'missing_dates'
                WHEN jsonb_typeof(issue -> 'dates') = 'array' THEN issue -> 'dates'
                ELSE '[]'
            END) AS dates (day)
            WHERE day LIKE '____-__-__%' AND day COLLATE "C" BETWEEN '0001-01-01' AND '9999-12-31'
        ) AS first_day
    FROM "prop_trading_model".trade_recon AS t,
        jsonb_array_elements(CASE jsonb_typeof(t.issues) WHEN 'array' THEN t.issues ELSE '[]' END)
        AS issue
    WHERE t.issues <> '[]'
), entries AS MATERIALIZED (
    SELECT *, NOT is_accepted
        AND (severity <> 5 OR type = 'unsettled'
        AND coalesce(first_day < $2::date::text COLLATE "C", false)) AS counts FROM read
), worst AS (
    SELECT DISTINCT ON (account_id) account_id, type, severity, first_day
    FROM entries
    WHERE counts
      AND (first_day < $2::date::text COLLATE "C" OR first_day IS NULL
          AND (is_held OR type = ANY($4::text[])))
    ORDER BY account_id, first_day NULLS FIRST, severity, type
), types AS (
    SELECT
        type AS issue_type, severity, count(DISTINCT account_id) AS account_count,
        (array_agg(DISTINCT account_id))[1:5] AS sample_accounts,
        "prop_trading_model".recon_date(min(first_day) FILTER (WHERE counts)) AS first_date,
        count(DISTINCT account_id) FILTER (WHERE counts) AS counting,
        count(*) FILTER (WHERE first_day IS NULL AND counts) AS dateless,
        min(first_day) FILTER (WHERE counts) IS NOT NULL
            AND "prop_trading_model".recon_date(min(first_day) FILTER (WHERE counts)) IS NULL
                AS is_unreadable
    FROM entries
    GROUP BY 1, 2
), holding AS (
    SELECT type, severity, count(*) OVER () AS accounts,
        "prop_trading_model".recon_date(first_day) AS first_date, account_id
    FROM worst ORDER BY first_day NULLS FIRST, account_id LIMIT $3
)
SELECT *, NULL AS account_id FROM types
UNION ALL
SELECT type, severity, accounts, NULL, first_date, NULL, NULL, NULL, account_id FROM holding
ORDER BY account_id NULLS FIRST, severity, account_count DESC, issue_type

-- name: count_few_hours
-- Number of accounts with dates of many trades in one hourly row, and five of them.
SELECT count(*) AS account_count,
    (array_agg(account_id::text ORDER BY account_id))[1:5] AS sample_accounts
    FROM "prop_trading_model".recon_few_hours

-- name: get_doubts
-- What leaves dates in doubt beside the open issues of accounts: rows that fit no account or
-- several, keys of several accounts of which one disagrees, rows of upstream that the tables do not
-- hold, and held accounts whose issues name no date. How many, from which date on, and how many of
-- them tell none; one without a date, such as of alltime, puts all dates of its account in doubt.
-- What belongs to an account of which all that is open is accepted on a date ($1) leaves none.
WITH accepted AS MATERIALIZED (
    SELECT account_id, type FROM "prop_trading_model".recon_accepted_issues WHERE ended_at IS NULL
        AND until > $1::date
), resting AS MATERIALIZED (
    SELECT t.account_id
    FROM "prop_trading_model".trade_recon AS t
    WHERE t.account_id IN (SELECT account_id FROM accepted)
      AND NOT EXISTS (
          SELECT FROM jsonb_array_elements(CASE jsonb_typeof(t.issues) WHEN 'array' THEN t.issues
              ELSE '[]' END) AS issue
          WHERE NOT EXISTS
              (SELECT FROM accepted AS x WHERE x.account_id = t.account_id
              AND x.type = issue ->> 'type')
      )
)
SELECT 'unmatched' AS kind, coalesce(sum(rows), 0)::bigint AS rows, min(first_day) AS first_date,
    count(*) FILTER (WHERE first_day IS NULL) AS dateless
FROM (
    SELECT rows, (SELECT min(day) FROM unnest(dates) AS days (day) WHERE isfinite(day)) AS first_day
    FROM "prop_trading_model".recon_identity_findings
    WHERE cardinality(candidates) <> 1 AND rows > 0
      AND NOT (cardinality(candidates) > 1
          AND NOT EXISTS (SELECT unnest(candidates) EXCEPT SELECT account_id FROM resting))
) AS findings
UNION ALL
SELECT 'set_aside', count(*), min(first_day), count(*) FILTER (WHERE first_day IS NULL)
FROM (
    SELECT coalesce(
        "prop_trading_model".recon_date(coalesce(s.row_data ->> 'date', s.row_data ->> 'trade_date',
            s.row_data ->> 'tradeDate')),
        (SELECT min(least(i.daily_from, i.first_trade)) FROM "prop_trading_model".recon_identity AS i
            WHERE i.account_id = s.account_id)
    ) AS first_day
    FROM "prop_trading_model".recon_set_aside_rows AS s
    -- A row that is stored but for a value that no column can hold is held.
    WHERE NOT starts_with(s.reason, 'stored with')
        AND NOT EXISTS (SELECT FROM resting AS r WHERE r.account_id = s.account_id)
) AS refused
UNION ALL
-- The trades of a key that two accounts hold at the same time may all be under one of them, as
-- after a change of its id.
SELECT 'shared', count(*), min(first_day), count(*) FILTER (WHERE first_day IS NULL)
FROM (
    SELECT min(least(i.daily_from, i.first_trade)) AS first_day
    FROM "prop_trading_model".recon_identity_findings AS f
    CROSS JOIN LATERAL unnest(f.candidates) AS c (account_id)
    JOIN "prop_trading_model".trade_recon AS t ON t.account_id = c.account_id
        AND (NOT t.trades_recon_checksum OR t.mismatched_days > 0)
    LEFT JOIN "prop_trading_model".recon_identity AS i
      ON (i.login, i.platform, i.broker, i.account_id)
          = (f.login, f.platform, f.broker, c.account_id)
    WHERE f.holder IS NULL AND cardinality(f.candidates) > 1 AND f.rows = 0
      AND NOT EXISTS (SELECT FROM resting AS r WHERE r.account_id = t.account_id)
    GROUP BY f.login, f.platform, f.broker
) AS shared
UNION ALL
SELECT 'held', count(*), min(first_day), count(*) FILTER (WHERE first_day IS NULL)
FROM (
    SELECT (
        SELECT min(least(CASE WHEN isfinite(i.daily_from) THEN i.daily_from END, CASE
            WHEN isfinite(i.first_trade) THEN i.first_trade END))
        FROM "prop_trading_model".recon_identity AS i WHERE i.account_id = t.account_id
    ) AS first_day
    FROM "prop_trading_model".trade_recon AS t
    WHERE (t.reconciliation_status = 'needs_confirmation' OR t.reconciliation_status = 'explained'
        AND EXISTS (
        SELECT FROM "prop_trading_model".recon_accepted_issues AS h
        WHERE h.account_id = t.account_id AND h.ended_at IS NULL AND h.was_held
            AND h.until <= $1::date
    )) AND NOT EXISTS (SELECT FROM resting AS r WHERE r.account_id = t.account_id)
      AND NOT t.issues @? '$[*].missing_dates[*]' AND NOT t.issues @? '$[*].dates[*]'
) AS held

-- name: get_open_trades
-- Findings on open trades of the newest audit that ended or is under way.
SELECT run_id, coalesce(finished_at, prepared_at) AS compared_at, open_trades
    FROM "prop_trading_model".recon_runs
WHERE open_trades IS NOT NULL
-- By when it asked: one that was held may end long after a later one.
ORDER BY started_at DESC LIMIT 1

-- name: get_activity
-- Checks of accounts that ended on each day (UTC) from $1 on, each account once for each run that
-- took it: those resolved, and those failed.
SELECT
    (finished_at AT TIME ZONE 'UTC')::date AS day,
    count(*) AS accounts_checked,
    count(*) FILTER (WHERE outcome IN ('unchanged', 'healed', 'explained')) AS resolved,
    count(*) FILTER (WHERE outcome = 'failed') AS failed
FROM "prop_trading_model".recon_attempts AS a
WHERE finished_at >= $1::date::timestamp AT TIME ZONE 'UTC' AND outcome IS NOT NULL
  -- What inspections looked at was not reconciled.
  AND NOT EXISTS
      (SELECT FROM "prop_trading_model".recon_runs AS r WHERE r.run_id = a.run_id
      AND r.kind = 'inspect')
GROUP BY 1
ORDER BY 1

-- name: get_money_relations
-- Relations between amounts, as the last run over all accounts learned them.
SELECT relation, accounts, holding, is_used, reason, learned_at
    FROM "prop_trading_model".recon_money_relations ORDER BY relation

-- name: count_accepted
-- Number of accounts with issues accepted on a date ($1), in all and by code, number of issues, and
-- when the first and the last acceptance end.
WITH accepted AS (
    SELECT account_id, type, until FROM "prop_trading_model".recon_accepted_issues
        WHERE ended_at IS NULL AND until > $1::date
)
SELECT count(DISTINCT account_id) AS accounts, count(*) AS issues, min(until) AS first_until,
    max(until) AS last_until,
       coalesce((SELECT jsonb_object_agg(type, accounts)
           FROM (SELECT type, count(*) AS accounts FROM accepted GROUP BY type) AS codes), '{}')
           AS by_issue
FROM accepted
