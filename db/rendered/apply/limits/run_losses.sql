-- name: note_losses
-- What a run ($1) takes from accounts ($3: rows $4, and whether upstream lowers them, $5, or only too many rows would be rewritten, $6), counted by
-- the process $2 that writes or holds them.
INSERT INTO "prop_trading_model".recon_run_losses AS l (run_id, account_id, worker_id, rows, lowers, rewrites)
SELECT $1, noted.account_id, $2, noted.rows, noted.lowers, noted.rewrites
FROM unnest($3::text[], $4::bigint[], $5::boolean[], $6::boolean[]) AS noted (account_id, rows, lowers, rewrites)
ON CONFLICT (run_id, account_id) DO UPDATE SET
    worker_id = excluded.worker_id, rows = l.rows + excluded.rows, lowers = l.lowers OR excluded.lowers,
    rewrites = (l.lowers OR excluded.lowers) AND (l.rewrites OR NOT l.lowers) AND (excluded.rewrites OR NOT excluded.lowers)

-- name: lock_losses
-- One process after the other counts what run $1 takes: until the end of the transaction.
SELECT pg_advisory_xact_lock(hashtext('trade-recon losses prop_trading_model'), hashtext($1))

-- name: release_losses
-- Rows ($3) of accounts ($2) that a run ($1) counted and does not take after all; that upstream lowers them stays true.
UPDATE "prop_trading_model".recon_run_losses AS l
SET rows = l.rows - less.rows
FROM unnest($2::text[], $3::bigint[]) AS less (account_id, rows)
WHERE l.run_id = $1 AND l.account_id = less.account_id

-- name: has_other_workers
-- Whether processes beside $1 gave a sign of life within $2 seconds.
SELECT EXISTS (SELECT FROM "prop_trading_model".recon_workers WHERE worker_id <> $1 AND heartbeat_at > now() - make_interval(secs => $2))

-- name: get_losses_elsewhere
-- What other processes than $2 counted for a run: accounts that upstream lowers, or of which too many rows would be rewritten, and rows that they lose.
SELECT count(*) FILTER (WHERE lowers) AS lowered, count(*) FILTER (WHERE lowers AND rewrites) AS rewritten, coalesce(sum(rows), 0)::bigint AS lost
FROM "prop_trading_model".recon_run_losses
WHERE run_id = $1 AND worker_id <> $2
