-- name: note_losses
-- Record losses of a run ($1) by accounts ($3: rows $4, whether upstream lowers them $5, or only
-- too many rows would be rewritten $6), counted by process $2.
INSERT INTO "prop_trading_model".recon_run_losses AS l (run_id, account_id, worker_id, rows, lowers, rewrites)
SELECT $1, noted.account_id, $2, noted.rows, noted.lowers, noted.rewrites
FROM unnest($3::text[], $4::bigint[], $5::boolean[], $6::boolean[]) AS noted (account_id, rows, lowers, rewrites)
ON CONFLICT (run_id, account_id) DO UPDATE SET
    worker_id = excluded.worker_id, rows = l.rows + excluded.rows, lowers = l.lowers OR excluded.lowers,
    rewrites = (l.lowers OR excluded.lowers) AND (l.rewrites OR NOT l.lowers) AND (excluded.rewrites OR NOT excluded.lowers)

-- name: lock_losses
-- Serialise counting losses of run $1 until the end of the transaction.
SELECT pg_advisory_xact_lock(hashtext('trade-recon losses prop_trading_model'), hashtext($1))

-- name: release_losses
-- Take back rows ($3) of accounts ($2) counted by a run ($1) and not removed; that upstream lowers
-- them stays true.
UPDATE "prop_trading_model".recon_run_losses AS l
SET rows = l.rows - less.rows
FROM unnest($2::text[], $3::bigint[]) AS less (account_id, rows)
WHERE l.run_id = $1 AND l.account_id = less.account_id

-- name: has_other_workers
-- Whether processes other than $1 had a heartbeat within $2 seconds.
SELECT EXISTS (SELECT FROM "prop_trading_model".recon_workers WHERE worker_id <> $1 AND heartbeat_at > now() - make_interval(secs => $2))

-- name: get_losses_elsewhere
-- Counts of other processes than $2 for a run: accounts lowered by upstream, accounts with too many
-- rewritten rows, and lost rows.
SELECT count(*) FILTER (WHERE lowers) AS lowered, count(*) FILTER (WHERE lowers AND rewrites) AS rewritten, coalesce(sum(rows), 0)::bigint AS lost
FROM "prop_trading_model".recon_run_losses
WHERE run_id = $1 AND worker_id <> $2
