-- name: count_rows
-- Number of rows of accounts in all raw tables.
SELECT account_id, sum(rows)::bigint AS rows
FROM (
    SELECT account_id::text, count(*) AS rows FROM {{alltime}} WHERE account_id = ANY($1::text[]) GROUP BY account_id
    UNION ALL SELECT account_id::text, count(*) FROM {{daily}} WHERE account_id = ANY($1::text[]){{since_date}} GROUP BY account_id
    UNION ALL SELECT account_id::text, count(*) FROM {{hourly}} WHERE account_id = ANY($1::text[]){{since_date}} GROUP BY account_id
    UNION ALL SELECT account_id::text, count(*) FROM {{closed}} WHERE account_id = ANY($1::text[]){{since_trade_date}} GROUP BY account_id
    UNION ALL SELECT account_id::text, count(*) FROM {{open}} WHERE account_id = ANY($1::text[]) GROUP BY account_id
) AS counted
GROUP BY account_id

-- name: count_trades
-- Number of trades that {{raw}} counts for accounts.
SELECT w.account_id, coalesce(c.trades, 0){{less_history_of_w}} AS trades
FROM unnest($1::text[]) AS w (account_id)
LEFT JOIN (
    SELECT account_id::text, sum({{row_trades}})::bigint AS trades FROM {{raw}} AS t WHERE account_id = ANY($1::text[]){{since}} GROUP BY account_id
) AS c ON c.account_id = w.account_id

-- name: count_sent
-- Rows and trades that a fetch ($1) sent for accounts ($2); trades are null if any count is
-- invalid.
SELECT w.account_id, w.rows, w.trades{{less_history_of_w}} AS trades
FROM (
    SELECT account_id, count(*) AS rows, {{sent_trades}} AS trades FROM {{stage}} WHERE fetch_id = $1 AND account_id = ANY($2::text[]) GROUP BY account_id
) AS w
