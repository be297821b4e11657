-- name: get_copies_of_set
-- Copies $1, newest first, with what sets are made by: key and account ({{named}}) as text, and the
-- statement that wrote the row.
SELECT c.removed_id, c.removed_at, c.table_name, c.account_id, c.date, c.reason, c.right_date, c.run_id, c.restored_at, ({{named}})::text AS row_text,
       concat_ws(' ', c.removed_at, c.xmin, c.cmin) AS written
FROM (
    SELECT removed_id, account_id, table_name, date, reason, right_date, run_id, removed_at, restored_at, xmin AS xmin, cmin AS cmin, row_data || '{}'::jsonb AS row_data
    FROM "prop_trading_model".recon_removed_rows WHERE removed_id = ANY($1::bigint[])
    OFFSET 0
) AS c
ORDER BY c.removed_id DESC

-- name: get_columns_of_copies
-- Columns of copies $1. JSON orders keys consistently.
SELECT removed_id, md5(ARRAY(SELECT jsonb_object_keys(row_data))::text) AS columns
FROM "prop_trading_model".recon_removed_rows
WHERE removed_id = ANY($1::bigint[])

-- name: stores_as_copied
-- Whether table $1 stores rows exactly like its copies among $2: no trigger or rule changes values,
-- and no column changed since the oldest copy, which would give it a younger version.
WITH RECURSIVE family AS (
    SELECT to_regclass($1)::oid AS relid
    UNION
    SELECT i.inhrelid FROM family AS f JOIN pg_inherits AS i ON i.inhparent = f.relid
), oldest AS (
    SELECT max(age(xmin)) AS age FROM "prop_trading_model".recon_removed_rows WHERE removed_id = ANY($2::bigint[])
)
SELECT NOT EXISTS (
           -- Row triggers, BEFORE or INSTEAD OF.
           SELECT FROM family AS f JOIN pg_trigger AS t ON t.tgrelid = f.relid
           WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 1 <> 0 AND t.tgtype & 66 <> 0
       )
       AND NOT EXISTS (SELECT FROM family AS f JOIN pg_rewrite AS r ON r.ev_class = f.relid)
       AND NOT EXISTS (
           SELECT FROM pg_attribute AS a CROSS JOIN oldest
           WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT coalesce(age(a.xmin) > oldest.age AND oldest.age >= 0, false)
       )

-- name: lock_present_rows_of_set
-- Like lock_present_rows, for copies $1 of different rows of "prop_trading_model".raw_trades_closed on one server.
SELECT c.removed_id, t.tableoid AS row_table, t.ctid AS row_place, NULL::text AS row_shard, false AS is_elsewhere, t.account_id::text AS account_id, t."trade_date" AS day,
       t."trade_date" = r."trade_date" AS has_key, NOT (t."manager" IS DISTINCT FROM (c.row_data ->> 'manager')::integer OR t."std_symbol" IS DISTINCT FROM (c.row_data ->> 'std_symbol') OR t."side" IS DISTINCT FROM (c.row_data ->> 'side') OR t."lots" IS DISTINCT FROM (c.row_data ->> 'lots')::numeric(18,4) OR t."contract_size" IS DISTINCT FROM (c.row_data ->> 'contract_size')::numeric(18,4) OR t."qty_in_base_ccy" IS DISTINCT FROM (c.row_data ->> 'qty_in_base_ccy')::numeric(18,4) OR t."volume_usd" IS DISTINCT FROM (c.row_data ->> 'volume_usd')::numeric(18,4) OR t."stop_loss" IS DISTINCT FROM (c.row_data ->> 'stop_loss')::numeric(18,6) OR t."take_profit" IS DISTINCT FROM (c.row_data ->> 'take_profit')::numeric(18,6) OR t."open_time" IS DISTINCT FROM (c.row_data ->> 'open_time')::timestamp OR t."open_price" IS DISTINCT FROM (c.row_data ->> 'open_price')::numeric(18,6) OR t."close_time" IS DISTINCT FROM (c.row_data ->> 'close_time')::timestamp OR t."close_price" IS DISTINCT FROM (c.row_data ->> 'close_price')::numeric(18,6) OR t."duration" IS DISTINCT FROM (c.row_data ->> 'duration')::numeric(18,2) OR t."profit" IS DISTINCT FROM (c.row_data ->> 'profit')::numeric(18,2) OR t."commission" IS DISTINCT FROM (c.row_data ->> 'commission')::numeric(18,2) OR t."fee" IS DISTINCT FROM (c.row_data ->> 'fee')::numeric(18,2) OR t."swap" IS DISTINCT FROM (c.row_data ->> 'swap')::numeric(18,2) OR t."comment" IS DISTINCT FROM (c.row_data ->> 'comment') OR t."ingestion_timestamp" IS DISTINCT FROM (c.row_data ->> 'ingestion_timestamp')::timestamp OR t."source_api_endpoint" IS DISTINCT FROM (c.row_data ->> 'source_api_endpoint') OR t."trade_date" IS DISTINCT FROM (c.row_data ->> 'trade_date')::date OR t."broker" IS DISTINCT FROM (c.row_data ->> 'broker')::integer OR t."platform" IS DISTINCT FROM (c.row_data ->> 'platform')::integer OR t."ticket" IS DISTINCT FROM (c.row_data ->> 'ticket') OR t."position" IS DISTINCT FROM (c.row_data ->> 'position') OR t."login" IS DISTINCT FROM (c.row_data ->> 'login') OR t."account_id" IS DISTINCT FROM (c.row_data ->> 'account_id')) AS is_equal, (
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
FROM (
    SELECT removed_id, account_id, table_name, date, reason, right_date, run_id, removed_at, restored_at, xmin AS xmin, cmin AS cmin, row_data || '{}'::jsonb AS row_data
    FROM "prop_trading_model".recon_removed_rows WHERE removed_id = ANY($1::bigint[])
    OFFSET 0
) AS c
CROSS JOIN LATERAL (SELECT (c.row_data ->> 'platform')::integer AS "platform", (c.row_data ->> 'broker')::integer AS "broker", (c.row_data ->> 'login')::varchar(255) AS "login", (c.row_data ->> 'position')::varchar(255) AS "position", (c.row_data ->> 'ticket')::varchar(255) AS "ticket", (c.row_data ->> 'trade_date')::date AS "trade_date", (c.row_data ->> 'account_id')::varchar(255) AS "account_id") AS r
JOIN "prop_trading_model".raw_trades_closed AS t ON t."platform" = r."platform" AND t."broker" = r."broker" AND t."login" = r."login" AND t."position" = r."position" AND t."ticket" = r."ticket"
WHERE $2::text[] IS NOT NULL
ORDER BY c.removed_id, t."trade_date"
FOR UPDATE OF t

-- name: keep_present_rows
-- Copy rows at places ($2 to $4) of "prop_trading_model".raw_trades_closed before they get the values of copies $1; outside any
-- run, numbered in that order.
INSERT INTO "prop_trading_model".recon_removed_rows (account_id, table_name, date, reason, row_data)
SELECT coalesce(t.account_id, c.account_id), c.table_name, t."trade_date", c.reason, to_jsonb(t)
FROM unnest($1::bigint[], $2::oid[], $3::tid[], $4::date[]) AS p (removed_id, row_table, row_place, day)
JOIN "prop_trading_model".recon_removed_rows AS c ON c.removed_id = p.removed_id
JOIN "prop_trading_model".raw_trades_closed AS t ON t.tableoid = p.row_table AND t.ctid = p.row_place AND t."trade_date" = p.day
ORDER BY p.removed_id
RETURNING removed_id

-- name: write_back_rows
-- Write the values of copies $2 to rows at places ($3 to $5) of "prop_trading_model".raw_trades_closed; returns the rows, and
-- which of columns $1 differ from the copy.
WITH written AS (
    UPDATE "prop_trading_model".raw_trades_closed AS t SET "trade_date" = r."trade_date", "broker" = r."broker", "manager" = r."manager", "platform" = r."platform", "ticket" = r."ticket", "position" = r."position", "login" = r."login", "account_id" = r."account_id", "std_symbol" = r."std_symbol", "side" = r."side", "lots" = r."lots", "contract_size" = r."contract_size", "qty_in_base_ccy" = r."qty_in_base_ccy", "volume_usd" = r."volume_usd", "stop_loss" = r."stop_loss", "take_profit" = r."take_profit", "open_time" = r."open_time", "open_price" = r."open_price", "close_time" = r."close_time", "close_price" = r."close_price", "duration" = r."duration", "profit" = r."profit", "commission" = r."commission", "fee" = r."fee", "swap" = r."swap", "comment" = r."comment", "ingestion_timestamp" = r."ingestion_timestamp", "source_api_endpoint" = r."source_api_endpoint"
    FROM unnest($2::bigint[], $3::oid[], $4::tid[], $5::date[]) AS p (removed_id, row_table, row_place, day)
    JOIN "prop_trading_model".recon_removed_rows AS c ON c.removed_id = p.removed_id
    CROSS JOIN LATERAL jsonb_populate_record(NULL::"prop_trading_model".raw_trades_closed, c.row_data) AS r
    WHERE t.tableoid = p.row_table AND t.ctid = p.row_place AND t."trade_date" = p.day
    RETURNING c.removed_id, c.row_data, t.account_id::text AS account_id, t."trade_date" AS day, t AS stored
), shown AS MATERIALIZED (
    SELECT removed_id, row_data, account_id, day, to_jsonb(stored) AS new_row FROM written
)
SELECT w.removed_id, w.account_id, w.day, ARRAY(
    SELECT held.key FROM jsonb_each(c.row_data) AS held
    WHERE held.key = ANY($2::text[])
      AND held.value IS DISTINCT FROM w.new_row -> held.key AND held.value #>> '{}' IS DISTINCT FROM w.new_row ->> held.key
    ORDER BY held.key
) AS changed FROM shown AS w CROSS JOIN LATERAL (SELECT w.row_data, $1::text[] AS compared) AS c

-- name: write_back_rows_as_copied
-- Like write_back_rows, for tables that store rows as copied.
UPDATE "prop_trading_model".raw_trades_closed AS t SET "trade_date" = r."trade_date", "broker" = r."broker", "manager" = r."manager", "platform" = r."platform", "ticket" = r."ticket", "position" = r."position", "login" = r."login", "account_id" = r."account_id", "std_symbol" = r."std_symbol", "side" = r."side", "lots" = r."lots", "contract_size" = r."contract_size", "qty_in_base_ccy" = r."qty_in_base_ccy", "volume_usd" = r."volume_usd", "stop_loss" = r."stop_loss", "take_profit" = r."take_profit", "open_time" = r."open_time", "open_price" = r."open_price", "close_time" = r."close_time", "close_price" = r."close_price", "duration" = r."duration", "profit" = r."profit", "commission" = r."commission", "fee" = r."fee", "swap" = r."swap", "comment" = r."comment", "ingestion_timestamp" = r."ingestion_timestamp", "source_api_endpoint" = r."source_api_endpoint"
FROM unnest($1::bigint[], $2::oid[], $3::tid[], $4::date[]) AS p (removed_id, row_table, row_place, day)
JOIN "prop_trading_model".recon_removed_rows AS c ON c.removed_id = p.removed_id
CROSS JOIN LATERAL jsonb_populate_record(NULL::"prop_trading_model".raw_trades_closed, c.row_data) AS r
WHERE t.tableoid = p.row_table AND t.ctid = p.row_place AND t."trade_date" = p.day
RETURNING c.removed_id, t.account_id::text AS account_id, t."trade_date" AS day, '{}'::text[] AS changed

-- name: insert_rows_as_copied
-- Like insert_rows_again, for tables that store rows as copied, returning nothing.
INSERT INTO "prop_trading_model".raw_trades_closed AS t ("trade_date", "broker", "manager", "platform", "ticket", "position", "login", "account_id", "std_symbol", "side", "lots", "contract_size", "qty_in_base_ccy", "volume_usd", "stop_loss", "take_profit", "open_time", "open_price", "close_time", "close_price", "duration", "profit", "commission", "fee", "swap", "comment", "ingestion_timestamp", "source_api_endpoint") OVERRIDING SYSTEM VALUE
SELECT r."trade_date", r."broker", r."manager", r."platform", r."ticket", r."position", r."login", r."account_id", r."std_symbol", r."side", r."lots", r."contract_size", r."qty_in_base_ccy", r."volume_usd", r."stop_loss", r."take_profit", r."open_time", r."open_price", r."close_time", r."close_price", r."duration", r."profit", r."commission", r."fee", r."swap", r."comment", r."ingestion_timestamp", r."source_api_endpoint"
FROM "prop_trading_model".recon_removed_rows AS c
CROSS JOIN LATERAL jsonb_populate_record(NULL::"prop_trading_model".raw_trades_closed, c.row_data) AS r
WHERE c.removed_id = ANY($1::bigint[])

-- name: insert_rows_again
-- Insert copies $1 into "prop_trading_model".raw_trades_closed; returns the rows by their copy's key, and which of columns $2
-- differ from the copy.
WITH written AS (
    INSERT INTO "prop_trading_model".raw_trades_closed AS t ("trade_date", "broker", "manager", "platform", "ticket", "position", "login", "account_id", "std_symbol", "side", "lots", "contract_size", "qty_in_base_ccy", "volume_usd", "stop_loss", "take_profit", "open_time", "open_price", "close_time", "close_price", "duration", "profit", "commission", "fee", "swap", "comment", "ingestion_timestamp", "source_api_endpoint") OVERRIDING SYSTEM VALUE
    SELECT r."trade_date", r."broker", r."manager", r."platform", r."ticket", r."position", r."login", r."account_id", r."std_symbol", r."side", r."lots", r."contract_size", r."qty_in_base_ccy", r."volume_usd", r."stop_loss", r."take_profit", r."open_time", r."open_price", r."close_time", r."close_price", r."duration", r."profit", r."commission", r."fee", r."swap", r."comment", r."ingestion_timestamp", r."source_api_endpoint"
    FROM (
    SELECT removed_id, account_id, table_name, date, reason, right_date, run_id, removed_at, restored_at, xmin AS xmin, cmin AS cmin, row_data || '{}'::jsonb AS row_data
    FROM "prop_trading_model".recon_removed_rows WHERE removed_id = ANY($1::bigint[])
    OFFSET 0
) AS c
    CROSS JOIN LATERAL jsonb_populate_record(NULL::"prop_trading_model".raw_trades_closed, c.row_data) AS r
    ORDER BY c.removed_id DESC
    RETURNING t.account_id::text AS account_id, t."trade_date" AS day, t AS stored
), shown AS MATERIALIZED (
    SELECT account_id, day, to_jsonb(stored) AS new_row FROM written
)
SELECT c.removed_id, w.account_id, w.day, ARRAY(
    SELECT held.key FROM jsonb_each(c.row_data) AS held
    WHERE held.key = ANY($2::text[])
      AND held.value IS DISTINCT FROM w.new_row -> held.key AND held.value #>> '{}' IS DISTINCT FROM w.new_row ->> held.key
    ORDER BY held.key
) AS changed
FROM shown AS w
JOIN (SELECT removed_id, row_data, $2::text[] AS compared FROM (
    SELECT removed_id, account_id, table_name, date, reason, right_date, run_id, removed_at, restored_at, xmin AS xmin, cmin AS cmin, row_data || '{}'::jsonb AS row_data
    FROM "prop_trading_model".recon_removed_rows WHERE removed_id = ANY($1::bigint[])
    OFFSET 0
) AS p) AS c ON jsonb_build_array(w.new_row -> 'platform', w.new_row -> 'broker', w.new_row -> 'login', w.new_row -> 'position', w.new_row -> 'ticket', w.new_row -> 'trade_date') = jsonb_build_array(c.row_data -> 'platform', c.row_data -> 'broker', c.row_data -> 'login', c.row_data -> 'position', c.row_data -> 'ticket', c.row_data -> 'trade_date')

-- name: name_changed_columns_of_set
-- Like name_changed_columns, for columns `compared`; most rows equal their copies.
CASE WHEN w.new_row = c.row_data THEN '{}'::text[] ELSE ARRAY(
    SELECT held.key FROM jsonb_each(c.row_data) AS held
    WHERE held.key = ANY(c.compared)
      AND held.value IS DISTINCT FROM w.new_row -> held.key AND held.value #>> '{}' IS DISTINCT FROM w.new_row ->> held.key
    ORDER BY held.key
) END
