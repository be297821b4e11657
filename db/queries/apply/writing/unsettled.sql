-- name: withhold_falling_rows
-- Withhold ($5) rows of upstream that would lower a stored count on unsettled dates (from $4 on).
WITH falling AS MATERIALIZED (
    SELECT s.ordinal, s.account_id, {{day_of_t}} AS day
    FROM {{stage}} AS s
    JOIN {{raw}} AS t ON {{same_key}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND {{count_is_sent}}
      AND {{day_of_t}} >= $4::date AND coalesce(s.num_trades, 0) < coalesce(t.num_trades, 0)
), withheld AS (
    UPDATE {{stage}} AS s SET refused = $5 FROM (SELECT DISTINCT ordinal FROM falling) AS f WHERE s.fetch_id = $1 AND s.ordinal = f.ordinal
)
SELECT account_id, array_agg(DISTINCT day) AS days FROM falling GROUP BY account_id

-- name: get_falling_alltime
-- Rows of upstream's alltime that would lower the stored count.
SELECT s.ordinal, s.account_id, coalesce(s.num_trades, 0)::bigint{{less_history_of_s}} AS trades
FROM {{stage}} AS s
JOIN {{raw}} AS t ON {{same_key}}
WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND {{count_is_sent}} AND coalesce(s.num_trades, 0) < coalesce(t.num_trades, 0)

-- name: get_stored_levels
-- Counts of accounts ($1) below alltime: by daily; and on unsettled dates ($2 to $3) the highest of
-- all levels, daily, and the highest below daily.
SELECT account_id, sum(daily)::bigint AS daily, coalesce(sum(greatest(daily, hourly, closed)) FILTER (WHERE day BETWEEN $2::date AND $3::date), 0)::bigint AS moving,
       coalesce(sum(daily) FILTER (WHERE day BETWEEN $2::date AND $3::date), 0)::bigint AS moving_daily,
       coalesce(sum(greatest(hourly, closed)) FILTER (WHERE day BETWEEN $2::date AND $3::date), 0)::bigint AS moving_finer
FROM (
    SELECT account_id, day, sum(daily) AS daily, sum(hourly) AS hourly, sum(closed) AS closed
    FROM (
        SELECT account_id::text AS account_id, date AS day, prop_trading_model.recon_count(num_trades)::bigint AS daily, 0::bigint AS hourly, 0::bigint AS closed
        FROM {{daily}} WHERE account_id = ANY($1::text[]) AND date BETWEEN {{first_day}} AND '9999-12-31'
        UNION ALL
        SELECT account_id::text, date, 0, prop_trading_model.recon_count(num_trades)::bigint, 0 FROM {{hourly}} WHERE account_id = ANY($1::text[]) AND date BETWEEN $2::date AND $3::date
        UNION ALL
        SELECT account_id::text, trade_date, 0, 0, 1 FROM {{closed}} WHERE account_id = ANY($1::text[]) AND trade_date BETWEEN $2::date AND $3::date
    ) AS rows
    GROUP BY account_id, day
) AS days
GROUP BY account_id
