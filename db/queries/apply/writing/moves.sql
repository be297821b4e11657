-- name: withhold_moves
-- Withhold ($5) trades that upstream has under another date while their stored date is unsettled
-- (from $4 on). Impossible dates do not count as unsettled: their trades move.
WITH known AS MATERIALIZED (
    SELECT s.ordinal, coalesce(s.account_id, t.account_id) AS account_id, s.{{date}} AS new_date, t.{{date}} AS old_date
    FROM {{stage}} AS s
    JOIN {{raw}} AS t ON {{same_unit}} AND t.{{date}} <> s.{{date}}{{t_since}}
    LEFT JOIN (SELECT * FROM {{stage}} WHERE fetch_id = $1) AS also ON {{also_key}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND also.{{first_key}} IS NULL
      AND t.{{date}} BETWEEN $4::date AND date '9999-12-31'
), withheld AS (
    UPDATE {{stage}} AS s SET refused = $5 FROM (SELECT DISTINCT ordinal FROM known) AS k WHERE s.fetch_id = $1 AND s.ordinal = k.ordinal
)
SELECT account_id, array_agg(DISTINCT old_date) || array_agg(DISTINCT new_date) AS days FROM known GROUP BY account_id

-- name: get_written_elsewhere
-- Staged trades stored under another date by a later writer than the fetch ($4), who has newer
-- data.
SELECT s.account_id, array_agg(DISTINCT s.ordinal) AS ordinals
FROM {{stage}} AS s
JOIN {{raw}} AS t ON {{same_unit}} AND t.{{date}} <> s.{{date}}{{t_since}}
LEFT JOIN (SELECT * FROM {{stage}} WHERE fetch_id = $1) AS also ON {{also_key}}
WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND also.{{first_key}} IS NULL AND {{is_newer}}
GROUP BY s.account_id

-- name: move_trades
-- Move trades to upstream's date, or remove doubles stored under both, or under two other dates.
WITH known AS MATERIALIZED (
    SELECT {{t_key}}{{place}}, s.ordinal, s.{{date}} AS new_date, coalesce(s.account_id, t.account_id) AS owner, to_jsonb(t) AS old_row
    FROM {{stage}} AS s
    JOIN {{raw}} AS t ON {{same_unit}} AND t.{{date}} <> s.{{date}}{{t_since}}
    LEFT JOIN (SELECT * FROM {{stage}} WHERE fetch_id = $1) AS also ON {{also_key}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND also.{{first_key}} IS NULL
    ORDER BY {{t_key}}
    {{locked_to_go}}
), there AS MATERIALIZED (
    SELECT DISTINCT s.ordinal
    FROM (SELECT DISTINCT ordinal FROM known) AS k
    JOIN {{stage}} AS s ON s.fetch_id = $1 AND s.ordinal = k.ordinal
    JOIN {{raw}} AS t ON {{same_key}}
), judged AS (
    SELECT *, ordinal IN (SELECT ordinal FROM there) OR row_number() OVER (PARTITION BY ordinal ORDER BY {{date}}) > 1 AS doubled FROM known
), removed AS (
    DELETE FROM {{raw}} AS t USING judged AS m
    WHERE {{same_row}} AND m.doubled
    RETURNING m.owner, m.{{date}} AS old_date, NULL::date AS new_date, m.new_date AS right_date, m.old_row
), moved AS (
    UPDATE {{raw}} AS t SET {{date}} = m.new_date FROM judged AS m
    WHERE {{same_row}} AND NOT m.doubled
    RETURNING m.owner, m.{{date}} AS old_date, m.new_date, NULL::date AS right_date, m.old_row
), gone AS (
    SELECT * FROM removed UNION ALL SELECT * FROM moved
), copies AS (
    INSERT INTO prop_trading_model.recon_removed_rows (run_id, account_id, table_name, date, reason, right_date, row_data)
    SELECT $4, owner, $5, old_date, CASE WHEN right_date IS NULL THEN 'moved' ELSE 'removed' END, right_date, old_row FROM gone
)
SELECT owner AS account_id, count(*) AS rows, count(right_date) AS doubles, array_agg(DISTINCT old_date) || array_agg(DISTINCT new_date) FILTER (WHERE new_date IS NOT NULL) AS days
FROM gone
GROUP BY owner

-- name: reject_moves
-- Reject trades that cannot be moved; inserting them would double them.
WITH found AS MATERIALIZED (
    SELECT DISTINCT s.ordinal
    FROM {{stage}} AS s
    JOIN {{raw}} AS t ON {{same_unit}} AND t.{{date}} <> s.{{date}}{{t_since}}
    LEFT JOIN (SELECT * FROM {{stage}} WHERE fetch_id = $1) AS also ON {{also_key}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND also.{{first_key}} IS NULL
), told AS MATERIALIZED (
    SELECT s.ordinal, to_json(s) AS source FROM found AS f JOIN {{stage}} AS s ON s.fetch_id = $1 AND s.ordinal = f.ordinal
)
UPDATE {{stage}} AS s SET refused = $4, source = m.source
FROM told AS m
WHERE s.fetch_id = $1 AND s.ordinal = m.ordinal

-- name: move_shards
-- Move rows to upstream's {{shard}} in a distributed table, by delete and insert.
WITH known AS MATERIALIZED (
    SELECT {{t_key}}{{place}}, s.{{shard}} AS new_shard, t.account_id AS owner, {{day_of_t}} AS day, to_jsonb(t) AS old_row
    FROM {{stage}} AS s
    JOIN {{raw}} AS t ON {{same_key}} AND t.{{shard}} <> s.{{shard}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{held}} AND ({{is_theirs}} OR {{is_old}})
), removed AS (
    DELETE FROM {{raw}} AS t USING known AS m WHERE {{same_row}} RETURNING m.owner, m.day, m.new_shard, m.old_row
), stored AS (
    INSERT INTO {{raw}} ({{all_columns}})
    SELECT {{r_columns}}
    FROM removed AS m
    CROSS JOIN LATERAL jsonb_populate_record(NULL::{{raw}}, m.old_row || jsonb_build_object($7::text, m.new_shard)) AS r
), copies AS (
    INSERT INTO prop_trading_model.recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT $4, owner, $5, day, 'moved', old_row FROM removed
)
SELECT owner AS account_id, count(*) AS rows, array_agg(DISTINCT day) AS days FROM removed GROUP BY owner
