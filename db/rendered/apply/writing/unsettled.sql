-- name: withhold_falling_rows
-- Withhold ($5) rows of upstream that would lower a stored count on unsettled dates (from $4 on).
WITH falling AS MATERIALIZED (
    SELECT s.ordinal, s.account_id, t."date" AS day
    FROM "prop_trading_model".recon_stage_daily AS s
    JOIN "prop_trading_model".raw_metrics_daily AS t ON t."account_id" = s."account_id" AND t."date" = s."date"
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND s.account_id = ANY($2::text[]) AND (($3::date[] IS NULL AND s."date" BETWEEN '0001-01-01' AND '9999-12-31') OR s."date" = ANY($3::date[])) AND (get_bit(s.unsent, 24) = 1) IS NOT TRUE
      AND t."date" >= $4::date AND coalesce(s.num_trades, 0) < coalesce(t.num_trades, 0)
), withheld AS (
    UPDATE "prop_trading_model".recon_stage_daily AS s SET refused = $5 FROM (SELECT DISTINCT ordinal FROM falling) AS f WHERE s.fetch_id = $1 AND s.ordinal = f.ordinal
)
SELECT account_id, array_agg(DISTINCT day) AS days FROM falling GROUP BY account_id

-- name: get_falling_alltime
-- Rows of upstream's alltime that would lower the stored count.
SELECT s.ordinal, s.account_id, coalesce(s.num_trades, 0)::bigint AS trades
FROM "prop_trading_model".recon_stage_daily AS s
JOIN "prop_trading_model".raw_metrics_daily AS t ON t."account_id" = s."account_id" AND t."date" = s."date"
WHERE s.fetch_id = $1 AND s.refused IS NULL AND s.account_id = ANY($2::text[]) AND (($3::date[] IS NULL AND s."date" BETWEEN '0001-01-01' AND '9999-12-31') OR s."date" = ANY($3::date[])) AND (get_bit(s.unsent, 24) = 1) IS NOT TRUE AND coalesce(s.num_trades, 0) < coalesce(t.num_trades, 0)

-- name: get_stored_levels
-- Counts of accounts ($1) below alltime: by daily; and on unsettled dates ($2 to $3) the highest of
-- all levels, daily, and the highest below daily.
SELECT account_id, sum(daily)::bigint AS daily, coalesce(sum(greatest(daily, hourly, closed)) FILTER (WHERE day BETWEEN $2::date AND $3::date), 0)::bigint AS moving,
       coalesce(sum(daily) FILTER (WHERE day BETWEEN $2::date AND $3::date), 0)::bigint AS moving_daily,
       coalesce(sum(greatest(hourly, closed)) FILTER (WHERE day BETWEEN $2::date AND $3::date), 0)::bigint AS moving_finer
FROM (
    SELECT account_id, day, sum(daily) AS daily, sum(hourly) AS hourly, sum(closed) AS closed
    FROM (
        SELECT account_id::text AS account_id, date AS day, "prop_trading_model".recon_count(num_trades)::bigint AS daily, 0::bigint AS hourly, 0::bigint AS closed
        FROM "prop_trading_model".raw_metrics_daily WHERE account_id = ANY($1::text[]) AND date BETWEEN '0001-01-01' AND '9999-12-31'
        UNION ALL
        SELECT account_id::text, date, 0, "prop_trading_model".recon_count(num_trades)::bigint, 0 FROM "prop_trading_model".raw_metrics_hourly WHERE account_id = ANY($1::text[]) AND date BETWEEN $2::date AND $3::date
        UNION ALL
        SELECT account_id::text, trade_date, 0, 0, 1 FROM "prop_trading_model".raw_trades_closed WHERE account_id = ANY($1::text[]) AND trade_date BETWEEN $2::date AND $3::date
    ) AS rows
    GROUP BY account_id, day
) AS days
GROUP BY account_id
