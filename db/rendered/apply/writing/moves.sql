-- name: withhold_moves
-- Withhold ($5) trades that upstream has under another date while their stored date is unsettled
-- (from $4 on). Impossible dates do not count as unsettled: their trades move.
WITH known AS MATERIALIZED (
    SELECT s.ordinal, coalesce(s.account_id, t.account_id) AS account_id, s."trade_date" AS new_date, t."trade_date" AS old_date
    FROM "prop_trading_model".recon_stage_closed AS s
    JOIN "prop_trading_model".raw_trades_closed AS t ON t."platform" = s."platform" AND t."broker" = s."broker" AND t."login" = s."login" AND t."position" = s."position" AND t."ticket" = s."ticket" AND t."trade_date" <> s."trade_date"
    LEFT JOIN (SELECT * FROM "prop_trading_model".recon_stage_closed WHERE fetch_id = $1) AS also ON also."platform" = t."platform" AND also."broker" = t."broker" AND also."login" = t."login" AND also."position" = t."position" AND also."ticket" = t."ticket" AND also."trade_date" = t."trade_date"
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND (s.account_id = ANY($2::text[]) OR s.account_id IS NULL AND (s.login::text, s.platform::text, coalesce(s.broker::text, '')) IN (SELECT login, platform, broker FROM "prop_trading_model".recon_identity WHERE account_id = ANY($2::text[]))) AND s."trade_date" BETWEEN ($3::date[])[1] AND ($3::date[])[2] AND also."platform" IS NULL
      AND t."trade_date" BETWEEN $4::date AND date '9999-12-31'
), withheld AS (
    UPDATE "prop_trading_model".recon_stage_closed AS s SET refused = $5 FROM (SELECT DISTINCT ordinal FROM known) AS k WHERE s.fetch_id = $1 AND s.ordinal = k.ordinal
)
SELECT account_id, array_agg(DISTINCT old_date) || array_agg(DISTINCT new_date) AS days FROM known GROUP BY account_id

-- name: get_written_elsewhere
-- Staged trades stored under another date by a later writer than the fetch ($4), who has newer
-- data.
SELECT s.account_id, array_agg(DISTINCT s.ordinal) AS ordinals
FROM "prop_trading_model".recon_stage_closed AS s
JOIN "prop_trading_model".raw_trades_closed AS t ON t."platform" = s."platform" AND t."broker" = s."broker" AND t."login" = s."login" AND t."position" = s."position" AND t."ticket" = s."ticket" AND t."trade_date" <> s."trade_date"
LEFT JOIN (SELECT * FROM "prop_trading_model".recon_stage_closed WHERE fetch_id = $1) AS also ON also."platform" = t."platform" AND also."broker" = t."broker" AND also."login" = t."login" AND also."position" = t."position" AND also."ticket" = t."ticket" AND also."trade_date" = t."trade_date"
WHERE s.fetch_id = $1 AND s.refused IS NULL AND (s.account_id = ANY($2::text[]) OR s.account_id IS NULL AND (s.login::text, s.platform::text, coalesce(s.broker::text, '')) IN (SELECT login, platform, broker FROM "prop_trading_model".recon_identity WHERE account_id = ANY($2::text[]))) AND s."trade_date" BETWEEN ($3::date[])[1] AND ($3::date[])[2] AND also."platform" IS NULL AND NOT (age(t.xmin) > pg_current_xact_id()::text::bigint - $4::bigint)
GROUP BY s.account_id

-- name: move_trades
-- Move trades to upstream's date, or remove doubles stored under both, or under two other dates.
WITH known AS MATERIALIZED (
    SELECT t."platform", t."broker", t."login", t."position", t."ticket", t."trade_date", s.ordinal, s."trade_date" AS new_date, coalesce(s.account_id, t.account_id) AS owner, to_jsonb(t) AS old_row
    FROM "prop_trading_model".recon_stage_closed AS s
    JOIN "prop_trading_model".raw_trades_closed AS t ON t."platform" = s."platform" AND t."broker" = s."broker" AND t."login" = s."login" AND t."position" = s."position" AND t."ticket" = s."ticket" AND t."trade_date" <> s."trade_date"
    LEFT JOIN (SELECT * FROM "prop_trading_model".recon_stage_closed WHERE fetch_id = $1) AS also ON also."platform" = t."platform" AND also."broker" = t."broker" AND also."login" = t."login" AND also."position" = t."position" AND also."ticket" = t."ticket" AND also."trade_date" = t."trade_date"
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND (s.account_id = ANY($2::text[]) OR s.account_id IS NULL AND (s.login::text, s.platform::text, coalesce(s.broker::text, '')) IN (SELECT login, platform, broker FROM "prop_trading_model".recon_identity WHERE account_id = ANY($2::text[]))) AND s."trade_date" BETWEEN ($3::date[])[1] AND ($3::date[])[2] AND also."platform" IS NULL
    ORDER BY t."platform", t."broker", t."login", t."position", t."ticket", t."trade_date"
    FOR UPDATE OF t
), there AS MATERIALIZED (
    SELECT DISTINCT s.ordinal
    FROM (SELECT DISTINCT ordinal FROM known) AS k
    JOIN "prop_trading_model".recon_stage_closed AS s ON s.fetch_id = $1 AND s.ordinal = k.ordinal
    JOIN "prop_trading_model".raw_trades_closed AS t ON t."platform" = s."platform" AND t."broker" = s."broker" AND t."login" = s."login" AND t."position" = s."position" AND t."ticket" = s."ticket" AND t."trade_date" = s."trade_date"
), judged AS (
    SELECT *, ordinal IN (SELECT ordinal FROM there) OR row_number() OVER (PARTITION BY ordinal ORDER BY "trade_date") > 1 AS doubled FROM known
), removed AS (
    DELETE FROM "prop_trading_model".raw_trades_closed AS t USING judged AS m
    WHERE t."platform" = m."platform" AND t."broker" = m."broker" AND t."login" = m."login" AND t."position" = m."position" AND t."ticket" = m."ticket" AND t."trade_date" = m."trade_date" AND m.doubled
    RETURNING m.owner, m."trade_date" AS old_date, NULL::date AS new_date, m.new_date AS right_date, m.old_row
), moved AS (
    UPDATE "prop_trading_model".raw_trades_closed AS t SET "trade_date" = m.new_date FROM judged AS m
    WHERE t."platform" = m."platform" AND t."broker" = m."broker" AND t."login" = m."login" AND t."position" = m."position" AND t."ticket" = m."ticket" AND t."trade_date" = m."trade_date" AND NOT m.doubled
    RETURNING m.owner, m."trade_date" AS old_date, m.new_date, NULL::date AS right_date, m.old_row
), gone AS (
    SELECT * FROM removed UNION ALL SELECT * FROM moved
), copies AS (
    INSERT INTO "prop_trading_model".recon_removed_rows (run_id, account_id, table_name, date, reason, right_date, row_data)
    SELECT $4, owner, $5, old_date, CASE WHEN right_date IS NULL THEN 'moved' ELSE 'removed' END, right_date, old_row FROM gone
)
SELECT owner AS account_id, count(*) AS rows, count(right_date) AS doubles, array_agg(DISTINCT old_date) || array_agg(DISTINCT new_date) FILTER (WHERE new_date IS NOT NULL) AS days
FROM gone
GROUP BY owner

-- name: reject_moves
-- Reject trades that cannot be moved; inserting them would double them.
WITH found AS MATERIALIZED (
    SELECT DISTINCT s.ordinal
    FROM "prop_trading_model".recon_stage_closed AS s
    JOIN "prop_trading_model".raw_trades_closed AS t ON t."platform" = s."platform" AND t."broker" = s."broker" AND t."login" = s."login" AND t."position" = s."position" AND t."ticket" = s."ticket" AND t."trade_date" <> s."trade_date"
    LEFT JOIN (SELECT * FROM "prop_trading_model".recon_stage_closed WHERE fetch_id = $1) AS also ON also."platform" = t."platform" AND also."broker" = t."broker" AND also."login" = t."login" AND also."position" = t."position" AND also."ticket" = t."ticket" AND also."trade_date" = t."trade_date"
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND (s.account_id = ANY($2::text[]) OR s.account_id IS NULL AND (s.login::text, s.platform::text, coalesce(s.broker::text, '')) IN (SELECT login, platform, broker FROM "prop_trading_model".recon_identity WHERE account_id = ANY($2::text[]))) AND s."trade_date" BETWEEN ($3::date[])[1] AND ($3::date[])[2] AND also."platform" IS NULL
), told AS MATERIALIZED (
    SELECT s.ordinal, to_json(s) AS source FROM found AS f JOIN "prop_trading_model".recon_stage_closed AS s ON s.fetch_id = $1 AND s.ordinal = f.ordinal
)
UPDATE "prop_trading_model".recon_stage_closed AS s SET refused = $4, source = m.source
FROM told AS m
WHERE s.fetch_id = $1 AND s.ordinal = m.ordinal

-- name: move_shards
-- Move rows to upstream's "" in a distributed table, by delete and insert.
WITH known AS MATERIALIZED (
    SELECT t."platform", t."broker", t."login", t."position", t."ticket", t."trade_date", s."" AS new_shard, t.account_id AS owner, t."trade_date" AS day, to_jsonb(t) AS old_row
    FROM "prop_trading_model".recon_stage_closed AS s
    JOIN "prop_trading_model".raw_trades_closed AS t ON t."platform" = s."platform" AND t."broker" = s."broker" AND t."login" = s."login" AND t."position" = s."position" AND t."ticket" = s."ticket" AND t."trade_date" = s."trade_date" AND t."" <> s.""
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND (s.account_id = ANY($2::text[]) OR s.account_id IS NULL AND (s.login::text, s.platform::text, coalesce(s.broker::text, '')) IN (SELECT login, platform, broker FROM "prop_trading_model".recon_identity WHERE account_id = ANY($2::text[]))) AND s."trade_date" BETWEEN ($3::date[])[1] AND ($3::date[])[2] AND ((t.account_id IS NULL OR t.account_id = ANY($2::text[]) OR t.account_id = s.account_id) OR (age(t.xmin) > pg_current_xact_id()::text::bigint - $6::bigint OR age(t.xmin) <= 0))
), removed AS (
    DELETE FROM "prop_trading_model".raw_trades_closed AS t USING known AS m WHERE t."platform" = m."platform" AND t."broker" = m."broker" AND t."login" = m."login" AND t."position" = m."position" AND t."ticket" = m."ticket" AND t."trade_date" = m."trade_date" RETURNING m.owner, m.day, m.new_shard, m.old_row
), stored AS (
    INSERT INTO "prop_trading_model".raw_trades_closed ("trade_date", "broker", "manager", "platform", "ticket", "position", "login", "account_id", "std_symbol", "side", "lots", "contract_size", "qty_in_base_ccy", "volume_usd", "stop_loss", "take_profit", "open_time", "open_price", "close_time", "close_price", "duration", "profit", "commission", "fee", "swap", "comment", "ingestion_timestamp", "source_api_endpoint")
    SELECT r."trade_date", r."broker", r."manager", r."platform", r."ticket", r."position", r."login", r."account_id", r."std_symbol", r."side", r."lots", r."contract_size", r."qty_in_base_ccy", r."volume_usd", r."stop_loss", r."take_profit", r."open_time", r."open_price", r."close_time", r."close_price", r."duration", r."profit", r."commission", r."fee", r."swap", r."comment", r."ingestion_timestamp", r."source_api_endpoint"
    FROM removed AS m
    CROSS JOIN LATERAL jsonb_populate_record(NULL::"prop_trading_model".raw_trades_closed, m.old_row || jsonb_build_object($7::text, m.new_shard)) AS r
), copies AS (
    INSERT INTO "prop_trading_model".recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT $4, owner, $5, day, 'moved', old_row FROM removed
)
SELECT owner AS account_id, count(*) AS rows, array_agg(DISTINCT day) AS days FROM removed GROUP BY owner
