-- name: mark_repaired
-- Add columns of rows ($2) with repaired values to those that PostgreSQL could not read.
UPDATE "prop_trading_model".recon_stage_alltime AS s
SET nulled = ARRAY(SELECT DISTINCT name FROM unnest(coalesce(s.nulled, '{}') || r.columns) AS name ORDER BY name),
    refused = nullif(concat_ws('; ', s.refused, r.reason), ''), source = coalesce(s.source, r.source)
FROM json_to_recordset($2::json) AS r (ordinal bigint, columns text[], reason text, source json)
WHERE s.fetch_id = $1 AND s.ordinal = r.ordinal

-- name: set_up_pages
-- Settings for staging a page: keep the plan of a statement with hundreds of columns, which never
-- changes, and do not wait for the disk at commit, since a crash empties staging anyway.
SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('synchronous_commit', 'off', true), set_config('jit', 'off', true)
