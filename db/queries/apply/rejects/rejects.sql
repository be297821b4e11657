-- name: reject_doubled_rows
-- Reject rows that share a key of {{raw}}.
UPDATE {{stage}} AS s SET refused = $2, source = to_json(s)
FROM (SELECT {{key}} FROM {{stage}} WHERE fetch_id = $1 AND refused IS NULL GROUP BY {{key}} HAVING count(*) > 1) AS d
WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{same_doubled}}

-- name: has_pins
-- Whether table $1 has pins.
SELECT EXISTS (SELECT FROM prop_trading_model.recon_pins WHERE table_name = $1)

-- name: release_equal_pins
-- Release pins of table $2 whose row upstream now sends as stored, on the same date, unless a
-- double of it is pinned.
WITH equal AS MATERIALIZED (
    SELECT {{unit_of_s}} AS row_key
    FROM {{stage}} AS s
    JOIN prop_trading_model.recon_pins AS p ON p.table_name = $2 AND p.row_key = {{unit_of_s}}
    JOIN {{raw}} AS t ON {{same_key}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND p.date IS NOT DISTINCT FROM {{day_of_s}} AND p.doubled_dates <@ ARRAY[{{day_of_s}}] AND NOT {{differ}}
)
DELETE FROM prop_trading_model.recon_pins AS p USING equal AS e WHERE p.table_name = $2 AND p.row_key = e.row_key

-- name: reject_pinned
-- Reject rows that meet a pin of table $2 on any date, noting a date other than the pinned row's.
WITH met AS (
    UPDATE {{stage}} AS s SET refused = {{pinned}}
    FROM prop_trading_model.recon_pins AS p
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND p.table_name = $2 AND p.row_key = {{unit_of_s}}
    RETURNING p.row_key, {{day_of_s}} AS day
)
UPDATE prop_trading_model.recon_pins AS p SET upstream_date = met.day
FROM met
WHERE p.table_name = $2 AND p.row_key = met.row_key AND met.day IS DISTINCT FROM coalesce(p.upstream_date, p.date)

-- name: reject_unfit_rows
-- Reject rows that violate CHECK or NOT NULL in columns that were sent.
UPDATE {{stage}} SET refused = $2, source = to_json({{stage_name}}) WHERE fetch_id = $1 AND refused IS NULL AND {{are_sent}} AND NOT ({{condition}})

-- name: reject_rows
-- Reject staged rows for one reason.
UPDATE {{stage}} AS s SET refused = $3, source = to_json(s) WHERE s.fetch_id = $1 AND s.ordinal = ANY($2::bigint[])
