-- name: reject_too_narrow
-- Reject rows excluded by a unique key narrower than upstream's ("position", "login", "platform", "broker", "trade_date"): beside another row of
-- upstream (the stored or else the first one stays), or beside a stored row that upstream does not
-- send here. The conflicting row is returned.
WITH mine AS MATERIALIZED (
    SELECT s.ordinal, s.account_id, s."position", s."login", s."platform", s."broker", s."trade_date", concat_ws('|', s."platform", s."broker", s."login", s."position", s."ticket", s."trade_date") AS key, EXISTS (SELECT FROM "prop_trading_model".raw_trades_closed AS t WHERE t."platform" = s."platform" AND t."broker" = s."broker" AND t."login" = s."login" AND t."position" = s."position" AND t."ticket" = s."ticket" AND t."trade_date" = s."trade_date") AS stored
    FROM "prop_trading_model".recon_stage_closed AS s
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND (s.account_id = ANY($2::text[]) OR s.account_id IS NULL AND (s.login::text, s.platform::text, coalesce(s.broker::text, '')) IN (SELECT login, platform, broker FROM "prop_trading_model".recon_identity WHERE account_id = ANY($2::text[]))) AND s."trade_date" BETWEEN ($3::date[])[1] AND ($3::date[])[2] AND s."position" IS NOT NULL AND s."login" IS NOT NULL AND s."platform" IS NOT NULL AND s."broker" IS NOT NULL AND s."trade_date" IS NOT NULL
), ranked AS MATERIALIZED (
    SELECT *, first_value(key) OVER sharers AS first_key, first_value(account_id) OVER sharers AS first_account, row_number() OVER sharers AS place
    FROM mine
    WINDOW sharers AS (PARTITION BY "position", "login", "platform", "broker", "trade_date" ORDER BY stored DESC, ordinal)
), beside AS (
    SELECT ordinal, first_key AS other_key, first_account::text AS other_account, true AS is_sent FROM ranked WHERE place > 1 AND NOT stored
    UNION ALL
    SELECT r.ordinal, concat_ws('|', t."platform", t."broker", t."login", t."position", t."ticket", t."trade_date"), t.account_id::text, false
    FROM ranked AS r
    JOIN "prop_trading_model".raw_trades_closed AS t ON t."position" = r."position" AND t."login" = r."login" AND t."platform" = r."platform" AND t."broker" = r."broker" AND t."trade_date" = r."trade_date"
    WHERE r.place = 1 AND NOT r.stored
), told AS MATERIALIZED (
    -- Before the update: beside distributed tables it must not call functions that are not
    -- immutable.
    SELECT s.ordinal, b.other_key, b.other_account, to_json(s) AS source,
           CASE WHEN b.is_sent THEN format('%s %s of account %s too, and the unique key %s takes one of them', $5::text, b.other_key, b.holder, $6::text)
                ELSE format('%s: the unique key %s is taken by %s of account %s', $4::text, $6::text, b.other_key, b.holder) END AS reason
    FROM (SELECT DISTINCT ON (ordinal) *, coalesce(other_account, 'unknown') AS holder FROM beside ORDER BY ordinal) AS b
    JOIN "prop_trading_model".recon_stage_closed AS s ON s.fetch_id = $1 AND s.ordinal = b.ordinal
)
UPDATE "prop_trading_model".recon_stage_closed AS s SET refused = m.reason, source = m.source
FROM told AS m
WHERE s.fetch_id = $1 AND s.ordinal = m.ordinal
RETURNING s.ordinal, m.other_key, m.other_account
