-- name: repair_null_ids
-- Fill the account id of trades of {{raw}} that exactly one account fits, keeping a copy. At most
-- $2 rows, for a short transaction, after the first $3, which the table rejected. Rows that
-- ingestion is writing wait. The last row counts those whose id triggers kept.
WITH mendable AS MATERIALIZED (
    SELECT {{t_key}}{{place}}, f.candidates[1] AS account_id, to_jsonb(t) AS old_row
    FROM prop_trading_model.recon_identity_findings AS f
    JOIN {{raw}} AS t ON t.account_id IS NULL AND t.login::text = f.login AND t.trade_date = ANY(f.dates)
    WHERE f.table_name = $1 AND f.holder IS NULL AND cardinality(f.candidates) = 1 AND {{found_keys}}
      AND t.platform::text = f.platform AND coalesce(t.broker::text, '') = f.broker{{unpinned}}
    ORDER BY {{t_key}}
    LIMIT $2 OFFSET $3
    {{free_to_change}}
), written AS (
    UPDATE {{raw}} AS t SET account_id = m.account_id
    FROM mendable AS m
    WHERE {{same_row}} AND t.account_id IS NULL
    RETURNING t.account_id, t.account_id IS NOT DISTINCT FROM m.account_id AS mended, t.trade_date AS day, m.old_row
), copies AS (
    INSERT INTO prop_trading_model.recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT {{run}}, account_id, $1, day, 'overwritten', old_row FROM written WHERE mended
)
SELECT account_id, NULL AS holder, count(*) AS rows, 0::bigint AS md5_rows, array_agg(DISTINCT day) AS days, 0::bigint AS resisting
FROM written
WHERE mended
GROUP BY account_id
UNION ALL
SELECT NULL, NULL, 0, 0, NULL, count(*) - (SELECT count(*) FROM written WHERE mended) FROM mendable HAVING count(*) > 0

-- name: repair_foreign_ids
-- Reassign trades of {{raw}} under another's id or a placeholder to the one account that fits,
-- keeping a copy. At most $2 rows after the first $3.
WITH mendable AS MATERIALIZED (
    SELECT {{t_key}}{{place}}, f.candidates[1] AS account_id, t.account_id AS holder, to_jsonb(t) AS old_row, t.trade_date AS day,
           f.holder <> f.login AND prop_trading_model.recon_is_placeholder(f.holder, f.login, f.platform, f.broker) AS is_md5
    FROM prop_trading_model.recon_identity_findings AS f
    JOIN {{raw}} AS t ON t.account_id = f.holder AND t.login::text = f.login AND t.trade_date = ANY(f.dates)
    WHERE f.table_name = $1 AND cardinality(f.candidates) = 1 AND {{found_keys}}
      AND t.platform::text = f.platform AND coalesce(t.broker::text, '') = f.broker{{unpinned}}
    ORDER BY {{t_key}}
    LIMIT $2 OFFSET $3
    {{free_to_change}}
), written AS (
    UPDATE {{raw}} AS t SET account_id = m.account_id
    FROM mendable AS m
    WHERE {{same_row}} AND t.account_id = m.holder
    RETURNING t.account_id, t.account_id IS NOT DISTINCT FROM m.account_id AS mended, m.holder, m.old_row, m.day, m.is_md5
), copies AS (
    INSERT INTO prop_trading_model.recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT {{run}}, account_id, $1, day, 'overwritten', old_row FROM written WHERE mended
)
SELECT account_id, holder, count(*) AS rows, count(*) FILTER (WHERE is_md5) AS md5_rows, array_agg(DISTINCT day) AS days, 0::bigint AS resisting
FROM written
WHERE mended
GROUP BY account_id, holder
UNION ALL
SELECT NULL, NULL, 0, 0, NULL, count(*) - (SELECT count(*) FROM written WHERE mended) FROM mendable HAVING count(*) > 0
