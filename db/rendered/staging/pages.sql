-- name: mark_repaired
-- Name the columns of rows ($2) whose values could not be taken as they were sent, beside those that PostgreSQL could not read itself.
UPDATE "prop_trading_model".recon_stage_alltime AS s
SET nulled = ARRAY(SELECT DISTINCT name FROM unnest(coalesce(s.nulled, '{}') || r.columns) AS name ORDER BY name),
    refused = nullif(concat_ws('; ', s.refused, r.reason), ''), source = coalesce(s.source, r.source)
FROM json_to_recordset($2::json) AS r (ordinal bigint, columns text[], reason text, source json)
WHERE s.fetch_id = $1 AND s.ordinal = r.ordinal

-- name: set_up_pages
-- For the transaction of a page. The plan of a statement on hundreds of columns is kept, for it is always the same; the commit waits for no disk, since
-- staging does not outlive a crash anyway.
SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('synchronous_commit', 'off', true), set_config('jit', 'off', true)
