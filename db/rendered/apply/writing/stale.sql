-- name: delete_doubled_rows
-- Delete doubled rows of a table without unique key, keeping one and copies of the others. All stay
-- on unsettled dates (from $7 on), as does a row under an id of none of these accounts that a later
-- writer than the fetch ($6) may have written.
WITH stored AS MATERIALIZED (
    SELECT t."account_id", t."date", t."hour", coalesce(t.account_id, s.account_id) AS owner, to_jsonb(t) AS old_row,
           row_number() OVER (PARTITION BY s.ordinal ORDER BY t.account_id IS DISTINCT FROM s.account_id, t.tableoid, t.ctid) AS copy
    FROM "prop_trading_model".recon_stage_hourly AS s
    JOIN "prop_trading_model".raw_metrics_hourly AS t ON t."account_id" = s."account_id" AND t."date" = s."date" AND t."hour" = s."hour"
    WHERE s.fetch_id = $1 AND s.refused IS NULL AND s.account_id = ANY($2::text[]) AND (($3::date[] IS NULL AND s."date" BETWEEN '0001-01-01' AND '9999-12-31') OR s."date" = ANY($3::date[])) AND (true OR (age(t.xmin) > pg_current_xact_id()::text::bigint - $6::bigint OR age(t.xmin) <= 0))
), removed AS (
    DELETE FROM "prop_trading_model".raw_metrics_hourly AS t USING stored AS m
    WHERE t."account_id" = m."account_id" AND t."date" = m."date" AND t."hour" = m."hour" AND m.copy > 1 AND coalesce(m."date" < $7::date, true)
    RETURNING m.owner, m."date" AS day, m.old_row
), copies AS (
    INSERT INTO "prop_trading_model".recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT $4, owner, $5, day, 'removed', old_row FROM removed
)
SELECT owner AS account_id, true AS goes, count(*) AS rows, array_agg(DISTINCT day) AS days FROM removed GROUP BY owner
UNION ALL
SELECT m.owner, false, count(*), array_agg(DISTINCT m."date") FROM stored AS m WHERE m.copy > 1 AND m."date" >= $7::date GROUP BY m.owner

-- name: delete_stale_rows
-- Delete stored rows that upstream does not send, keeping copies, only where upstream's rows of the
-- same account and date agree with daily as read in this run ($6, $7: accounts and dates; date
-- null: all); others are reported. None is deleted where a row of upstream was rejected (known
-- before, or $8, $9 likewise), as the stored one may be its remainder, nor on unsettled dates (from
-- $11 on).
WITH sent AS MATERIALIZED (
    SELECT account_id, "date" AS day, CASE WHEN bool_or('num_trades (no count)' = ANY(nulled)) IS NOT TRUE THEN coalesce(sum("prop_trading_model".recon_count(num_trades)), 0) END AS trades
    FROM "prop_trading_model".recon_stage_hourly AS s
    WHERE fetch_id = $1 AND account_id = ANY($2::text[]) AND (($3::date[] IS NULL AND s."date" BETWEEN '0001-01-01' AND '9999-12-31') OR s."date" = ANY($3::date[]))
    GROUP BY account_id, "date"
), unheld AS MATERIALIZED (
    -- A row of no account here is assigned by its login, if readable.
    SELECT DISTINCT coalesce(s.account_id, i.account_id) AS account_id, s.day
    FROM (
        SELECT account_id, "date" AS day, coalesce(login::text, source ->> 'login') AS login, platform::text AS platform, broker::text AS broker
        FROM "prop_trading_model".recon_stage_hourly
        -- A key sent twice may hide a missing row that is stored.
        WHERE fetch_id = $1 AND refused IS NOT NULL AND refused <> 'pinned by restore' AND (NOT starts_with(refused, $10) OR starts_with(refused, $10 || ' several rows'))
    ) AS s
    LEFT JOIN "prop_trading_model".recon_identity AS i
      ON s.account_id IS NULL AND i.login = s.login AND coalesce(i.platform = s.platform, true) AND coalesce(i.broker = s.broker, true)
    WHERE s.account_id IS NOT NULL OR i.account_id IS NOT NULL OR s.login IS NULL
    UNION
    SELECT * FROM unnest($8::text[], $9::date[])
), found AS MATERIALIZED (
    SELECT t."account_id", t."date", t."hour", t.account_id AS owner, t."date" AS day, "prop_trading_model".recon_count(t.num_trades) AS trades
    FROM "prop_trading_model".raw_metrics_hourly AS t
    LEFT JOIN (SELECT * FROM "prop_trading_model".recon_stage_hourly WHERE fetch_id = $1) AS s ON t."account_id" = s."account_id" AND t."date" = s."date" AND t."hour" = s."hour"
    WHERE t.account_id = ANY($2::text[]) AND (($3::date[] IS NULL AND t."date" BETWEEN '0001-01-01' AND '9999-12-31') OR t."date" = ANY($3::date[])) AND s."account_id" IS NULL
), daily AS MATERIALIZED (
    -- By found rows: a join below would fetch every row of a distributed table.
    SELECT DISTINCT ON (d.account_id, d.date) d.account_id, d.date, d.num_trades
    FROM (SELECT DISTINCT owner, day FROM found) AS f
    JOIN "prop_trading_model".raw_metrics_daily AS d ON d.account_id = f.owner AND d.date = f.day
), stale AS MATERIALIZED (
    SELECT f.*, row_number() OVER () AS number,
           coalesce(true AND f.day < $11::date AND sent.account_id IS NOT NULL AND sent.trades = "prop_trading_model".recon_count(daily.num_trades), false)
               AND EXISTS (
                   SELECT FROM unnest($6::text[], $7::date[]) AS witnessed (account_id, day)
                   WHERE witnessed.account_id = f.owner AND coalesce(witnessed.day = f.day, witnessed.day IS NULL)
               )
               AND NOT EXISTS (
                   SELECT FROM unheld WHERE coalesce(unheld.account_id = f.owner, true) AND coalesce(unheld.day = f.day, true)
               ) AS goes
    FROM (
        -- Pinned rows stay and are not reported here.
        SELECT f.* FROM found AS f
        LEFT JOIN "prop_trading_model".recon_pins AS p ON p.table_name = $5 AND p.row_key = ARRAY[f."account_id"::text, f."date"::text, f."hour"::text]
        WHERE p.row_key IS NULL
    ) AS f
    LEFT JOIN sent ON sent.account_id = f.owner AND sent.day = f.day
    LEFT JOIN daily ON daily.account_id = f.owner AND daily.date = f.day
), going AS MATERIALIZED (
    -- Only these: rows that stay are not locked or written.
    SELECT t."account_id", t."date", t."hour", m.number, m.owner, m.day, m.trades, to_jsonb(t) AS old_row
    FROM stale AS m
    JOIN "prop_trading_model".raw_metrics_hourly AS t ON t."account_id" = m."account_id" AND t."date" = m."date" AND t."hour" = m."hour"
    WHERE m.goes
    ORDER BY t."account_id", t."date", t."hour"
    FOR UPDATE OF t
), removed AS (
    DELETE FROM "prop_trading_model".raw_metrics_hourly AS t USING going AS m WHERE t."account_id" = m."account_id" AND t."date" = m."date" AND t."hour" = m."hour" RETURNING m.number, m.owner, m.day, m.trades, m.old_row
), copies AS (
    INSERT INTO "prop_trading_model".recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)
    SELECT $4, owner, $5, day, 'removed', old_row FROM removed
)
SELECT account_id, day, goes, count(*) AS rows, sum(trades)::bigint AS trades
FROM (
    -- Grouping avoids a join that would loop over all pairs.
    SELECT number, min(owner) AS account_id, min(day) AS day, max(trades) AS trades, bool_or(went) AS goes
    FROM (
        SELECT number, owner, day, trades, false AS went FROM stale
        UNION ALL
        SELECT number, owner, day, trades, true FROM removed
    ) AS each
    GROUP BY number
) AS settled
GROUP BY account_id, day, goes

-- name: get_rejected_days
-- Accounts and dates with rejected rows of upstream, except rows that a narrow key keeps from
-- joining another row of upstream.
SELECT DISTINCT account_id, "date" AS day FROM "prop_trading_model".recon_stage_hourly WHERE fetch_id = $1 AND account_id = ANY($2::text[]) AND refused IS NOT NULL AND NOT starts_with(refused, $3) AND refused <> 'pinned by restore'
