-- name: note_under_way
-- Record progress of batches ($2, by run; null: none) of process $1.
UPDATE prop_trading_model.recon_workers SET under_way = $2 WHERE worker_id = $1

-- name: get_under_way
-- Total progress of a run's ($1) batches in processes with a heartbeat within $2 seconds.
SELECT coalesce(sum((w.under_way -> $1 ->> 'accounts')::bigint), 0)::bigint AS accounts,
    coalesce(sum((w.under_way -> $1 ->> 'done')::bigint), 0)::bigint AS done,
       coalesce(sum((w.under_way -> $1 ->> 'requests')::bigint), 0)::bigint AS requests,
       coalesce(sum((w.under_way -> $1 ->> 'rows_written')::bigint), 0)::bigint AS rows_written
FROM prop_trading_model.recon_workers AS w
WHERE w.under_way ? $1 AND w.heartbeat_at > now() - make_interval(secs => $2)
