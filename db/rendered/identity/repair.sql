-- name: repair_null_ids
-- Fill the account id of trades of "prop_trading_model".raw_trades_closed that exactly one account fits, keeping a copy. At most
-- $2 rows, for a short transaction, after the first $3, which the table rejected. Rows that
-- ingestion is writing wait. The last row counts those whose id triggers kept. Statistics from
-- before ids were lost know no trades without one: joins whose order hangs on their number are
-- written as a hashed list, as FULL (never a nested loop) and by key (no partial index fits).
WITH found AS MATERIALIZED (
    SELECT f.login, f.platform, f.broker, unnest(f.dates) AS day, f.candidates[1] AS owner
    FROM "prop_trading_model".recon_identity_findings AS f
    WHERE f.table_name = $1 AND f.holder IS NULL AND cardinality(f.candidates) = 1 AND true
), picked AS MATERIALIZED (
    SELECT t."platform", t."broker", t."login", t."position", t."ticket", t."trade_date", t.login::text AS of_login, t.platform::text AS of_platform, coalesce(t.broker::text, '') AS of_broker, t.trade_date AS day, to_jsonb(t) AS old_row
    FROM "prop_trading_model".raw_trades_closed AS t
    CROSS JOIN (SELECT count(*) AS days FROM found) AS of_all -- named below, or each partition hashes the list anew
    WHERE t.account_id IS NULL AND true AND t.login::text BETWEEN (SELECT min(login) FROM found) AND (SELECT max(login) FROM found)
      AND t.trade_date BETWEEN (SELECT min(day) FROM found) AND (SELECT max(day) FROM found)
      AND CASE WHEN of_all.days > 0 THEN (t.login::text, t.platform::text, coalesce(t.broker::text, ''), t.trade_date) IN (SELECT login, platform, broker, day FROM found) END
      AND NOT EXISTS (SELECT FROM "prop_trading_model".recon_pins AS p WHERE p.table_name = $1 AND p.row_key = ARRAY[t."platform"::text, t."broker"::text, t."login"::text, t."position"::text, t."ticket"::text])
    ORDER BY t."platform", t."broker", t."login", t."position", t."ticket", t."trade_date"
    LIMIT $2 OFFSET $3
    FOR NO KEY UPDATE OF t SKIP LOCKED
), mendable AS MATERIALIZED (
    SELECT p.*, f.owner
    FROM picked AS p
    FULL JOIN found AS f ON (f.login, f.platform, f.broker, f.day) = (p.of_login, p.of_platform, p.of_broker, p.day)
    WHERE num_nulls(p.day, f.day) = 0
), written AS (
    UPDATE "prop_trading_model".raw_trades_closed AS t SET account_id = m.owner
    FROM mendable AS m
    WHERE t."platform" = m."platform" AND t."broker" = m."broker" AND t."login" = m."login" AND t."position" = m."position" AND t."ticket" = m."ticket" AND t."trade_date" = m."trade_date" AND num_nulls(t.account_id) = 1
    RETURNING t.account_id, t.account_id IS NOT DISTINCT FROM m.owner AS mended, t.trade_date AS day, m.old_row
), copies AS (
    INSERT INTO "prop_trading_model".recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT nullif(current_setting('trade_recon.run', true), '')::uuid, account_id, $1, day, 'overwritten', old_row FROM written WHERE mended
)
SELECT account_id, NULL AS holder, count(*) AS rows, 0::bigint AS md5_rows, array_agg(DISTINCT day) AS days, 0::bigint AS resisting
FROM written
WHERE mended
GROUP BY account_id
UNION ALL
SELECT NULL, NULL, 0, 0, NULL, count(*) - (SELECT count(*) FROM written WHERE mended) FROM mendable HAVING count(*) > 0

-- name: repair_foreign_ids
-- Reassign trades of "prop_trading_model".raw_trades_closed under another's id or a placeholder to the one account that fits,
-- keeping a copy. At most $2 rows after the first $3.
WITH mendable AS MATERIALIZED (
    SELECT t."platform", t."broker", t."login", t."position", t."ticket", t."trade_date", f.candidates[1] AS account_id, t.account_id AS holder, to_jsonb(t) AS old_row, t.trade_date AS day,
           f.holder <> f.login AND "prop_trading_model".recon_is_placeholder(f.holder, f.login, f.platform, f.broker) AS is_md5
    FROM "prop_trading_model".recon_identity_findings AS f
    JOIN "prop_trading_model".raw_trades_closed AS t ON t.account_id = f.holder AND t.login::text = f.login AND t.trade_date = ANY(f.dates)
    WHERE f.table_name = $1 AND f.holder IS NOT NULL AND cardinality(f.candidates) = 1 AND true
      AND t.platform::text = f.platform AND coalesce(t.broker::text, '') = f.broker
      AND NOT EXISTS (SELECT FROM "prop_trading_model".recon_pins AS p WHERE p.table_name = $1 AND p.row_key = ARRAY[t."platform"::text, t."broker"::text, t."login"::text, t."position"::text, t."ticket"::text])
    ORDER BY t."platform", t."broker", t."login", t."position", t."ticket", t."trade_date"
    LIMIT $2 OFFSET $3
    FOR NO KEY UPDATE OF t SKIP LOCKED
), written AS (
    UPDATE "prop_trading_model".raw_trades_closed AS t SET account_id = m.account_id
    FROM mendable AS m
    WHERE t."platform" = m."platform" AND t."broker" = m."broker" AND t."login" = m."login" AND t."position" = m."position" AND t."ticket" = m."ticket" AND t."trade_date" = m."trade_date" AND (t.account_id = m.holder) IS TRUE -- by key: an index of ids may lead to many
    RETURNING t.account_id, t.account_id IS NOT DISTINCT FROM m.account_id AS mended, m.holder, m.old_row, m.day, m.is_md5
), copies AS (
    INSERT INTO "prop_trading_model".recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT nullif(current_setting('trade_recon.run', true), '')::uuid, account_id, $1, day, 'overwritten', old_row FROM written WHERE mended
)
SELECT account_id, holder, count(*) AS rows, count(*) FILTER (WHERE is_md5) AS md5_rows, array_agg(DISTINCT day) AS days, 0::bigint AS resisting
FROM written
WHERE mended
GROUP BY account_id, holder
UNION ALL
SELECT NULL, NULL, 0, 0, NULL, count(*) - (SELECT count(*) FROM written WHERE mended) FROM mendable HAVING count(*) > 0
