-- name: days_with_money
-- The day matrix of days_of_accounts with amounts of each table. Sums of a date are exact until
-- complete, then floating-point, which is cheaper to store and sum.
(
    SELECT
        account_id, date, coalesce(sum(daily), 0)::bigint AS daily,
        coalesce(max(hourly), 0) AS hourly, coalesce(max(closed), 0) AS closed,
        coalesce(sum(daily_rows), 0) AS daily_rows, coalesce(max(hourly_rows), 0) AS hourly_rows,
        coalesce(max(closed), 0) AS closed_rows,
        coalesce(sum(daily_profit), 0) AS daily_profit, coalesce(sum(daily_lots), 0) AS daily_lots,
        coalesce(max(hourly_profit), 0) AS hourly_profit,
        coalesce(max(hourly_lots), 0) AS hourly_lots,
        coalesce(max(closed_profit), 0) AS closed_profit,
        coalesce(max(closed_lots), 0) AS closed_lots
    FROM (
        SELECT account_id, date, prop_trading_model.recon_count(num_trades) AS daily,
            NULL::bigint AS hourly, NULL::bigint AS closed, 1 AS daily_rows,
               NULL::bigint AS hourly_rows, ({{daily_profit}})::double precision AS daily_profit,
               ({{daily_lots}})::double precision AS daily_lots,
               NULL::double precision AS hourly_profit, NULL::double precision AS hourly_lots,
               NULL::double precision AS closed_profit,
               NULL::double precision AS closed_lots
        FROM prop_trading_model.raw_metrics_daily
        WHERE {{accounts}} AND date BETWEEN {{first_day}} AND '9999-12-31'
        UNION ALL
        SELECT account_id, date, NULL,
            coalesce(sum(prop_trading_model.recon_count(num_trades)), 0)::bigint, NULL, NULL,
            count(*), NULL, NULL,
               sum({{hourly_profit}})::double precision, sum({{hourly_lots}})::double precision,
               NULL, NULL
        FROM prop_trading_model.raw_metrics_hourly
        WHERE {{accounts}} AND date BETWEEN {{first_day}} AND '9999-12-31'
        GROUP BY account_id, date
        UNION ALL
        SELECT account_id, trade_date, NULL, NULL, count(*), NULL, NULL, NULL, NULL, NULL, NULL,
            sum({{closed_profit}})::double precision,
               sum({{closed_lots}})::double precision
        FROM prop_trading_model.raw_trades_closed
        WHERE account_id IS NOT NULL AND {{accounts}}
            AND trade_date BETWEEN {{first_day}} AND '9999-12-31'
        GROUP BY account_id, trade_date
    ) AS sides
    GROUP BY account_id, date
)

-- name: money_sums
-- Per account: amounts, marks and rows of each table, and dates on which they differ.
, sum(days.hourly_rows)::bigint AS hourly_rows, sum(days.daily_rows)::bigint AS daily_rows,
        sum(daily_profit) AS daily_profit, sum(daily_lots) AS daily_lots,
        sum(hourly_profit) AS hourly_profit, sum(hourly_lots) AS hourly_lots,
        sum(closed_profit) AS closed_profit, sum(closed_lots) AS closed_lots,
        sum((daily_profit + daily_lots) * {{weight}}) / 1024 AS daily_money_mark,
        sum((hourly_profit + hourly_lots) * {{weight}}) / 1024 AS hourly_money_mark,
        array_agg(ARRAY[date - date '0001-01-01' + 1, {{amounts}}, days.daily_rows,
            days.hourly_rows, days.closed_rows]::double precision[])
            FILTER (WHERE {{breaks}}) AS money_days

-- name: money_join
-- Amounts of an account side by side, like a sweep's row.
CROSS JOIN LATERAL (
    SELECT a.account_id IS NOT NULL AS has_alltime, coalesce(m.has_daily, false) AS has_daily,
        coalesce(m.has_hourly, false) AS has_hourly,
           coalesce(m.closed > 0, false) AS has_closed, coalesce(a.alltime_rows, 0) AS alltime_rows,
           coalesce(m.daily_rows, 0) AS daily_rows,
           coalesce(m.hourly_rows, 0) AS hourly_rows, coalesce(m.closed, 0) AS closed_rows,
           a.profit{{less_profit}} AS alltime_profit, a.lots{{less_lots}} AS alltime_lots,
           {{totals}}
) AS s

-- name: learn_relations
-- Number of accounts by relation held, among accounts with equal counts in both tables; others have
-- wrong rows.
SELECT r.relation, r.accounts, r.holding
FROM (
    SELECT {{counts}}
    FROM recon_swept_accounts AS s
    WHERE s.is_known
) AS counted
CROSS JOIN LATERAL (VALUES {{relations}}) AS r (relation, accounts, holding)

-- name: keep_relations
-- Replace what is known of relations ($1 names, $2 accounts, $3 holding, $4 used, $5 reasons).
WITH gone AS (
    DELETE FROM prop_trading_model.recon_money_relations WHERE relation <> ALL($1::text[])
)
INSERT INTO prop_trading_model.recon_money_relations
    AS r (relation, accounts, holding, is_used, reason)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::boolean[], $5::text[])
ON CONFLICT (relation) DO UPDATE
SET accounts = excluded.accounts, holding = excluded.holding, is_used = excluded.is_used,
    reason = excluded.reason, learned_at = now()
-- Unchanged rows stay, or each sweep would change the report.
WHERE (r.accounts, r.holding, r.is_used, r.reason) IS DISTINCT
    FROM (excluded.accounts, excluded.holding, excluded.is_used, excluded.reason)

-- name: create_swept_suspects
-- Accounts with equal counts and different amounts: in total, or by marks on some date.
CREATE TEMP TABLE recon_swept_suspects ON COMMIT DROP AS
SELECT s.account_id, {{totals}} AS by_totals, {{dates}} AS by_date
FROM recon_swept_accounts AS s
WHERE s.is_known AND NOT s.differs AND s.alltime = s.daily AND s.daily = s.hourly
    AND s.hourly = s.closed AND ({{totals}} OR {{dates}})

-- name: count_suspects
-- Number of accounts that may have dates with different amounts.
SELECT count(*) FILTER (WHERE by_date) AS dated,
    (SELECT count(*) FROM recon_swept_accounts) AS accounts FROM recon_swept_suspects

-- name: create_swept_money
-- Number of dates with different amounts, by account; 1 if only totals differ.
CREATE TEMP TABLE recon_swept_money ON COMMIT DROP AS
SELECT s.account_id, greatest(coalesce(d.dates, 0), s.by_totals::integer) AS mismatched_money
FROM recon_swept_suspects AS s
LEFT JOIN (
    SELECT account_id::text AS account_id, count(*) AS dates FROM {{days}} AS days WHERE {{breaks}}
        GROUP BY account_id
) AS d ON d.account_id = s.account_id AND s.by_date
WHERE s.by_totals OR d.dates > 0

-- name: get_relations
-- Relations as the last sweep learned them.
SELECT relation, accounts, holding, is_used, reason, learned_at
    FROM prop_trading_model.recon_money_relations ORDER BY relation
