-- name: get_writable
-- Ordinals of writable rows, to search for a rejected one.
SELECT s.ordinal
FROM "prop_trading_model".recon_stage_daily AS s
WHERE s.fetch_id = $1 AND s.refused IS NULL AND s.account_id = ANY($2::text[]) AND (($3::date[] IS NULL AND s."date" BETWEEN '0001-01-01' AND '9999-12-31') OR s."date" = ANY($3::date[]))
ORDER BY s.ordinal
