-- name: check_deferred
-- Check deferred constraints now: what waits for others at the commit then does not hold the feed's
-- lock.
SET CONSTRAINTS ALL IMMEDIATE

-- name: lock_feed
-- Let no other transaction give out ids of the feed before this one has committed. The wait may be
-- longer than for locks on rows, since this lock is only held through a commit of ours.
WITH patience AS MATERIALIZED (SELECT set_config('lock_timeout', '5s', true))
SELECT pg_advisory_xact_lock(hashtext('trade-recon changes'), hashtext('prop_trading_model'))
    FROM patience

-- name: note_changes
-- Record the slices that a transaction wrote: one row for each account, its dates as ranges, and
-- how many rows were inserted ($5) on which of them.
INSERT INTO "prop_trading_model".recon_changes
    (account_id, table_name, days, entries, run_id, inserted_days, inserted_rows)
SELECT account_id, $2, range_agg(daterange(day, day, '[]')) FILTER (WHERE day IS NOT NULL),
    greatest(count(DISTINCT day), 1), $1,
       array_agg(day ORDER BY day) FILTER (WHERE inserted > 0),
       array_agg(inserted ORDER BY day) FILTER (WHERE inserted > 0)
FROM (
    -- Nobody could walk a range up to an infinite date: it is told as the furthest one that a
    -- calendar has.
    SELECT account_id, CASE day WHEN 'infinity' THEN '9999-12-31' WHEN '-infinity' THEN '0001-01-01'
        ELSE day END AS day, inserted
    FROM unnest($3::text[], $4::date[], $5::integer[]) AS written (account_id, day, inserted)
) AS slices
GROUP BY account_id, day IS NULL
ORDER BY account_id

-- name: get_changes
-- The feed after change $1: as many whole changes as fit into $2 entries, at least one, each
-- unfolded to its dates.
WITH waiting AS (
    SELECT change_id, entries FROM "prop_trading_model".recon_changes WHERE change_id > $1
        ORDER BY change_id LIMIT $2::bigint + 1
), summed AS (
    SELECT change_id, row_number() OVER (ORDER BY change_id) AS place,
        sum(entries) OVER (ORDER BY change_id) AS entries FROM waiting
), page AS (
    SELECT max(change_id) AS last, count(*) < (SELECT count(*) FROM waiting) AS more FROM summed
        WHERE place = 1 OR entries <= $2
)
SELECT c.change_id, c.account_id, c.table_name, dates.day, c.changed_at, c.run_id,
    (SELECT more FROM page) AS more
FROM "prop_trading_model".recon_changes AS c
LEFT JOIN LATERAL (
    -- Counted in whole days: a series of times would stumble where a time zone has no midnight.
    SELECT lower(stretch) + step AS day FROM unnest(c.days) AS stretch,
        generate_series(0, upper(stretch) - lower(stretch) - 1) AS step
) AS dates ON true
-- The end as a value, not as a join: it bounds the scan of the key, which would read on to the
-- feed's end.
WHERE c.change_id > $1 AND c.change_id <= (SELECT last FROM page)
ORDER BY c.change_id, dates.day

-- name: get_feed_end
-- The last id that was given out, even if its change was deleted since; null before the first.
SELECT pg_sequence_last_value(pg_get_serial_sequence('"prop_trading_model".recon_changes',
    'change_id')::regclass)
