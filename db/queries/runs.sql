-- name: note_missing_partitions
-- Why rows that a run ($1) fetched have no place: said once ($2), whichever accounts they are of.
UPDATE prop_trading_model.recon_runs SET missing_partitions = array_append(missing_partitions, $2::text)
WHERE run_id = $1 AND NOT $2 = ANY(missing_partitions) AND cardinality(missing_partitions) < 100
