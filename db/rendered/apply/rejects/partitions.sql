-- name: get_staged_days
-- The dates that staged rows have.
SELECT DISTINCT "date" AS day FROM "prop_trading_model".recon_stage_daily WHERE fetch_id = $1 AND refused IS NULL AND "date" IS NOT NULL

-- name: get_partition_gaps
-- Those of the days that no partition of the table takes, each with the stretch of its month that none takes.
SELECT day, gap_from, gap_to FROM "prop_trading_model".recon_partition_gaps($1, $2::date[])

-- name: get_partition_years
-- The first and the last year of which the table has partitions.
SELECT first_year, last_year FROM "prop_trading_model".recon_partition_years($1)

-- name: get_partition_state
-- Whether a table has the name ($1) that a partition would have, and from which date on tables ($2) have partitions.
SELECT to_regclass($1) IS NOT NULL AS is_there, "prop_trading_model".recon_held_from($2::text[]) AS held_from

-- name: get_first_trade_year
-- The year of the first trade that alltime tells: it reads all of alltime, and is asked for only where years before the partitions are sent.
SELECT extract(year FROM min(first_trade_date::date))::integer FROM "prop_trading_model".raw_metrics_alltime WHERE first_trade_date::date BETWEEN '1990-01-01' AND '2199-12-31'

-- name: reject_days
-- Rows of days that have no partition.
UPDATE "prop_trading_model".recon_stage_daily AS s SET refused = $3 WHERE s.fetch_id = $1 AND s.refused IS NULL AND "date" = ANY($2::date[])

-- name: create_partitions
-- Make the monthly partitions that a heal needs.
SELECT "prop_trading_model".recon_create_partitions($1, $2::date[])

-- name: note_missing_partitions
-- Why rows that a run ($1) fetched have no place: said once ($2), whichever accounts they are of.
UPDATE "prop_trading_model".recon_runs SET missing_partitions = array_append(missing_partitions, $2::text)
WHERE run_id = $1 AND NOT $2 = ANY(missing_partitions) AND cardinality(missing_partitions) < 100
