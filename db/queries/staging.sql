-- name: register_fetch
-- Note whose fetch this is before its first row is staged.
INSERT INTO prop_trading_model.recon_fetches (fetch_id, worker_id, table_name) VALUES ($1, $2, $3)

-- name: forget_fetch
-- The fetch has no rows in staging any more.
DELETE FROM prop_trading_model.recon_fetches WHERE fetch_id = $1

-- name: purge_dead_fetches
-- Fetches whose worker has no heartbeat within the lease.
SELECT fetch_id, table_name
FROM prop_trading_model.recon_fetches AS f
WHERE NOT EXISTS (
    SELECT FROM prop_trading_model.recon_workers AS w
    WHERE w.worker_id = f.worker_id AND w.heartbeat_at > now() - make_interval(secs => $1)
)
