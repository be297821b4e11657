-- name: plan_read
-- Plan a read of run $1: dates ($3) of table $2, of which $4 are gaps; most ($5) and expected ($6)
-- rows.
INSERT INTO prop_trading_model.recon_shared_reads
    (run_id, table_name, days, gaps, most_rows, expected_rows)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING

-- name: get_reads
-- The reads of a run that are not dropped.
SELECT table_name, days, gaps, most_rows, expected_rows
FROM prop_trading_model.recon_shared_reads
WHERE run_id = $1 AND state <> 'dropped'

-- name: get_read
-- One read.
SELECT state, fetch_id, rows, horizon, has_unsent, reason
FROM prop_trading_model.recon_shared_reads
WHERE run_id = $1 AND table_name = $2 AND days = $3::date[]

-- name: take_read
-- Let worker $4 read it, unless another live one (lease $5) does; drop it if its rows, $6 bytes
-- each, and those of all other reads exceed $7 bytes.
UPDATE prop_trading_model.recon_shared_reads AS r
SET read_by = $4,
    state = CASE WHEN room.is_left THEN r.state ELSE 'dropped' END,
    reason = CASE WHEN NOT room.is_left THEN 'staging has no room for it' END
FROM (
    SELECT coalesce(sum(coalesce(o.bytes, o.expected_rows * $6::bigint)), 0) + (
        SELECT w.expected_rows * $6::bigint FROM prop_trading_model.recon_shared_reads AS w
        WHERE w.run_id = $1 AND w.table_name = $2 AND w.days = $3::date[]
    ) <= $7::bigint AS is_left
    FROM prop_trading_model.recon_shared_reads AS o
    JOIN prop_trading_model.recon_runs AS run ON run.run_id = o.run_id
        AND run.status IN ('queued', 'running')
    WHERE (o.state = 'proven' OR o.state = 'planned' AND o.read_by IS NOT NULL)
        AND (o.run_id, o.table_name, o.days) <> ($1, $2, $3::date[])
) AS room
WHERE r.run_id = $1 AND r.table_name = $2 AND r.days = $3::date[] AND r.state = 'planned'
  AND (r.read_by IS NULL OR r.read_by = $4 OR NOT EXISTS (
      SELECT FROM prop_trading_model.recon_workers AS w
      WHERE w.worker_id = r.read_by AND w.heartbeat_at > now() - make_interval(secs => $5)
  ))
RETURNING r.state

-- name: give_read_back
-- Worker $4 reads it no more.
UPDATE prop_trading_model.recon_shared_reads SET read_by = NULL
WHERE run_id = $1 AND table_name = $2 AND days = $3::date[] AND state = 'planned' AND read_by = $4

-- name: drop_read
-- Have its accounts asked for by id instead, for reason $4.
UPDATE prop_trading_model.recon_shared_reads SET state = 'dropped', reason = $4
WHERE run_id = $1 AND table_name = $2 AND days = $3::date[] AND state <> 'dropped'

-- name: keep_read
-- Hand fetch $5 of worker $4 over to the run.
WITH kept AS (
    UPDATE prop_trading_model.recon_shared_reads AS r
    SET state = 'proven', fetch_id = $5, rows = $6, bytes = $7, horizon = $8, has_unsent = $9
    WHERE r.run_id = $1 AND r.table_name = $2 AND r.days = $3::date[] AND r.state = 'planned'
        AND r.read_by = $4
    RETURNING 1
)
UPDATE prop_trading_model.recon_fetches SET run_id = $1
WHERE fetch_id = $5 AND EXISTS (SELECT FROM kept)

-- name: measure_fetch
-- Bytes of a staged fetch; null if a row names no {{owner}}.
SELECT CASE WHEN coalesce(bool_and({{owner}} IS NOT NULL), true)
    THEN coalesce(sum(pg_column_size(s.*)), 0)::bigint END
FROM {{stage}} AS s
WHERE fetch_id = $1

-- name: lock_fetch
-- Whether the fetch is registered and its first row is there; it is not dropped until the commit.
WITH locked AS MATERIALIZED (
    SELECT fetch_id FROM prop_trading_model.recon_fetches WHERE fetch_id = $1 FOR KEY SHARE
)
SELECT EXISTS (
    SELECT FROM locked
    WHERE $2::bigint = 0 OR (SELECT count(*) FROM {{stage}} WHERE fetch_id = $1 AND ordinal = 1) > 0
)

-- name: copy_rows
-- Copy the rows of {{owner}} in $3 from fetch $2 to fetch $1; their number by account.
WITH copied AS (
    INSERT INTO {{stage}} (fetch_id, ordinal, unsent, nulled, refused, source, {{columns}})
    SELECT $1, row_number() OVER (ORDER BY ordinal), unsent, nulled, refused, source, {{columns}}
    FROM {{stage}}
    WHERE fetch_id = $2 AND {{are_of_days}} AND {{owner}} = ANY($3::text[]::{{owner_type}}[])
    RETURNING account_id
)
SELECT account_id, count(*) AS rows FROM copied GROUP BY account_id
