-- name: note_order
-- Record an order ($1) about a run ($2, null: none), with its reason ($3).
INSERT INTO prop_trading_model.recon_orders (what, run_id, reason) VALUES ($1, $2, $3)

-- name: get_orders_of_run
-- Orders about a run, oldest first, at most $2.
SELECT what AS "order", reason, given_at FROM prop_trading_model.recon_orders WHERE run_id = $1
    ORDER BY order_id LIMIT $2
