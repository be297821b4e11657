-- name: register_fetch
-- Register a fetch before its first row is staged.
INSERT INTO "prop_trading_model".recon_fetches (fetch_id, worker_id, table_name) VALUES ($1, $2, $3)

-- name: forget_fetch
-- Unregister a fetch without staged rows.
DELETE FROM "prop_trading_model".recon_fetches WHERE fetch_id = $1

-- name: get_dead_fetches
-- Fetches of workers without heartbeat within the lease, and those shared by runs that ended or wait
-- for an order.
SELECT fetch_id, table_name
FROM "prop_trading_model".recon_fetches AS f
WHERE CASE WHEN f.run_id IS NULL
    THEN NOT EXISTS (
        SELECT FROM "prop_trading_model".recon_workers AS w
        WHERE w.worker_id = f.worker_id AND w.heartbeat_at > now() - make_interval(secs => $1)
    )
    ELSE NOT EXISTS (
        SELECT FROM "prop_trading_model".recon_runs AS r
        WHERE r.run_id = f.run_id AND r.status IN ('queued', 'running')
    )
END

-- name: holds_any
-- Whether a fetch has a row of those asked for ($2), or a rejected one that may be theirs.
SELECT EXISTS (SELECT FROM "prop_trading_model".recon_stage_daily WHERE fetch_id = $1 AND (refused IS NOT NULL OR {{id}}::text = ANY($2::text[])))

-- name: leave_out_rows
-- Remove rows of a proven fetch before date $2; returns their counts by account and date.
WITH gone AS (
    DELETE FROM "prop_trading_model".recon_stage_daily WHERE fetch_id = $1 AND {{day}} < $2::date
    RETURNING account_id::text AS account_id, {{day}} AS day, {{count}} AS trades, {{net_profit}} AS net_profit, {{total_lots}} AS total_lots
)
SELECT account_id, day, count(*) AS rows, sum(trades)::bigint AS trades, sum(net_profit) AS net_profit, sum(total_lots) AS total_lots
FROM gone
GROUP BY account_id, day

-- name: renumber_first
-- Make the first remaining row number one, unless it is.
UPDATE "prop_trading_model".recon_stage_daily SET ordinal = 1
WHERE fetch_id = $1 AND ordinal = (SELECT min(ordinal) FROM "prop_trading_model".recon_stage_daily WHERE fetch_id = $1) AND ordinal > 1

-- name: delete_rows
-- Delete rows of a fetch ($1), except the first $2.
DELETE FROM "prop_trading_model".recon_stage_daily WHERE fetch_id = $1 AND ordinal > $2
