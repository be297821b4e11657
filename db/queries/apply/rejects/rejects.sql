-- name: reject_doubled_rows
-- Rows of upstream that share a key of {{raw}}: the table cannot hold them side by side.
UPDATE {{stage}} AS s SET refused = $2, source = to_json(s)
FROM (SELECT {{key}} FROM {{stage}} WHERE fetch_id = $1 AND refused IS NULL GROUP BY {{key}} HAVING count(*) > 1) AS d
WHERE s.fetch_id = $1 AND s.refused IS NULL AND {{same_doubled}}

-- name: has_pins
-- Whether rows of the table $1 are pinned.
SELECT EXISTS (SELECT FROM prop_trading_model.recon_pins WHERE table_name = $1)

-- name: release_equal_pins
-- Pinned rows of the table $2 for which upstream says now what is stored, under the same date: they need no pin any more, if no double of them is pinned.
WITH equal AS MATERIALIZED (
    SELECT {{unit_of_s}} AS row_key
    FROM {{stage}} AS s
    JOIN prop_trading_model.recon_pins AS p ON p.table_name = $2 AND p.row_key = {{unit_of_s}}
    JOIN {{raw}} AS t ON {{same_key}}
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND p.date IS NOT DISTINCT FROM {{day_of_s}} AND p.doubled_dates <@ ARRAY[{{day_of_s}}] AND NOT {{differ}}
)
DELETE FROM prop_trading_model.recon_pins AS p USING equal AS e WHERE p.table_name = $2 AND p.row_key = e.row_key

-- name: reject_pinned
-- Rows of upstream that meet a pinned row of the table $2, on whatever date: nothing of them is written. Another date than the pinned row has is noted.
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
-- Rows that a CHECK or NOT NULL of the table refuses, as far as the columns were sent.
UPDATE {{stage}} SET refused = $2, source = to_json({{stage_name}}) WHERE fetch_id = $1 AND refused IS NULL AND {{are_sent}} AND NOT ({{condition}})

-- name: reject_rows
-- Rows that the table does not take for one reason: they stay in staging with it.
UPDATE {{stage}} AS s SET refused = $3, source = to_json(s) WHERE s.fetch_id = $1 AND s.ordinal = ANY($2::bigint[])
