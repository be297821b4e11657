-- name: match_rows
-- Match rows of a fetch with stored rows, by account of the stored ones: number met in place,
-- number met under another date, ordinals that differ, and number unmatched (not for distributed
-- tables; see count_writable).
SELECT account_id, count(*) FILTER (WHERE NOT is_met) AS missing, count(*) FILTER (WHERE is_in_place) AS met,
       count(*) FILTER (WHERE is_met AND NOT is_in_place) AS elsewhere, array_agg(ordinal) FILTER (WHERE differs) AS differing
FROM (
    SELECT t.account_id::text AS account_id, s.ordinal, t."platform" IS NOT NULL AS is_met, t."trade_date" = s."trade_date" AS is_in_place,
           t."trade_date" = s."trade_date" AND (t."manager", t."std_symbol", t."side", t."lots", t."contract_size", t."qty_in_base_ccy", t."volume_usd", t."stop_loss", t."take_profit", t."open_time", t."open_price", t."close_time", t."close_price", t."duration", t."profit", t."commission", t."fee", t."swap", t."comment", t.account_id) IS DISTINCT FROM (s."manager", s."std_symbol", s."side", s."lots", s."contract_size", s."qty_in_base_ccy", s."volume_usd", s."stop_loss", s."take_profit", s."open_time", s."open_price", s."close_time", s."close_price", s."duration", s."profit", s."commission", s."fee", s."swap", s."comment", coalesce(s.account_id, t.account_id)) AS differs
    FROM "prop_trading_model".recon_stage_closed AS s
    LEFT JOIN "prop_trading_model".raw_trades_closed AS t ON t."platform" = s."platform" AND t."broker" = s."broker" AND t."login" = s."login" AND t."position" = s."position" AND t."ticket" = s."ticket" AND t."platform" = ANY($4::text[]::integer[]) AND t."broker" = ANY($5::text[]::integer[]) AND t."login" = ANY($6::text[]::character varying(255)[])
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND (s.account_id = ANY($2::text[]) OR s.account_id IS NULL AND (s.login::text, s.platform::text, coalesce(s.broker::text, '')) IN (SELECT login, platform, broker FROM "prop_trading_model".recon_identity WHERE account_id = ANY($2::text[]))) AND s."trade_date" BETWEEN ($3::date[])[1] AND ($3::date[])[2]
    OFFSET 0 -- compared before they are grouped: else all columns are sorted first
) AS met
GROUP BY account_id

-- name: get_natural_keys
-- Natural keys of staged trades.
SELECT platform::text AS platform, broker::text AS broker, login::text AS login
FROM (SELECT DISTINCT s.platform, s.broker, s.login FROM "prop_trading_model".recon_stage_closed AS s WHERE s.fetch_id = $1 AND s.refused IS NULL AND (s.account_id = ANY($2::text[]) OR s.account_id IS NULL AND (s.login::text, s.platform::text, coalesce(s.broker::text, '')) IN (SELECT login, platform, broker FROM "prop_trading_model".recon_identity WHERE account_id = ANY($2::text[]))) AND s."trade_date" BETWEEN ($3::date[])[1] AND ($3::date[])[2]) AS keys

-- name: count_writable
-- Number of writable rows.
SELECT count(*) FROM "prop_trading_model".recon_stage_closed AS s WHERE s.fetch_id = $1 AND s.refused IS NULL AND (s.account_id = ANY($2::text[]) OR s.account_id IS NULL AND (s.login::text, s.platform::text, coalesce(s.broker::text, '')) IN (SELECT login, platform, broker FROM "prop_trading_model".recon_identity WHERE account_id = ANY($2::text[]))) AND s."trade_date" BETWEEN ($3::date[])[1] AND ($3::date[])[2]
