-- name: get_stored_keys
-- Natural keys of stored rows of accounts ($1), with the first date of each.
SELECT account_id, login, platform, broker, min(day) AS first_day
FROM (
    SELECT account_id::text, login::text, platform::text, coalesce(broker::text, '') AS broker, NULL::date AS day
    FROM "prop_trading_model".raw_metrics_alltime
    WHERE account_id = ANY($1::text[])
    UNION ALL
    SELECT account_id::text, login::text, platform::text, coalesce(broker::text, ''), min(date)
    FROM "prop_trading_model".raw_metrics_daily
    WHERE account_id = ANY($1::text[]) AND date BETWEEN '0001-01-01' AND '9999-12-31'
    GROUP BY 1, 2, 3, 4
    UNION ALL
    SELECT account_id::text, login::text, platform::text, coalesce(broker::text, ''), min(date)
    FROM "prop_trading_model".raw_metrics_hourly
    WHERE account_id = ANY($1::text[]) AND date BETWEEN '0001-01-01' AND '9999-12-31'
    GROUP BY 1, 2, 3, 4
    UNION ALL
    SELECT account_id::text, login::text, platform::text, coalesce(broker::text, ''), min(trade_date)
    FROM "prop_trading_model".raw_trades_closed
    WHERE account_id = ANY($1::text[]) AND trade_date BETWEEN '0001-01-01' AND '9999-12-31'
    GROUP BY 1, 2, 3, 4
) AS stored
WHERE login IS NOT NULL AND platform IS NOT NULL
GROUP BY account_id, login, platform, broker
