-- name: get_removed_rows
-- Copies, newest first.
SELECT removed_id, removed_at, table_name, account_id, date, reason, right_date, run_id, restored_at, row_data::text AS row_text
FROM "prop_trading_model".recon_removed_rows
WHERE removed_id = ANY($1::bigint[])
ORDER BY removed_id DESC

-- name: lock_present_rows
-- Stored rows of "prop_trading_model".raw_trades_closed for copy $1 on any date: their places, whether they have its whole key,
-- and whether they differ in a writable column (not in $2). Locked, except on several servers,
-- which cannot lock rows of a join. is_foreign: others wrote the row since.
SELECT t.tableoid AS row_table, t.ctid AS row_place, NULL::text AS row_shard, NULL::text IS DISTINCT FROM NULL::text AS is_elsewhere, t.account_id::text AS account_id, t."trade_date" AS day, t."trade_date" = r."trade_date" AS has_key,
       (to_jsonb(t) - $2::text[]) = (to_jsonb(r) - $2::text[]) AS is_equal, (
    t.xmin <> c.xmin
    AND CASE
        WHEN EXISTS (SELECT FROM "prop_trading_model".recon_removed_rows AS k
                WHERE k.table_name = c.table_name AND k.account_id IN (c.account_id, t.account_id::text, r.account_id::text) AND k.xmin = t.xmin)
            THEN (
    to_jsonb(t) -> 'ingestion_timestamp' IS DISTINCT FROM c.row_data -> 'ingestion_timestamp'
    AND to_jsonb(t) -> 'ingestion_timestamp' NOT IN (to_jsonb(c.removed_at), to_jsonb(c.removed_at AT TIME ZONE 'UTC'))
)
                AND EXISTS (
                    SELECT FROM "prop_trading_model".recon_removed_rows AS k
                WHERE k.table_name = c.table_name AND k.account_id IN (c.account_id, t.account_id::text, r.account_id::text) AND k.removed_id > c.removed_id
                      AND k.row_data -> 'ingestion_timestamp' = to_jsonb(t) -> 'ingestion_timestamp'
                )
                AND NOT EXISTS (
                    SELECT FROM "prop_trading_model".recon_removed_rows AS k
                WHERE k.table_name = c.table_name AND k.account_id IN (c.account_id, t.account_id::text, r.account_id::text)
                      AND to_jsonb(t) -> 'ingestion_timestamp' IN (to_jsonb(k.removed_at), to_jsonb(k.removed_at AT TIME ZONE 'UTC'))
                )
        WHEN c.run_id IS NULL THEN (
    to_jsonb(t) -> 'ingestion_timestamp' IS DISTINCT FROM c.row_data -> 'ingestion_timestamp'
    AND to_jsonb(t) -> 'ingestion_timestamp' NOT IN (to_jsonb(c.removed_at), to_jsonb(c.removed_at AT TIME ZONE 'UTC'))
)
        ELSE c.reason <> 'moved' OR age(t.xmin) < age(c.xmin)
    END
) AS is_foreign, (c.reason IN ('moved', 'removed') AND c.run_id IS NOT NULL AND t.xmin <> c.xmin AND age(t.xmin) > age(c.xmin)) AS stood_there, CASE WHEN c.reason = 'moved' AND NOT (t."trade_date" = r."trade_date") THEN (
    SELECT min(k.reason) FROM "prop_trading_model".recon_removed_rows AS k
                WHERE k.table_name = c.table_name AND k.account_id IN (c.account_id, t.account_id::text, r.account_id::text)
      AND k.date = t."trade_date" AND jsonb_build_array(k.row_data -> 'platform', k.row_data -> 'broker', k.row_data -> 'login', k.row_data -> 'position', k.row_data -> 'ticket', k.row_data -> 'trade_date') = jsonb_build_array(t."platform", t."broker", t."login", t."position", t."ticket", t."trade_date")
      AND (
          k.run_id = c.run_id AND k.removed_at = c.removed_at AND CASE k.reason WHEN 'overwritten' THEN EXISTS (SELECT FROM jsonb_each(c.row_data) AS held WHERE held.key = ANY(ARRAY['close_price', 'close_time', 'comment', 'commission', 'contract_size', 'duration', 'fee', 'lots', 'manager', 'open_price', 'open_time', 'profit', 'qty_in_base_ccy', 'side', 'std_symbol', 'stop_loss', 'swap', 'take_profit', 'volume_usd']) AND held.value IS DISTINCT FROM k.row_data -> held.key) ELSE k.restored_at IS NOT NULL END
          OR k.right_date IS NOT NULL AND k.restored_at IS NOT NULL AND t.xmin <> c.xmin
      )
) END AS beside_as
FROM "prop_trading_model".recon_removed_rows AS c
CROSS JOIN LATERAL jsonb_populate_record(NULL::"prop_trading_model".raw_trades_closed, c.row_data) AS r
JOIN "prop_trading_model".raw_trades_closed AS t ON t."platform" = r."platform" AND t."broker" = r."broker" AND t."login" = r."login" AND t."position" = r."position" AND t."ticket" = r."ticket"
WHERE c.removed_id = $1
ORDER BY t."trade_date"
FOR UPDATE OF t

-- name: keep_present_row
-- Copy the row at a place of "prop_trading_model".raw_trades_closed before it gets the values of copy $3; outside any run.
INSERT INTO "prop_trading_model".recon_removed_rows (account_id, table_name, date, reason, row_data)
SELECT coalesce(t.account_id, c.account_id), c.table_name, t."trade_date", c.reason, to_jsonb(t)
FROM "prop_trading_model".raw_trades_closed AS t
JOIN "prop_trading_model".recon_removed_rows AS c ON c.removed_id = $3
WHERE t.tableoid = $1::oid AND t.ctid = $2::tid AND true
RETURNING removed_id

-- name: write_back
-- Write the values of copy $1 to the row at a place of "prop_trading_model".raw_trades_closed; returns the row, and which of
-- columns $2 differ from the copy.
WITH written AS (
    UPDATE "prop_trading_model".raw_trades_closed AS t SET "trade_date" = r."trade_date", "broker" = r."broker", "manager" = r."manager", "platform" = r."platform", "ticket" = r."ticket", "position" = r."position", "login" = r."login", "account_id" = r."account_id", "std_symbol" = r."std_symbol", "side" = r."side", "lots" = r."lots", "contract_size" = r."contract_size", "qty_in_base_ccy" = r."qty_in_base_ccy", "volume_usd" = r."volume_usd", "stop_loss" = r."stop_loss", "take_profit" = r."take_profit", "open_time" = r."open_time", "open_price" = r."open_price", "close_time" = r."close_time", "close_price" = r."close_price", "duration" = r."duration", "profit" = r."profit", "commission" = r."commission", "fee" = r."fee", "swap" = r."swap", "comment" = r."comment", "ingestion_timestamp" = r."ingestion_timestamp", "source_api_endpoint" = r."source_api_endpoint"
    FROM "prop_trading_model".recon_removed_rows AS c
    CROSS JOIN LATERAL jsonb_populate_record(NULL::"prop_trading_model".raw_trades_closed, c.row_data) AS r
    WHERE c.removed_id = $1 AND t.tableoid = $3::oid AND t.ctid = $4::tid
    RETURNING t.*
), shown AS (
    SELECT w.account_id::text AS account_id, w."trade_date" AS day, to_jsonb(w) AS new_row FROM written AS w
)
SELECT w.account_id, w.day, ARRAY(
    SELECT held.key FROM jsonb_each(c.row_data) AS held
    WHERE held.key = ANY($2::text[])
      AND held.value IS DISTINCT FROM w.new_row -> held.key AND held.value #>> '{}' IS DISTINCT FROM w.new_row ->> held.key
    ORDER BY held.key
) AS changed
FROM shown AS w
JOIN "prop_trading_model".recon_removed_rows AS c ON c.removed_id = $1

-- name: insert_again
-- Insert copy $1 into "prop_trading_model".raw_trades_closed; returns the row, and which of columns $2 differ from the copy.
WITH written AS (
    INSERT INTO "prop_trading_model".raw_trades_closed AS t ("trade_date", "broker", "manager", "platform", "ticket", "position", "login", "account_id", "std_symbol", "side", "lots", "contract_size", "qty_in_base_ccy", "volume_usd", "stop_loss", "take_profit", "open_time", "open_price", "close_time", "close_price", "duration", "profit", "commission", "fee", "swap", "comment", "ingestion_timestamp", "source_api_endpoint") OVERRIDING SYSTEM VALUE
    SELECT r."trade_date", r."broker", r."manager", r."platform", r."ticket", r."position", r."login", r."account_id", r."std_symbol", r."side", r."lots", r."contract_size", r."qty_in_base_ccy", r."volume_usd", r."stop_loss", r."take_profit", r."open_time", r."open_price", r."close_time", r."close_price", r."duration", r."profit", r."commission", r."fee", r."swap", r."comment", r."ingestion_timestamp", r."source_api_endpoint"
    FROM "prop_trading_model".recon_removed_rows AS c
    CROSS JOIN LATERAL jsonb_populate_record(NULL::"prop_trading_model".raw_trades_closed, c.row_data) AS r
    WHERE c.removed_id = $1
    RETURNING t.*
), shown AS (
    SELECT w.account_id::text AS account_id, w."trade_date" AS day, to_jsonb(w) AS new_row FROM written AS w
)
SELECT w.account_id, w.day, ARRAY(
    SELECT held.key FROM jsonb_each(c.row_data) AS held
    WHERE held.key = ANY($2::text[])
      AND held.value IS DISTINCT FROM w.new_row -> held.key AND held.value #>> '{}' IS DISTINCT FROM w.new_row ->> held.key
    ORDER BY held.key
) AS changed
FROM shown AS w
JOIN "prop_trading_model".recon_removed_rows AS c ON c.removed_id = $1

-- name: name_changed_columns
-- Columns of $2 that differ from the copy, by the present column type or a trigger.
ARRAY(
    SELECT held.key FROM jsonb_each(c.row_data) AS held
    WHERE held.key = ANY($2::text[])
      AND held.value IS DISTINCT FROM w.new_row -> held.key AND held.value #>> '{}' IS DISTINCT FROM w.new_row ->> held.key
    ORDER BY held.key
)
