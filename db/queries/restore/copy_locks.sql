-- name: lock_restoring
-- One restore at a time: otherwise two copies of one row could both find its place empty, which no
-- unique key need prevent. Grants memory to sort a set's wide rows without a file.
SELECT pg_advisory_xact_lock(hashtext('trade-recon restores'), hashtext('prop_trading_model')),
       set_config('work_mem', greatest(pg_size_bytes(current_setting('work_mem')) / 1024, 65536) || 'kB', true)

-- name: lock_copies
-- Lock copies; returns when each was restored.
SELECT removed_id, restored_at FROM prop_trading_model.recon_removed_rows WHERE removed_id = ANY($1::bigint[]) ORDER BY removed_id FOR UPDATE

-- name: mark_restored_rows
-- Mark copies as restored.
UPDATE prop_trading_model.recon_removed_rows SET restored_at = clock_timestamp() WHERE removed_id = ANY($1::bigint[])
