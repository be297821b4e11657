-- name: lock_claims
-- The accounts that are still ours, locked so that nobody takes them over before the commit.
SELECT account_id FROM prop_trading_model.trade_recon
WHERE account_id = ANY($1::text[]) AND claim_id = $2
ORDER BY account_id
FOR NO KEY UPDATE

-- name: get_fingerprints
-- What the slices of {{raw}} look like now: any insert, update or delete by someone else changes the count or the sum.
SELECT account_id, sum(rows)::bigint AS rows, sum(versions)::bigint AS versions
FROM (
    SELECT account_id::text, count(*) AS rows, sum(t.xmin::text::bigint) AS versions
    FROM {{raw}} AS t
    WHERE account_id = ANY($1::text[]) AND {{in_slice_second}}
    GROUP BY account_id
    {{without_id}}
) AS parts
GROUP BY account_id

-- name: get_fingerprints_without_id
-- For trades: those without an id count for each account that ever had their natural key, since ingestion fills the id later.
UNION ALL
SELECT i.account_id, count(*), sum(t.xmin::text::bigint)
FROM prop_trading_model.recon_identity AS i
JOIN {{raw}} AS t ON t.account_id IS NULL AND t.login = i.login AND t.platform::text = i.platform AND coalesce(t.broker::text, '') = i.broker
WHERE i.account_id = ANY($1::text[]) AND {{in_slice_second}}
GROUP BY i.account_id

-- name: resolve_staged_trades
-- Give staged trades the one account that held their natural key on their date.
UPDATE {{stage}} AS s SET account_id = (
    SELECT min(i.account_id)
    FROM prop_trading_model.recon_identity AS i
    WHERE i.login = s.login AND i.platform = s.platform::text AND i.broker = coalesce(s.broker::text, '')
      AND (s.trade_date BETWEEN i.valid_from AND i.valid_to OR s.trade_date >= i.open_from)
    HAVING count(DISTINCT i.account_id) = 1
)
WHERE s.fetch_id = $1 AND s.refused IS NULL

-- name: get_strangers
-- Accounts of $2 under whose logins upstream sends trades with a natural key that no account has, and how many.
SELECT owner.account_id, count(*) AS rows, min(concat_ws('/', s.login, s.platform, s.broker)) AS natural_key
FROM {{stage}} AS s
JOIN unnest($2::text[], $3::text[]) AS owner (account_id, login) ON owner.login = s.login
WHERE s.fetch_id = $1 AND s.refused IS NULL AND s.account_id IS NULL
  AND NOT EXISTS (
      SELECT FROM prop_trading_model.recon_identity AS i
      WHERE i.login = s.login AND i.platform = s.platform::text AND i.broker = coalesce(s.broker::text, '')
  )
GROUP BY owner.account_id

-- name: get_doubled_keys
-- Rows of upstream that share a key of {{raw}}: the table cannot hold them side by side.
SELECT unnest(array_agg(ordinal)) AS ordinal FROM {{stage}} WHERE fetch_id = $1 AND refused IS NULL GROUP BY {{plain_key}} HAVING count(*) > 1

-- name: get_staged_months
-- The months that staged rows fall into.
SELECT DISTINCT date_trunc('month', {{date}})::date AS month FROM {{stage}} WHERE fetch_id = $1 AND {{date}} IS NOT NULL

-- name: count_staged
-- How many staged rows each account has.
SELECT account_id, count(*) AS rows FROM {{stage}} WHERE fetch_id = $1 AND account_id IS NOT NULL GROUP BY account_id

-- name: create_partitions
-- Make the monthly partitions that a heal needs.
SELECT prop_trading_model.recon_create_partitions($1, $2::date[])

-- name: move_trades
-- Trades that upstream has under another date than we: moved there, or put aside where we have them under both, or under two others.
WITH known AS MATERIALIZED (
    SELECT {{t_key}}, s.ordinal, s.{{date}} AS new_date, coalesce(s.account_id, t.account_id) AS owner, to_jsonb(t) AS old_row,
           EXISTS (SELECT FROM {{raw}} AS there WHERE {{there_key}}) AS there
    FROM {{stage}} AS s
    JOIN {{raw}} AS t ON {{same_unit}} AND t.{{date}} <> s.{{date}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}}
      AND NOT EXISTS (SELECT FROM {{stage}} AS also WHERE also.fetch_id = $1 AND {{also_key}})
    ORDER BY {{t_key}}
    FOR UPDATE OF t
), judged AS (
    SELECT *, there OR row_number() OVER (PARTITION BY ordinal ORDER BY {{plain_date}}) > 1 AS doubled FROM known
), copies AS (
    INSERT INTO prop_trading_model.recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT $4, owner, $5, {{plain_date}}, 'moved', old_row FROM judged
), removed AS (
    DELETE FROM {{raw}} AS t USING judged AS m WHERE {{same_key}} AND m.doubled RETURNING m.owner
), moved AS (
    UPDATE {{raw}} AS t SET {{plain_date}} = m.new_date FROM judged AS m WHERE {{same_key}} AND NOT m.doubled RETURNING m.owner
)
SELECT owner AS account_id, count(*) AS rows FROM (SELECT owner FROM removed UNION ALL SELECT owner FROM moved) AS gone GROUP BY owner

-- name: overwrite_rows
-- Stored rows that differ from upstream in a field that it sent: a copy kept, then only those written, in key order. $7 limits them to some ordinals.
WITH changed AS MATERIALIZED (
    SELECT {{t_key}}, to_jsonb(t) AS old_row, {{figures_differ}} AS figures, {{new_values}}
    FROM {{stage}} AS s
    JOIN {{raw}} AS t ON {{same_key_s}}
    WHERE s.fetch_id = $1 AND s.shape = $6 AND s.refused IS NULL AND {{held}}
      AND ($7::bigint[] IS NULL OR s.ordinal = ANY($7::bigint[]))
      AND ({{t_values}}) IS DISTINCT FROM ({{s_values}})
    ORDER BY {{t_key}}
    FOR NO KEY UPDATE OF t
), copies AS (
    INSERT INTO prop_trading_model.recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT $4, old_row ->> 'account_id', $5, {{day_of_m}}, 'overwritten', old_row FROM changed AS m
), written AS (
    UPDATE {{raw}} AS t SET {{assignments}}
    FROM changed AS m
    WHERE {{same_key}}
    RETURNING t.account_id, {{day_of_t}} AS day, m.figures
)
SELECT account_id, count(*) AS rows, array_agg(DISTINCT day) FILTER (WHERE figures) AS days FROM written GROUP BY account_id

-- name: insert_rows
-- Rows of upstream that are not stored, in key order. $5 limits them to some ordinals, to find one that is refused.
WITH written AS (
    INSERT INTO {{raw}} ({{columns}})
    SELECT {{s_columns}}
    FROM {{stage}} AS s
    WHERE s.fetch_id = $1 AND s.shape = $4 AND s.refused IS NULL AND {{held}}
      AND ($5::bigint[] IS NULL OR s.ordinal = ANY($5::bigint[]))
      AND NOT EXISTS (SELECT FROM {{raw}} AS t WHERE {{same_key_s}})
    ORDER BY {{s_key}}
    RETURNING account_id, {{plain_day}} AS day
)
SELECT account_id, count(*) AS rows, array_agg(DISTINCT day) AS days FROM written GROUP BY account_id

-- name: get_writable
-- The ordinals of the rows of one shape that may be written, to search among them for one that is refused.
SELECT s.ordinal
FROM {{stage}} AS s
WHERE s.fetch_id = $1 AND s.shape = $4 AND s.refused IS NULL AND {{held}}
ORDER BY s.ordinal

-- name: refuse_row
-- A row that the table's own constraints refuse: it stays in staging with the reason.
UPDATE {{stage}} AS s SET refused = $3, source = to_json(s) WHERE s.fetch_id = $1 AND s.ordinal = $2

-- name: settle_stale_rows
-- Stored rows that upstream does not send. Removed, a copy kept, only where upstream has rows of the same account and date
-- whose count agrees with daily, and daily was read in this run ($6, $7: accounts and dates; date null: all); the others stay and are reported.
WITH sent AS (
    SELECT account_id, {{plain_date}} AS day, {{sent_trades}} AS trades
    FROM {{stage}}
    WHERE fetch_id = $1 AND account_id = ANY($2::text[])
    GROUP BY account_id, {{plain_date}}
), stale AS MATERIALIZED (
    SELECT {{t_key}}, t.account_id AS owner, {{day_of_t}} AS day, {{row_trades}} AS trades, to_jsonb(t) AS old_row,
           -- A row of the fetch that could not be read may be any stored row: then none is surplus.
           {{removable}} AND sent.account_id IS NOT NULL AND sent.trades = coalesce(daily.num_trades, 0)
               AND EXISTS (
                   SELECT FROM unnest($6::text[], $7::date[]) AS witnessed (account_id, day)
                   WHERE witnessed.account_id = t.account_id AND coalesce(witnessed.day = {{day_of_t}}, witnessed.day IS NULL)
               )
               AND NOT EXISTS (SELECT FROM {{stage}} WHERE fetch_id = $1 AND refused LIKE 'cannot be read%') AS goes
    FROM {{raw}} AS t
    LEFT JOIN sent ON sent.account_id = t.account_id AND sent.day = {{day_of_t}}
    LEFT JOIN {{daily}} AS daily ON daily.account_id = t.account_id AND daily.date = {{day_of_t}}
    WHERE t.account_id = ANY($2::text[]) AND {{in_slice}}
      AND NOT EXISTS (SELECT FROM {{stage}} AS s WHERE s.fetch_id = $1 AND {{same_key_s}})
    ORDER BY {{t_key}}
    FOR UPDATE OF t
), copies AS (
    INSERT INTO prop_trading_model.recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT $4, owner, $5, day, 'removed', old_row FROM stale WHERE goes
), removed AS (
    DELETE FROM {{raw}} AS t USING stale AS m WHERE {{same_key}} AND m.goes RETURNING m.owner
)
SELECT owner AS account_id, day, coalesce(goes, false) AS goes, count(*) AS rows, sum(trades)::bigint AS trades FROM stale GROUP BY owner, day, goes

-- name: get_refused
-- Rows of a fetch that could not be held, and numbers that were out of range, with the accounts of $2 that they belong to.
SELECT
    CASE WHEN account_id IS NOT NULL THEN ARRAY[account_id::text]
         ELSE ARRAY(
             SELECT DISTINCT i.account_id FROM prop_trading_model.recon_identity AS i
             WHERE i.account_id = ANY($2::text[]) AND i.login = coalesce(s.login, s.source ->> 'login')
         )
    END AS owners,
    ordinal, refused, nulled, coalesce(source, to_json(s))::text AS source, {{key_text}} AS row_key
FROM {{stage}} AS s
WHERE fetch_id = $1 AND (refused IS NOT NULL OR nulled IS NOT NULL)

-- name: set_aside
-- Keep a row that the warehouse cannot hold as it was sent, with the reason.
INSERT INTO prop_trading_model.recon_set_aside_rows (table_name, row_key, account_id, reason, row_data, run_id)
VALUES ($1, $2, $3, $4, $5::json, $6)
ON CONFLICT (table_name, row_key) DO UPDATE SET reason = excluded.reason, row_data = excluded.row_data, run_id = excluded.run_id, last_seen = now()

-- name: begin_descents
-- Dates whose daily rows an audit's heal changed: their finer rows are to be read, in this run or, if it breaks off, in the next.
INSERT INTO prop_trading_model.recon_descents (account_id, date)
SELECT * FROM unnest($1::text[], $2::date[])
ON CONFLICT DO NOTHING

-- name: end_descents
-- Dates whose finer rows were read.
DELETE FROM prop_trading_model.recon_descents AS d
USING unnest($1::text[], $2::date[]) AS done (account_id, date)
WHERE d.account_id = done.account_id AND d.date = done.date
