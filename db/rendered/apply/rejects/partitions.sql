-- name: get_staged_days
-- Dates of staged rows.
SELECT DISTINCT "date" AS day FROM "prop_trading_model".recon_stage_daily WHERE fetch_id = $1 AND refused IS NULL AND "date" IS NOT NULL

-- name: get_partition_gaps
-- Days without partition, each with the gap of its month.
SELECT day, gap_from, gap_to FROM "prop_trading_model".recon_partition_gaps($1, $2::date[])

-- name: get_partition_years
-- First and last year with partitions.
SELECT first_year, last_year FROM "prop_trading_model".recon_partition_years($1)

-- name: get_partition_state
-- Whether a table has the name ($1) of a partition, and the first date with partitions of tables
-- ($2).
SELECT to_regclass($1) IS NOT NULL AS is_there, "prop_trading_model".recon_held_from($2::text[]) AS held_from

-- name: get_first_trade_year
-- Year of the first trade in alltime, which is read entirely: ask only for years before the
-- partitions.
SELECT extract(year FROM min(first_trade_date::date))::integer FROM "prop_trading_model".raw_metrics_alltime WHERE first_trade_date::date BETWEEN '1990-01-01' AND '2199-12-31'

-- name: reject_days
-- Reject rows of days without partition.
UPDATE "prop_trading_model".recon_stage_daily AS s SET refused = $3 WHERE s.fetch_id = $1 AND s.refused IS NULL AND "date" = ANY($2::date[])

-- name: create_partitions
-- Create monthly partitions for rows to write.
SELECT "prop_trading_model".recon_create_partitions($1, $2::date[])

-- name: note_missing_partitions
-- Record once ($2) that rows of a run ($1) have no partition.
UPDATE "prop_trading_model".recon_runs SET missing_partitions = array_append(missing_partitions, $2::text)
WHERE run_id = $1 AND NOT $2 = ANY(missing_partitions) AND cardinality(missing_partitions) < 100
